//! `seqlora demo`: the whole story on a small random model, offline.
//!
//! The model has random weights, so its pictures mean nothing; what can be seen is that losses
//! fall, that concepts are learnt one after another, and that they do not overlap.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use image::{ImageReader, RgbImage};
use seqlora_kernels::TrainBackend;
use seqlora_models::world::{Individual, Seed};
use seqlora_models::write_random_model;

use super::{generate, inspect, learn};
use crate::args::{Args, Command, Demo, Global};
use crate::device::Job;
use crate::failure::Failure;
use crate::pictures::contact_sheet;
use crate::terminal::Terminal;

/// Side of the pictures, which is what the random model is made for.
const SIDE: u32 = 64;

/// Reference pictures of each concept.
const PICTURES: usize = 4;

/// The world's individuals that are learnt: a ball, a boat and a car.
const INDIVIDUALS: [usize; 3] = [0, 2, 4];

/// Rates for a model of this size; the defaults are for SD1.5.
const SETTINGS: &str = "--steps 20 --batch 2 --lr-unet 3e-3 --lr-text 1e-3 --lr-token 1e-2";

/// Makes a model and pictures, learns three concepts, and generates with one, two and all three.
pub fn run(args: &Demo, global: &Global, terminal: &Terminal) -> Result<(), Failure> {
    let out = &args.out;
    if out.join("bank").exists() {
        let text =
            format!("{} holds a demo already; delete it or choose another --out", out.display());
        return Err(Failure::Usage(text));
    }
    global.device.run(WriteModel(&out.join("model")))?;
    let concepts = INDIVIDUALS.map(Individual::of);
    for concept in &concepts {
        draw(concept, &out.join("photos").join(concept.id()))?;
    }
    let path = |name: &str| out.join(name).display().to_string();
    let (model, bank) = (path("model"), path("bank"));
    let common = format!("--device {} --seed {}", global.device, global.seed.unwrap_or(0));
    let learn = format!("learn {} --model {model} --bank {bank} {SETTINGS}", path("photos"));
    step(&format!("{learn} {common}"), &terminal.aside())?;
    let words = concepts.each_ref().map(|concept| format!("<{}>", concept.id()));
    for number in 1..=words.len() {
        let out = path(&format!("generated-{number}"));
        let prompt = format!("a photo of {}", words[..number].join(" and ")).replace(' ', "\u{a0}");
        let generate = format!("generate --model {model} --bank {bank} --prompt {prompt}");
        step(&format!("{generate} --steps 20 --num 4 --out {out} {common}"), &terminal.aside())?;
    }
    let sheet = path("contact-sheet.png");
    contact_sheet(&sheet_rows(out, &concepts)?).save(&sheet)?;
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
        Command::Devices | Command::Demo(_) | Command::Pretrain(_) => {
            unreachable!("the demo does not run these")
        }
    }
}

struct WriteModel<'a>(&'a Path);

impl Job for WriteModel<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        Ok(write_random_model::<B>(self.0, 0, &device)?)
    }
}

/// References of each concept in a row each, then the generated pictures.
fn sheet_rows(out: &Path, concepts: &[Individual]) -> Result<Vec<Vec<RgbImage>>, Failure> {
    let photos = concepts.iter().map(|concept| out.join("photos").join(concept.id()));
    let generated = (1..=concepts.len()).map(|number| out.join(format!("generated-{number}")));
    let row = |folder: PathBuf| -> Result<Vec<RgbImage>, Failure> {
        let mut files: Vec<_> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
        files.sort();
        files.iter().map(|f| Ok(ImageReader::open(f)?.decode()?.to_rgb8())).collect()
    };
    photos.chain(generated).map(row).collect()
}

/// Draws a concept several times, in other poses and places.
fn draw(concept: &Individual, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)?;
    for (number, scene) in concept.references(&Seed::new(0), PICTURES).iter().enumerate() {
        let picture = scene.render(SIDE as usize);
        let pixels = RgbImage::from_raw(SIDE, SIDE, picture.rgb).expect("three bytes per pixel");
        pixels.save(folder.join(format!("{number}.png")))?;
    }
    Ok(())
}
