//! `seqlora generate --from IMAGE`.

use std::fs;
use std::path::Path;

use image::{ImageBuffer, Rgb};

use crate::harness::{Learnt, Project, fixture};
use crate::images::image;
use crate::run::Run;

/// `seqlora generate --from IMAGE --out OUT` with further options.
fn repeat(project: &Project, from: &str, options: &str) -> Run {
    let _ = fs::remove_dir_all(project.path("again"));
    let mut command = project.command(&["generate", "--from", from, "--out", "again"]);
    command.args(options.split_whitespace());
    Run::of(command)
}

/// Writes a PNG with a text, as A1111's web interface does.
fn write_png(path: &Path, keyword: &str, text: &str) {
    let pixels = ImageBuffer::<Rgb<u8>, Vec<u8>>::new(8, 8);
    let mut bytes = Vec::new();
    pixels.write_to(&mut std::io::Cursor::new(&mut bytes), image::ImageFormat::Png).unwrap();
    let data = [keyword.as_bytes(), b"\0", text.as_bytes()].concat();
    let chunk = [&(data.len() as u32).to_be_bytes()[..], b"tEXt", &data, &[0; 4]].concat();
    // After the signature of 8 bytes and the header of 25.
    bytes.splice(33..33, chunk);
    fs::write(path, bytes).unwrap();
}

/// An image is made again, byte for byte, whatever options it was made with; typed ones win.
#[test]
fn images_are_made_again() {
    let project = Project::with_bank();
    image("cat", 0).save(project.path("cat.png")).unwrap();
    for options in [
        "",
        "--karras --sampler euler-a --seed 7 --guidance 3 --size 32x48",
        "--spacing trailing --clip-skip 2 --negative=-ugly --precision bf16",
        "--concept mug=0.5 --concept cat --image 3 --plain-prompts",
        "--init cat.png --strength 0.5 --region 0,0,16,32:<cat> --region-base 0.2",
    ] {
        let first = project.image("a (photo) of <mug>", options);
        repeat(&project, "out/00000.png", "").succeeds();
        let second = fs::read(project.path("again/00000.png")).unwrap();
        assert!(first == second, "`{options}` makes another image when repeated");
    }
    let first = project.image("a (photo) of <mug>", "--seed 7");
    for options in ["--seed 8", "--seeds 8,9", "--prompt <cat>", "--negative x", "--guidance 2"] {
        repeat(&project, "out/00000.png", options).succeeds();
        let second = fs::read(project.path("again/00000.png")).unwrap();
        assert!(first != second, "{options} does not win");
    }
    let run = repeat(&project, "out/00000.png", "--num 2 --json").succeeds().json();
    assert_eq!(run["images"].as_array().map(Vec::len), Some(2));
    assert_eq!(run["images"][0]["seed"], 7);
}

/// Concepts and files that are others by now are told.
#[test]
fn what_has_changed_since_is_told() {
    let project = Project::new(&["mug"]);
    Learnt::three().bank.write(&project.path("bank"));
    image("cat", 0).save(project.path("cat.png")).unwrap();
    let lora = fixture("adapters").join("pytorch_lora_weights.safetensors");
    fs::create_dir(project.path("lora")).unwrap();
    fs::copy(&lora, project.path("lora/pytorch_lora_weights.safetensors")).unwrap();
    let options = "--concept cat --concept mug --init cat.png --strength 0.5 --lora lora";
    project.image(" a photo of <mug> ", options);
    let same = repeat(&project, "out/00000.png", "").succeeds();
    assert!(!same.stderr.contains("changed"), "{}", same.stderr);
    let [first, second] = ["out", "again"].map(|out| fs::read(project.path(out).join("00000.png")));
    assert!(
        first.unwrap() == second.unwrap(),
        "the same bytes, though the prompt had spaces around it"
    );
    fs::write(project.path("lora/note.txt"), "changed").unwrap();
    image("cat", 1).save(project.path("cat.png")).unwrap();
    project.learn("photos/mug", "--continue mug --steps 1").succeeds();
    let other = repeat(&project, "out/00000.png", "").succeeds();
    let told = |what: &str| other.stderr.contains(&format!("{what} has changed since the image"));
    assert!(told("cat.png") && told("concept mug") && told("lora"), "{}", other.stderr);
    assert!(!told("concept cat"), "{}", other.stderr);
}

#[test]
fn images_of_a1111_are_understood() {
    let project = Project::new(&[]);
    let text = "a (mug:1.2)\nNegative prompt: ugly\nSteps: 4, Sampler: DPM++ 2M Karras, \
                CFG scale: 7, Seed: 3, Size: 32x32, Model: v1-5, Clip skip: 2, Hires upscale: 2";
    write_png(&project.path("a.png"), "parameters", text);
    repeat(&project, "a.png", "").fails(2, &["the model `v1-5`", "--model"]);
    let model = format!("--model {}", project.model.display());
    let run = repeat(&project, "a.png", &model).succeeds();
    assert!(run.stderr.contains("not taken over: Hires upscale"), "{}", run.stderr);
    let second = fs::read(project.path("again/00000.png")).unwrap();
    let options = "--karras --guidance 7 --seed 3 --size 32x32 --clip-skip 2 --negative ugly";
    project.generate("a (mug:1.2)", options).succeeds();
    assert!(fs::read(project.path("out/00000.png")).unwrap() == second);
}

/// What an image tells is checked as options are, and decides neither where images go nor what is loaded
/// from a hub.
#[test]
fn images_that_tell_nothing_good_are_refused() {
    let project = Project::new(&[]);
    image("cat", 0).save(project.path("plain.png")).unwrap();
    repeat(&project, "plain.png", "").fails(1, &["plain.png", "no text `parameters`"]);
    project.write("text.png", "no image");
    repeat(&project, "text.png", "").fails(1, &["it is no PNG file"]);
    repeat(&project, "none.png", "").fails(1, &["none.png"]);
    let model = format!("--model {}", project.model.display());
    for (text, expected) in [
        ("a mug", "single line"),
        ("a mug\nSteps: 4, Steps: 5", "several values for `Steps`"),
        ("a mug\nSteps: 9999999", "--steps"),
        ("a mug\nSteps: 4, Sampler: LMS", "the sampler `LMS`"),
        ("a mug\nSteps: 4, Size: 0x0x0", "--size"),
        ("a mug\nSteps: 4, Model hash: ab", "it does not tell its model; give it with --model"),
        ("a mug\nSteps: 4, Model: a/b, Version: seqlora 0.1.0", "`a/b`, which is not found here"),
        ("a mug\nSteps: 4, Model: builtin, Sampler: odd, Version: seqlora 0.1.0", "--sampler"),
    ] {
        write_png(&project.path("bad.png"), "parameters", text);
        let code = if expected == "single line" { 1 } else { 2 };
        let options = if text.contains("Model") { "" } else { &model };
        repeat(&project, "bad.png", options).fails(code, &["bad.png", expected]);
    }
    write_png(&project.path("out.png"), "parameters", "a mug\nSteps: 4, Out: elsewhere");
    let mut command = project.command(&["generate", "--from", "out.png", "--model"]);
    command.arg(&project.model);
    Run::of(command).fails(2, &["--out"]);
}
