//! What `seqlora generate` finds out before it loads the model: here the model's weights are damaged, so
//! that any other error shows that they have not been looked at.

use std::fs;

use crate::harness::{Learnt, Project};
use crate::run::Run;
use crate::weights::write_latents;

/// A bank, and a model whose weights cannot be loaded.
fn project() -> Project {
    let project = Project::new(&[]).with_own_model();
    Learnt::three().bank.write(&project.path("bank"));
    fs::write(project.weight_file("unet"), b"no weights").unwrap();
    project
}

#[test]
fn mistakes_are_told_before_the_model_is_loaded() {
    let project = project();
    project.write("file", "no folder");
    project.write("empty.txt", "\n\n");
    project.write("long.txt", "x".repeat(70_000));
    write_latents(&project.path("small"), [1, 4, 4, 4], &[0.0; 64]);
    write_latents(&project.path("nan"), [1, 4, 8, 8], &[f32::NAN; 256]);
    let cases: &[(&str, &str, i32, &[&str])] = &[
        ("a <bird>", "--bank bank", 1, &["no concept <bird>", "known: cat, dog, mug"]),
        ("a <cat>", "--bank bank --concept dog", 2, &["<cat> is in the bank", "--concept cat"]),
        ("a <cat>", "--bank nowhere", 1, &["nowhere/bank.json"]),
        ("a cat", "--bank bank --concept bird=1", 1, &["no concept <bird>"]),
        (
            "a <lora:cat:0.8>",
            "--bank bank",
            2,
            &["`<lora:cat:0.8>`", "--lora FILE=0.8", "<cat:0.8> with a strength"],
        ),
        ("a <cat:0.5>", "--bank bank --concept cat=1", 2, &["`<cat:0.5>`", "one strength"]),
        ("a (cat", "", 2, &["`(` is never closed", "--plain-prompts"]),
        ("a cat", "--sampler ddim --karras", 2, &["--karras"]),
        ("a cat", "--clip-skip 4", 2, &["--clip-skip 4", "3 layers"]),
        ("a cat", "--init nowhere.png", 1, &["nowhere.png"]),
        ("a cat", "--region 0,0,32,64:<bird>", 1, &["no concept <bird>"]),
        ("a cat", "--region 0,0,65,64:a", 2, &["0,0,65,64", "64x64"]),
        ("a cat", "--out file/images", 1, &["cannot create file/images"]),
        ("a cat", "--save-latents no/where", 1, &["cannot write no/where"]),
        ("a cat", "--save-latents file", 2, &["--save-latents file exists already"]),
        ("a cat", "--prompts nowhere.txt", 2, &["cannot read nowhere.txt"]),
        ("a cat", "--prompts long.txt", 2, &["70000 bytes"]),
        ("a cat", "--size 50x64", 2, &["--size 50x64", "multiples of 16"]),
        ("a cat", "--size 100000x100000", 2, &["--size 100000x100000", "at most 16384"]),
        ("a cat", "--size 16384x16384", 1, &["need about", "available", "--size"]),
        ("a cat", "--latents small", 2, &["[1, 4, 4, 4]", "[1, 4, 8, 8]"]),
        ("a cat", "--latents nan", 2, &["nan: `latents` holds numbers that are not finite"]),
        ("a cat", "--num 1000000000000", 2, &["--num", "1000000"]),
        ("a cat", "--batch 100000000000", 2, &["--batch", "4096"]),
        ("a cat", "--seeds 1,2 --num 900000", 2, &["1800000 images"]),
        ("a cat", "--sampler ddim --guidance inf", 2, &["--guidance inf"]),
    ];
    for (prompt, options, code, texts) in cases {
        let run = project.generate(prompt, options).fails(*code, texts);
        assert!(!run.stderr.contains("damaged"), "{options}: {}", run.stderr);
        assert!(!project.path("out").exists(), "{options}");
    }
    assert_eq!(fs::read_to_string(project.path("file")).unwrap(), "no folder");
    let mut command = project.command(&["generate", "--prompts", "empty.txt", "--out", "out"]);
    command.args(["--model", "model"]);
    Run::of(command).fails(2, &["--prompts", "no prompt"]);
    // And what remains is the model.
    project.generate("a <cat>", "--bank bank").fails(1, &["is damaged or truncated"]);
}

/// Nothing but a file gives its place to one, and nothing but a file is read.
#[cfg(unix)]
#[test]
fn pipes_and_links_are_left_alone() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let project = Project::new(&[]);
    let made = std::process::Command::new("mkfifo").arg(project.path("pipe")).status().unwrap();
    assert!(made.success());
    project.write("kept", "kept");
    symlink(project.path("kept"), project.path("link")).unwrap();
    let regular = "pipe is not a regular file";
    project.generate("a mug", "--save-latents pipe").fails(1, &[regular]);
    project.generate("a mug", "--save-latents link").fails(1, &["link is a symbolic link"]);
    assert!(project.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());
    assert_eq!(fs::read_to_string(project.path("kept")).unwrap(), "kept");
    project.generate("a mug", "--latents pipe").fails(2, &[regular]);
    project.generate("a mug", "--prompts pipe").fails(2, &[regular]);
    assert!(!project.path("out").exists());
}
