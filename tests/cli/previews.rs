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
    project.learn("photos", "--steps 2").succeeds();
    project.write("previews/cat/0-000002.png/file", "in the way");
    let mut command = project.learn_command("photos", "--continue cat --steps 2");
    command.args(["--preview", "a {}"]);
    let run = Run::of(command).succeeds();
    assert!(run.stderr.contains("no preview of <cat> at step 2"), "{}", run.stderr);
    assert_eq!(project.ids(), ["cat"]);
}

/// Nothing is written through links in the folders of previews and event files: a run ends before it begins.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_links() {
    let project = Project::new(&["cat"]);
    project.write("victim/kept", "kept");
    let victim = Files::read(&project.path("victim"));
    for (link, target) in
        [("drawn/cat", "victim"), ("drawn/cat.png", "victim/kept"), ("runs/cat", "victim")]
    {
        let path = project.path(link);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(project.path(target), &path).unwrap();
        for resume in ["", "--resume"] {
            let options = format!("--steps 2 --preview-out drawn --tensorboard runs {resume}");
            let mut command = project.learn_command("photos", &options);
            command.args(["--preview", "a {}"]);
            Run::of(command).fails(1, &[&format!("{link} is a symbolic link")]);
            assert_eq!(project.ids(), [""; 0]);
        }
        assert!(path.is_symlink());
        victim.assert_same(&Files::read(&project.path("victim")));
        fs::remove_file(path).unwrap();
    }
}

/// A folder that cannot be made ends a run before it begins, which would leave nothing there.
#[test]
fn folders_are_tried_before_training() {
    let project = Project::new(&["cat"]);
    project.write("file", "in the way");
    for option in ["--preview-out", "--keep", "--tensorboard"] {
        for folder in ["file", "file/inside"] {
            let options = format!("--steps 1 {option} {folder}");
            let mut command = project.learn_command("photos", &options);
            command.args(["--preview", "a {}"]);
            Run::of(command).fails(1, &[&format!("cannot create {folder}")]);
            assert_eq!(project.ids(), [""; 0], "{options}");
        }
    }
}

/// A new run replaces no previews and hides no curves of another one; a resumed run and further training go on in their
/// folders.
#[test]
fn what_another_run_has_drawn_stays() {
    let project = Project::new(&["cat"]);
    let learn = |options: &str| {
        let mut command = project.learn_command("photos", options);
        command.args(["--preview", "a {}"]);
        Run::of(command)
    };
    learn("--steps 2 --tensorboard runs").succeeds();
    learn("--continue cat --steps 1 --tensorboard runs").succeeds();
    fs::remove_dir_all(project.path("bank")).unwrap();
    project.write("sheets/cat.png", "mine");
    let drawn = || ["previews", "runs", "sheets"].map(|folder| Files::read(&project.path(folder)));
    let before = drawn();
    let texts = ["previews/cat holds previews of another run", "another --preview-out"];
    learn("--steps 2").fails(2, &texts);
    learn("--steps 2 --resume").fails(2, &texts);
    let texts = ["sheets/cat.png holds previews of another run"];
    learn("--steps 2 --preview-out sheets").fails(2, &texts);
    let texts = ["--tensorboard: runs/cat has event files of another run"];
    learn("--steps 2 --preview-out other --tensorboard runs").fails(2, &texts);
    assert_eq!(project.ids(), [""; 0]);
    assert!(drawn() == before, "something was drawn");
    learn("--steps 2 --preview-out other --tensorboard curves").succeeds();

    // What failed may be tried again: its previews are of this bank.
    fs::remove_dir_all(project.path("bank")).unwrap();
    let again = "--preview-out again --tensorboard begun";
    learn(&format!("--steps 2 --lr 1e30 {again}")).fails(1, &["lower `lr_unet`"]);
    assert!(project.path("again/cat").exists());
    learn(&format!("--steps 2 {again}")).succeeds();
}

/// What cannot be drawn ends a run before it begins. Long prompts are drawn chunk by chunk, as by `generate`.
#[test]
fn prompts_are_tried_before_training() {
    let project = Project::new(&["cat", "dog"]);
    let learn = |prompt: &str, options: &str| {
        let mut command = project.learn_command("photos", options);
        command.args(["--preview", prompt]);
        Run::of(command)
    };
    for (prompt, text) in [
        ("a {} and a <dgo>", "there is no concept <dgo>"),
        ("a {} and a <dog>", "of <cat> cannot be drawn: there is no concept <dog>"),
        ("a {} <lora:mug:0.5>", "another program's way"),
        ("(a {}", "is never closed"),
    ] {
        learn(prompt, "--steps 1").fails(2, &["the preview `", text]);
        assert_eq!(project.ids(), [""; 0], "{prompt}");
    }
    let filler = "a ".repeat(100);
    let run = learn(&format!("a {{}} beside a <cat> {filler} {{}}"), "--plan").succeeds();
    assert!(!run.stderr.contains("too long"), "{}", run.stderr);
}

