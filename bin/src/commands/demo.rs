//! `seqlora demo`: the whole story on a small random model, offline.
//!
//! The model has random weights, so its pictures mean nothing; what can be seen is that losses
//! fall, that concepts are learnt one after another, and that they do not overlap.

use std::fs;
use std::path::Path;

use clap::Parser;
use image::{ImageReader, Rgb, RgbImage};
use seqlora_kernels::TrainBackend;
use seqlora_models::write_random_model;

use super::{generate, inspect, learn};
use crate::args::{Args, Command, Demo, Global};
use crate::device::Job;
use crate::failure::Failure;
use crate::pictures::contact_sheet;
use crate::terminal::Terminal;

/// Side of the pictures, which is what the random model is made for.
const SIDE: u32 = 64;

/// Reference pictures of each object.
const PICTURES: u32 = 4;

/// Rates for a model of this size; the defaults are for SD1.5.
const SETTINGS: &str = "--steps 20 --batch 2 --lr-unet 3e-3 --lr-text 1e-3 --lr-token 1e-2";

/// A made-up object: its id, which is its class too, and its colour at a point of the unit square.
struct Thing {
    id: &'static str,
    colour: fn(f32, f32) -> Option<[u8; 3]>,
}

const THINGS: [Thing; 3] = [
    Thing { id: "mug", colour: striped_mug },
    Thing { id: "ball", colour: dotted_ball },
    Thing { id: "kite", colour: checked_kite },
];

/// Makes a model and pictures, learns three concepts, and generates with one, two and all three.
pub fn run(args: &Demo, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    let out = &args.out;
    if out.join("bank").exists() {
        let text =
            format!("{} holds a demo already; delete it or choose another --out", out.display());
        return Err(Failure::Usage(text));
    }
    global.device.run(WriteModel(&out.join("model")))?;
    for thing in &THINGS {
        draw(thing, &out.join("photos").join(thing.id))?;
    }
    let path = |name: &str| out.join(name).display().to_string();
    let (model, bank) = (path("model"), path("bank"));
    let common = format!("--device {} --seed {}", global.device, global.seed.unwrap_or(0));
    let learn = format!("learn {} --model {model} --bank {bank} {SETTINGS}", path("photos"));
    step(&format!("{learn} {common}"), &terminal.aside())?;
    let prompts = ["<mug>", "<mug> and <ball>", "<mug>, <ball> and <kite>"];
    for (number, prompt) in prompts.iter().enumerate() {
        let out = path(&format!("generated-{}", number + 1));
        let prompt = format!("a photo of {prompt}").replace(' ', "\u{a0}");
        let generate = format!("generate --model {model} --bank {bank} --prompt {prompt}");
        step(&format!("{generate} --steps 20 --num 4 --out {out} {common}"), &terminal.aside())?;
    }
    let sheet = path("contact-sheet.png");
    contact_sheet(&sheet_rows(out)?).save(&sheet)?;
    step(&format!("inspect {bank}"), terminal)?;
    terminal.line("\npictures", sheet);
    Ok(())
}

/// Runs a command as the user would type it, and shows it. No-break spaces stand within words.
fn step(line: &str, terminal: &Terminal) -> Result<(), Failure> {
    let words = line.split(' ').map(|word| word.replace('\u{a0}', " "));
    let shown = words.clone().map(|w| if w.contains(' ') { format!("\"{w}\"") } else { w });
    terminal.line("", "");
    terminal.line("$ seqlora", shown.collect::<Vec<_>>().join(" "));
    let args = Args::try_parse_from(std::iter::once("seqlora".to_string()).chain(words))?;
    match &args.command {
        Command::Learn(learn) => learn::run(learn, &args.global, terminal),
        Command::Generate(generate) => generate::run(generate, &args.global, terminal),
        Command::Inspect(inspect) => inspect::run(inspect, terminal),
        Command::Devices | Command::Demo(_) => unreachable!("the demo does not run these"),
    }
}

struct WriteModel<'a>(&'a Path);

impl Job for WriteModel<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        Ok(write_random_model::<B>(self.0, 0, &device)?)
    }
}

/// References of each object in a row each, then the generated pictures.
fn sheet_rows(out: &Path) -> Result<Vec<Vec<RgbImage>>, Failure> {
    let photos = THINGS.map(|thing| out.join("photos").join(thing.id));
    let generated = [1, 2, 3].map(|number| out.join(format!("generated-{number}")));
    let row = |folder: &Path| -> Result<Vec<RgbImage>, Failure> {
        let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        files.iter().map(|f| Ok(ImageReader::open(f)?.decode()?.to_rgb8())).collect()
    };
    photos.iter().chain(&generated).map(|folder| row(folder)).collect()
}

/// Draws an object several times, turned and scaled, on backgrounds of different colours.
fn draw(thing: &Thing, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for number in 0..PICTURES {
        let turn = (number as f32 - 1.5) * 0.25;
        let scale = 1.1 + 0.15 * number as f32;
        let shade = 150 + 25 * number as u8;
        let (sin, cos) = turn.sin_cos();
        let picture = RgbImage::from_fn(SIDE, SIDE, |x, y| {
            let centered = |c: u32| (c as f32 + 0.5) / SIDE as f32 - 0.5;
            let (x, y) = (centered(x) * scale, centered(y) * scale);
            let (u, v) = (cos * x + sin * y + 0.5, cos * y - sin * x + 0.5);
            Rgb((thing.colour)(u, v).unwrap_or([shade, 255 - shade / 2, shade]))
        });
        picture.save(folder.join(format!("{number}.png")))?;
    }
    Ok(())
}

fn striped_mug(u: f32, v: f32) -> Option<[u8; 3]> {
    let body = (0.3..0.65).contains(&u) && (0.25..0.75).contains(&v);
    let ring = ((u - 0.68).powi(2) + (v - 0.5).powi(2)).sqrt();
    let stripe = ((v * 20.0) as u32).is_multiple_of(2);
    (body || (0.08..0.13).contains(&ring)).then_some(if stripe {
        [200, 30, 40]
    } else {
        [250, 240, 220]
    })
}

fn dotted_ball(u: f32, v: f32) -> Option<[u8; 3]> {
    let inside = (u - 0.5).hypot(v - 0.5) < 0.3;
    let dot = ((u * 8.0).fract() - 0.5).hypot((v * 8.0).fract() - 0.5) < 0.3;
    inside.then_some(if dot { [250, 220, 40] } else { [30, 60, 190] })
}

fn checked_kite(u: f32, v: f32) -> Option<[u8; 3]> {
    let inside = (u - 0.5).abs() + (v - 0.5).abs() * 0.7 < 0.28;
    let check = ((u * 12.0) as u32 + (v * 12.0) as u32).is_multiple_of(2);
    inside.then_some(if check { [20, 120, 60] } else { [240, 140, 30] })
}
