//! `seqlora generate --region`.

use crate::harness::Project;
use crate::run::Run;

/// The pixels of an image, without the settings that are stored beside it.
fn pixels(project: &Project, prompt: &str, regions: &[&str]) -> Vec<u8> {
    let mut command = project.generate_command(prompt, "--bank bank");
    for region in regions {
        command.args(["--region", region]);
    }
    Run::of(command).succeeds();
    project.pixels()
}

/// Laws: a region of the whole image is its prompt; two equal ones are one, in any order; a
/// region of the image's own prompt changes nothing, another one does.
#[test]
fn laws_of_regions() {
    let project = Project::with_bank();
    let image = |prompt, regions: &[&str]| pixels(&project, prompt, regions);
    let cat = image("a photo of <cat>", &[]);
    assert!(image("a beach", &["0,0,64,64:a photo of <cat>"]) == cat, "not the region's prompt");
    assert!(image("a photo of <cat>", &["0,0,64,32:a photo of <cat>"]) == cat);

    let one = image("a beach", &["0,0,32,64:<cat>"]);
    assert!(one == image("a beach", &["0,0,32,64:<cat>", "0,0,32,64:<cat>"]));
    assert!(one != image("a beach", &[]), "the region changes nothing");
    assert!(one != image("a beach", &["32,0,64,64:<cat>"]), "its place changes nothing");

    let [left, right] = ["0,0,40,64:<cat>", "24,0,64,64:<mug>"];
    let both = image("a beach", &[left, right]);
    assert!(both == image("a beach", &[right, left]), "the order matters");
    assert!(both != image("a beach", &[left]));
}

/// The image's prompt counts in boxes by its share: nothing at 0, and alone at 1.
#[test]
fn the_prompt_has_a_share_in_boxes() {
    let project = Project::with_bank();
    let image = |options: &str| {
        let region = "--region 0,0,32,64:<cat>";
        project.generate("a beach", &format!("--bank bank {region} {options}")).succeeds();
        project.pixels()
    };
    let own = image("");
    assert!(image("--region-base 0") == own);
    assert!(image("--region-base 1") == pixels(&project, "a beach", &[]), "the box still counts");
    let fifth = image("--region-base 0.2");
    assert!(fifth != own && fifth != image("--region-base 0.5"));
    project.generate("a beach", "--region-base 0.2").fails(2, &["--region"]);
    let options = "--region 0,0,32,64:a --region-base 1.5";
    project.generate("a beach", options).fails(2, &["no number from 0 to 1"]);
}

/// Boxes too small for a layer have no effect there, and give numbers.
#[test]
fn a_box_smaller_than_a_place() {
    let project = Project::with_bank();
    assert!(
        pixels(&project, "a beach", &["1,1,7,7:<cat>"]) == pixels(&project, "a beach", &[]),
        "no layer of this model has places so small"
    );
}

/// What is no box, or names no known concept, is refused.
#[test]
fn regions_that_are_none() {
    let project = Project::with_bank();
    let refuses = |region: &str, code, texts: &[&str]| {
        let mut command = project.generate_command("a beach", "--bank bank");
        command.args(["--region", region]);
        Run::of(command).fails(code, texts);
    };
    refuses("0,0,32:a cat", 2, &["no region like"]);
    refuses("a cat", 2, &["no region like"]);
    refuses("0,0,0.5,1:a cat", 2, &["no region like"]);
    refuses("0,0,65,64:a cat", 2, &["0,0,65,64", "64x64"]);
    refuses("0,0,32,64:<bird>", 1, &["<bird>", "cat, dog, mug"]);
}