/// Options of previews without a prompt have no effect, and are refused.
#[test]
fn options_of_previews_need_a_prompt() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--preview-out x").fails(2, &["--preview-out", "add --preview"]);
    let texts = ["--preview-every", "add --preview", "or --keep FOLDER"];
    project.learn("photos", "--preview-every 5").fails(2, &texts);
    project.learn("photos", "--preview-every 5 --keep kept --plan").succeeds();
}

/// A preview tells how it was made, and what the bank draws by that is the last one.
#[test]
fn previews_tell_how_they_were_made() {
    let project = Project::new(&["cat", "dog"]);
    let mut command = project.learn_command("photos", "--steps 1");
    command.args(["--preview", "a {}", "--preview", "a {} on a beach"]);
    Run::of(command).succeeds();
    let preview = "previews/dog/1-000001.png";
    let bytes = fs::read(project.path(preview)).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let holds = |part: &str| assert!(text.contains(part), "{part}");
    holds("a <dog> on a beach\nNegative prompt: \nSteps: 25, Sampler: dpm++2m");
    holds("CFG scale: 7.5, Seed: 0, Number: 1, Size: ");
    holds("Model: tiny-sd1, Model hash: ");
    holds("Bank: bank, Concepts: \"cat=1, dog=1\", Concept: dog, Concept step: 1");
    project.run(&["generate", "--from", preview, "--out", "again"]).succeeds();
    let (drawn, preview) = (pixels(&project, "again/00000.png"), pixels(&project, preview));
    let worst = drawn.iter().zip(preview.iter()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 1, "{worst}");
}

/// The records of TensorBoard's event files in a folder.
fn records(project: &Project, folder: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> =
        fs::read_dir(project.path(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let bytes = fs::read(file).unwrap();
        let mut rest = &bytes[..];
        while let Some((length, _)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            records.push(rest[12..12 + length].to_vec());
            rest = &rest[16 + length..];
        }
    }
    records
}

/// A record for each step with its numbers, the previews, and nothing that depends on it.
#[test]
fn tensorboard_sees_steps_and_previews() {
    let project = Project::new(&["cat"]);
    project.learn("photos", "--steps 3").succeeds();
    let without = project.bank();
    fs::remove_dir_all(project.path("bank")).unwrap();
    let mut command = project.learn_command("photos", "--steps 3 --tensorboard runs");
    command.args(["--preview", "a photo of a {}"]);
    Run::of(command).succeeds();
    assert!(without == project.bank(), "the bank depends on the record");
    let records = records(&project, "runs/cat");
    let with = |tag: &str| {
        let holds =
            |record: &&Vec<u8>| record.windows(tag.len()).any(|part| part == tag.as_bytes());
        records.iter().filter(holds).count()
    };
    // The version, the start, three steps, and previews before the first and after the last.
    assert_eq!(records.len(), 2 + 3 + 2);
    assert_eq!((with("brain.Event:2"), with("preview/0"), with("PNG")), (1, 2, 2));
    for tag in ["loss", "hypergradient_norm", "overlap", "embedding_norm", "learning_rate"] {
        assert_eq!(with(tag), 3, "{tag}");
    }
    project.write("file", "");
    fs::remove_dir_all(project.path("bank")).unwrap();
    project.learn("photos", "--tensorboard file").fails(1, &["file"]);
}

/// Before the first step, after every second and after the last there is a bank; the last is as the real one.
#[test]
fn what_is_kept_are_banks() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos", "--steps 3 --preview-every 2 --keep kept").succeeds();
    for (id, count) in [("cat", 1), ("dog", 2)] {
        let folders: Vec<String> = fs::read_dir(project.path(&format!("kept/{id}")))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(folders.len(), 3, "{folders:?}");
        for step in [0, 2, 3] {
            let bank = format!("kept/{id}/{step:06}");
            let found = project.run(&["bank", "verify", &bank, "--json"]).succeeds();
            let concepts = found.json()["concepts"].as_array().unwrap().len();
            assert_eq!(concepts, count, "{bank}");
        }
        let last = Files::read(&project.path(&format!("kept/{id}/000003")));
        let real = project.bank();
        for file in ["adapter.safetensors", "tokens.safetensors"] {
            let name = format!("concepts/{id}/{file}");
            assert!(last.bytes(&name) == real.bytes(&name), "{name} differs");
        }
    }
    let texts = ["--keep: kept/cat is there already"];
    fs::remove_dir_all(project.path("bank")).unwrap();
    project.learn("photos", "--steps 3 --keep kept").fails(2, &texts);
}

/// Banks are not kept in the bank that is learnt into, whether it is there yet or not.
#[test]
fn nothing_is_kept_in_the_bank() {
    let project = Project::new(&["cat"]);
    let refused = |folder: &str| {
        let texts = ["--keep", "is the bank bank itself or lies inside of it"];
        project.learn("photos", &format!("--steps 1 --keep {folder}")).fails(2, &texts);
    };
    for folder in ["bank", "./bank/kept", "other/../bank/kept"] {
        refused(folder);
    }
    assert!(!project.path("bank").exists());
    fs::create_dir(project.path("bank")).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(project.path("bank"), project.path("link")).unwrap();
        refused("link/kept");
    }
    refused("bank/kept");
    project.learn("photos", "--steps 1 --keep bank-kept").succeeds();
}
