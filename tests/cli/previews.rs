//! `learn --preview`: images of a concept while it is learnt.

use std::fs;

use crate::files::Files;
use crate::harness::Project;
use crate::run::Run;

fn pixels(project: &Project, name: &str) -> image::RgbImage {
    let bytes = fs::read(project.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    image::load_from_memory(&bytes).unwrap().into_rgb8()
}

/// Before the first step, after every second and after the last, and nothing that is learnt depends on it.
#[test]
fn previews_are_drawn_and_change_nothing() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos", "--steps 3").succeeds();
    let without = project.bank();
    fs::remove_dir_all(project.path("bank")).unwrap();

    let mut command = project.learn_command("photos", "--steps 3 --preview-every 2");
    command.args(["--preview", "a photo of a {}", "--preview", "a {} on a beach"]);
    Run::of(command).succeeds();
    assert!(without == project.bank(), "the bank depends on the previews");
    let mut names: Vec<String> = Files::read(&project.path("previews")).names().collect();
    let mut expected = vec!["cat.png".to_string(), "dog.png".into()];
    for id in ["cat", "dog"] {
        for prompt in 0..2 {
            expected.extend([0, 2, 3].map(|step| format!("{id}/{prompt}-{step:06}.png")));
        }
    }
    expected.sort();
    names.sort();
    assert_eq!(names, expected);
    let (cell, sheet) =
        (pixels(&project, "previews/cat/0-000000.png"), pixels(&project, "previews/cat.png"));
    assert!(sheet.width() > 3 * cell.width() && sheet.height() > 2 * cell.height());

    // The last preview is what the bank draws: of the cat with the cat alone, of the dog with both.
    for (id, concepts) in [("cat", &["--concept", "cat"][..]), ("dog", &[])] {
        let out = format!("drawn/{id}");
        let prompt = format!("a photo of a <{id}>");
        let generate =
            ["generate", "--bank", "bank", "--prompt", &prompt, "--out", &out, "--model"];
        let mut command = project.command(&generate);
        command.arg(&project.model).args(concepts);
        Run::of(command).succeeds();
        let drawn = pixels(&project, &format!("{out}/00000.png"));
        let preview = pixels(&project, &format!("previews/{id}/0-000003.png"));
        let worst = drawn.iter().zip(preview.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 1, "{id}: {worst}");
    }
}

/// A run that takes days does not end because an image cannot be written.
#[test]
fn a_preview_that_fails_is_told() {
    let project = Project::new(&["cat"]);
    project.write("previews", "in the way");
    let mut command = project.learn_command("photos", "--steps 2");
    command.args(["--preview", "a {}"]);
    let run = Run::of(command).succeeds();
    assert!(run.stderr.contains("no preview of <cat> at step 0"), "{}", run.stderr);
    assert_eq!(project.ids(), ["cat"]);
}
