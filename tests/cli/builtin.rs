//! The built-in model: where it is found, and what is said about what it does not know.

use std::process::Command;

use image::RgbImage;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;

/// A command for which this folder is the built-in model.
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

/// Words and sizes that the built-in model has not seen get a warning; with another model, and with
/// what it knows, there is none.
#[test]
fn what_it_does_not_know_is_said() {
    let project = Project::new(&[]);
    let options = "--negative ugly --size 32x48 --region 0,0,16,16:xylophone";
    let said = generate(&project, "builtin", "a Zebra on grass", options).succeeds().stderr;
    let unknown = "does not know `ugly`, `xylophone`, `zebra`;";
    assert!(said.contains(unknown) && said.contains("32x48"), "{said}");

    let usual = generate(&project, "builtin", "a photo of a mug on grass", "").succeeds().stderr;
    let folder = fixture("tiny-sd1");
    let other = generate(&project, folder.to_str().unwrap(), "a zebra", "--size 32x48");
    for said in [usual, other.succeeds().stderr] {
        assert!(!said.contains("warning"), "{said}");
    }

    let project = Project::new(&["cat"]);
    project.write("photos/cat/1.txt", "a {} and a xylophone");
    let learn =
        project.command(&["learn", "photos", "--model", "builtin", "--bank", "bank", "--plan"]);
    let said = Run::of(with_builtin(learn, &folder)).succeeds().stderr;
    assert!(said.contains("does not know `xylophone`;"), "{said}");
}

/// It is drawn with a guidance of its own, and with any other that is asked for.
#[test]
fn its_guidance_is_its_own() {
    let folder = fixture("tiny-sd1");
    for (model, options, scale) in [
        ("builtin", "", "3"),
        ("builtin", "--guidance 5", "5"),
        (folder.to_str().unwrap(), "", "7.5"),
    ] {
        let project = Project::new(&[]);
        generate(&project, model, "a mug on grass", options).succeeds();
        let image = std::fs::read(project.path("out/00000.png")).unwrap();
        let said = String::from_utf8_lossy(&image);
        assert!(said.contains(&format!("CFG scale: {scale},")), "{model} {options}");
    }
}

/// A built-in model that is not there or damaged is an error that names the place and the fix.
#[test]
fn it_is_missing_or_damaged() {
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

/// The model of the source tree draws what a caption says: objects of that colour, on that ground.
#[test]
fn it_draws_what_is_asked() {
    let project = Project::new(&[]);
    let red = |[r, g, b]: [u8; 3]| r > 130 && g < 110 && b < 110;
    let blue = |[r, g, b]: [u8; 3]| b > 110 && r < 110 && g < 140;
    let green = |[r, g, b]: [u8; 3]| g > 110 && g > r && g > b;
    let white = |pixel: [u8; 3]| pixel.iter().all(|x| *x > 215);
    let share = |image: &RgbImage, wanted: fn([u8; 3]) -> bool| {
        image.pixels().filter(|pixel| wanted(pixel.0)).count() as f64 / 4096.0
    };
    for (prompt, object, ground) in [
        ("a red ball on a plain white background", red as fn([u8; 3]) -> bool, white as _),
        ("a blue car on grass", blue, green as fn([u8; 3]) -> bool),
    ] {
        let mut command = project.command(&["generate", "--model", "builtin", "--out", "drawn"]);
        command.args(["--steps", "12", "--num", "3", "--prompt", prompt]);
        Run::of(command).succeeds();
        let images = (0..3).map(|number| {
            let file = project.path(&format!("drawn/{number:05}.png"));
            image::open(file).unwrap().into_rgb8()
        });
        for image in images {
            let shares = [share(&image, object), share(&image, ground)];
            assert!(shares[0] > 0.04 && shares[1] > 0.4, "{prompt}: {shares:?}");
        }
        std::fs::remove_dir_all(project.path("drawn")).unwrap();
    }
}
