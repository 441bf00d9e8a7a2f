//! The built-in model: where it is found, the warnings about its limits, and its images.

use std::process::Command;

use image::RgbImage;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;

/// A command that uses a folder as the built-in model.
pub fn with_builtin(mut command: Command, folder: impl AsRef<std::ffi::OsStr>) -> Command {
    command.env("SEQLORA_BUILTIN", folder);
    command
}

fn generate(project: &Project, model: &str, prompt: &str, options: &str) -> Run {
    let mut command =
        project.command(&["generate", "--steps", "2", "--out", "out", "--model", model]);
    command.args(["--prompt", prompt]).args(options.split_whitespace());
    Run::of(with_builtin(command, fixture("tiny-sd1")))
}

/// Words and sizes that the built-in model was not trained on give a warning. Other prompts and
/// other models give none.
#[test]
fn unknown_words_and_sizes_give_a_warning() {
    let project = Project::new(&[]);
    let options = "--negative ugly --size 32x48 --region 0,0,16,16:xylophone";
    let warning = generate(&project, "builtin", "a Zebra on grass", options).succeeds().stderr;
    let unknown = "does not know `ugly`, `xylophone`, `zebra`;";
    assert!(warning.contains(unknown) && warning.contains("32x48"), "{warning}");

    let usual = generate(&project, "builtin", "a photo of a mug on grass", "").succeeds().stderr;
    let folder = fixture("tiny-sd1");
    let other = generate(&project, folder.to_str().unwrap(), "a zebra", "--size 32x48");
    for stderr in [usual, other.succeeds().stderr] {
        assert!(!stderr.contains("warning"), "{stderr}");
    }

    let project = Project::new(&["cat"]);
    project.write("photos/cat/1.txt", "a {} and a xylophone");
    let learn =
        project.command(&["learn", "photos", "--model", "builtin", "--bank", "bank", "--plan"]);
    let warning = Run::of(with_builtin(learn, &folder)).succeeds().stderr;
    assert!(warning.contains("does not know `xylophone`;"), "{warning}");
}

/// The built-in model has its own default guidance, which `--guidance` overrides.
#[test]
fn its_default_guidance_is_its_own() {
    let folder = fixture("tiny-sd1");
    for (model, options, scale) in [
        ("builtin", "", "3"),
        ("builtin", "--guidance 5", "5"),
        (folder.to_str().unwrap(), "", "7.5"),
    ] {
        let project = Project::new(&[]);
        generate(&project, model, "a mug on grass", options).succeeds();
        let image = std::fs::read(project.path("out/00000.png")).unwrap();
        let metadata = String::from_utf8_lossy(&image);
        assert!(metadata.contains(&format!("CFG scale: {scale},")), "{model} {options}");
    }
}

/// A missing or damaged built-in model is an error that names the file and the fix.
#[test]
fn a_missing_or_damaged_model_is_an_error() {
    let project = Project::new(&[]);
    let run = |folder: &str| {
        let command = project
            .command(&["generate", "--model", "builtin", "--prompt", "a mug", "--out", "out"]);
        Run::of(with_builtin(command, folder))
    };
    run("nowhere").fails(1, &["is not installed", "  nowhere", "set SEQLORA_BUILTIN"]);

    Files::read(&fixture("tiny-sd1")).write(&project.path("model"));
    project.write("model/SHA256SUMS", format!("{}  unet/config.json\n", "0".repeat(64)));
    run("model").fails(1, &["model/unet/config.json is damaged", "SHA256SUMS says 0000"]);
    project.write("model/SHA256SUMS", format!("{}  vae/weights.bin\n", "0".repeat(64)));
    run("model").fails(1, &["model/vae/weights.bin", "No such file"]);
}

/// The images of the built-in model show an object and a background in the colours of the prompt.
#[test]
fn its_images_show_what_prompts_state() {
    let project = Project::new(&[]);
    let red = |[r, g, b]: [u8; 3]| r > 130 && g < 110 && b < 110;
    let blue = |[r, g, b]: [u8; 3]| b > 110 && r < 110 && g < 140;
    let green = |[r, g, b]: [u8; 3]| g > 110 && g > r && g > b;
    let white = |pixel: [u8; 3]| pixel.iter().all(|x| *x > 215);
    let share = |image: &RgbImage, is_colour: fn([u8; 3]) -> bool| {
        image.pixels().filter(|pixel| is_colour(pixel.0)).count() as f64 / 4096.0
    };
    for (prompt, object, background) in [
        ("a red ball on a plain white background", red as fn([u8; 3]) -> bool, white as _),
        ("a blue car on grass", blue, green as fn([u8; 3]) -> bool),
    ] {
        let mut command = project.command(&["generate", "--model", "builtin", "--out", "images"]);
        command.args(["--steps", "12", "--num", "3", "--prompt", prompt]);
        Run::of(command).succeeds();
        let images = (0..3).map(|number| {
            let file = project.path(&format!("images/{number:05}.png"));
            image::open(file).unwrap().into_rgb8()
        });
        for image in images {
            let shares = [share(&image, object), share(&image, background)];
            assert!(shares[0] > 0.04 && shares[1] > 0.4, "{prompt}: {shares:?}");
        }
        std::fs::remove_dir_all(project.path("images")).unwrap();
    }
}
