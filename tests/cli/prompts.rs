//! Weights and chunks in prompts, and the layer of the text encoder that they are read from.

use std::fs;

use crate::harness::Project;

/// The pixels of an image of the bank's concepts.
fn pixels(project: &Project, prompt: &str, options: &str) -> Vec<u8> {
    project.generate(prompt, &format!("--bank bank {options}")).succeeds();
    project.pixels()
}

/// A weight of 1 is none, brackets are no text unless they are escaped, and concepts have weights.
#[test]
fn weights() {
    let project = Project::with_bank();
    let image = |prompt: &str| pixels(&project, prompt, "");
    let plain = image("a photo of <mug>");
    for same in ["a photo of (<mug>:1.0)", "(a photo of <mug>:1)", "a (photo:1) of <mug>"] {
        assert!(image(same) == plain, "{same} is another image");
    }
    let mut seen = vec![plain];
    let others = ["a (photo) of <mug>", "a [photo] of <mug>", "a photo of (<mug>:1.5)"];
    for other in [&others[..], &[r"a \(photo\) of <mug>", "a photo BREAK of <mug>"]].concat() {
        let pixels = image(other);
        assert!(!seen.contains(&pixels), "{other} changes nothing");
        seen.push(pixels);
    }
    let literal = pixels(&project, "a (photo) of <mug>", "--plain-prompts");
    assert!(literal == image(r"a \(photo\) of <mug>"), "brackets that are text differ");
}

#[test]
fn prompts_that_cannot_be_read_are_refused() {
    let project = Project::with_bank();
    for (prompt, text) in [
        ("a (mug", "`(` is never closed"),
        ("a mug)", "`)` closes no bracket"),
        ("(mug:1,2)", "`1,2` is no weight like 1.2"),
        ("(at 12:30)", "the weight 30 is not from -10 to 10"),
        ("[mug:cup:0.5]", "is not supported"),
        ("a mug AND a cup", "is not supported"),
    ] {
        let run = project.generate(prompt, "--bank bank");
        run.fails(2, &[text, "--plain-prompts takes prompts literally"]);
        project.generate(prompt, "--bank bank --plain-prompts").succeeds();
    }
    project.generate("a mug", "--negative (bad").fails(2, &["`(` is never closed"]);
}

/// All of a long prompt counts, a concept beyond its 75th token too, and long and short prompts can come in
/// one run.
#[test]
fn prompts_of_any_length() {
    let project = Project::with_bank();
    let words = "a ".repeat(100);
    let [mug, cat] = ["<mug>", "<cat>"].map(|id| format!("{words}{id}"));
    let long = pixels(&project, &mug, "");
    assert!(long != pixels(&project, &cat, ""), "the end of a long prompt changes nothing");
    let run = project.generate(&words, "--plain-prompts");
    assert!(run.succeeds().stderr.contains("its last 25 tokens are left out"));
    project.generate(&mug, "--bank bank --plain-prompts").fails(1, &["shorten the text before it"]);

    project.write("prompts.txt", format!("a photo\n{mug}\na dog"));
    let mut command = project.command(&["generate", "--prompts", "prompts.txt", "--steps", "4"]);
    command.args(["--bank", "bank", "--batch", "3", "--out", "all", "--model"]).arg(&project.model);
    crate::run::Run::of(command).succeeds();
    let second = image::open(project.path("all/00001.png")).unwrap().into_rgb8().into_raw();
    assert!(second == long, "its company changes an image");
}

/// The layer changes the image and is told by it; the last one is the default.
#[test]
fn layers_are_skipped() {
    let project = Project::with_bank();
    let image = |options: &str| pixels(&project, "a photo of <mug>", options);
    let images = [1, 2, 3].map(|skip| image(&format!("--clip-skip {skip}")));
    assert!(images[0] == image("") && images[0] != images[1] && images[1] != images[2]);
    let png = fs::read(project.path("out/00000.png")).unwrap();
    assert!(!String::from_utf8_lossy(&png).contains("Clip skip"));
    image("--clip-skip 2");
    let png = fs::read(project.path("out/00000.png")).unwrap();
    assert!(String::from_utf8_lossy(&png).contains("Clip skip: 2, "));
    let texts = ["--clip-skip 4: the text encoder has 3 layers", "1, the last one, to 3"];
    project.generate("a mug", "--clip-skip 4").fails(2, &texts);
    project.generate("a mug", "--clip-skip 0").fails(2, &["at least 1"]);
}

/// `<id:0.5>` is the concept with this strength; two strengths are refused.
#[test]
fn prompts_give_strengths() {
    let project = Project::with_bank();
    let image = |prompt: &str, options: &str| pixels(&project, prompt, options);
    let half = image("a photo of <mug:0.5>", "");
    let png = fs::read(project.path("out/00000.png")).unwrap();
    assert!(String::from_utf8_lossy(&png).contains("mug=0.5"), "its strength is not told");
    assert!(
        half == image("a photo of (<mug:0.5>:1.0)", "--concept cat --concept dog --concept mug")
    );
    let chosen = "--concept cat --concept dog --concept mug=0.5";
    assert!(half == image("a photo of <mug>", chosen));
    assert!(half != image("a photo of <mug>", ""));
    let two = ["`--concept mug=1` and `<mug:0.5>`", "one strength"];
    project.generate("<mug:0.5>", "--bank bank --concept mug=1").fails(2, &two);
    project.generate("<mug:0.5> <mug:0.6>", "--bank bank").fails(2, &["one strength"]);
    project.generate("<cup:0.5>", "--bank bank").fails(1, &["there is no concept <cup>"]);
}
