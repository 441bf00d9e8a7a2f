//! Runs that are killed or interrupted, and go on as if nothing had happened.

use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Running;

/// Long enough to be killed in between, with two checkpoints in each concept.
pub const OPTIONS: &str = "--steps 8 --save-every 3";

/// The bank of a run of two concepts that nobody interrupted.
pub fn unbroken() -> &'static Files {
    static BANK: OnceLock<Files> = OnceLock::new();
    BANK.get_or_init(|| {
        let project = Project::new(&["cat", "dog"]);
        project.learn("photos", OPTIONS).succeeds();
        project.bank()
    })
}

/// Resumes, and compares every byte with the run that nobody interrupted.
#[track_caller]
fn resumes_to_the_same_bank(project: &Project) -> String {
    let run = project.learn("photos", &format!("{OPTIONS} --resume")).succeeds();
    project.bank().assert_same(unbroken());
    run.stderr
}

/// A project whose run was killed when one file of its bank was there and another was not yet. On a busy
/// machine a run may be past that before it is seen; then another run is tried.
fn killed_between(there: &str, not_yet: &str) -> Project {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        let project = Project::new(&["cat", "dog"]);
        let mut run = project.start_learn(OPTIONS);
        run.wait_for(&project.path("bank/concepts").join(there));
        run.kill();
        if !project.path("bank/concepts").join(not_yet).exists() {
            return project;
        }
    }
    panic!("every run had written {not_yet} before it was killed");
}

/// What would keep an interrupted concept from being resumed is refused: another one in its bank.
#[test]
fn an_interrupted_concept_comes_first() {
    let project = Project::new(&["cat", "dog"]);
    let mut run = Running::start(project.learn_command("photos/cat", "--steps 40 --save-every 2"));
    run.wait_for(&project.path("bank/concepts/cat/checkpoint/state.json"));
    run.kill();
    let texts = ["`cat` is being trained", "resume it first"];
    project.learn("photos/dog", "--steps 1").fails(1, &texts);
    let adapter = fixture("adapters").join("pytorch_lora_weights.safetensors");
    let mut import =
        project.command(&["import", "--bank", "bank", "--class", "wizard", "--id", "potter"]);
    import.args(["--trigger", "a red plushie"]).arg(&adapter).arg("--model").arg(&project.model);
    crate::run::Run::of(import).fails(1, &texts);
    project.learn("photos/cat", "--steps 40 --save-every 2 --resume").succeeds();
    project.learn("photos/dog", "--steps 1").succeeds();
    assert_eq!(project.ids(), ["cat", "dog"]);
}

/// The same holds for a concept of the bank that is trained further, and for a queue that holds it.
#[test]
fn an_interrupted_continuation_comes_first() {
    let project = Project::new(&["cat", "dog"]);
    project.learn("photos/cat", "--steps 2").succeeds();
    let further = "--continue cat --steps 40 --save-every 2";
    let mut run = Running::start(project.learn_command("photos/cat", further));
    run.wait_for(&project.path("bank/concepts/cat/1/checkpoint/state.json"));
    run.kill();
    let texts = ["`cat` is being trained", "resume it first"];
    project.learn("photos", "--steps 2 --resume").fails(1, &texts);
    project.learn("photos/cat", &format!("{further} --resume")).succeeds();
    project.learn("photos", "--steps 2 --resume").succeeds();
    assert_eq!(project.ids(), ["cat", "dog"]);
}

/// SIGKILL in the second concept, after a checkpoint. Other settings do not pass unnoticed.
#[test]
fn a_killed_run_goes_on_from_its_checkpoint() {
    let project = killed_between("dog/checkpoint/state.json", "dog/adapter.safetensors");
    assert_eq!(project.ids(), ["cat"]);
    project.learn("photos", OPTIONS).fails(1, &["already holds a concept `cat`", "--resume"]);
    let changed = format!("{OPTIONS} --resume --lr-unet 0.5");
    let texts = ["cannot resume `cat`", "`lr_unet` was 0.003, now it is 0.5"];
    project.learn("photos", &changed).fails(1, &texts);
    project.learn("photos/dog", OPTIONS).fails(1, &["`dog` interrupted at step", "--resume"]);
    let changed = format!("{OPTIONS} --resume --rank 1");
    project
        .learn("photos/dog", &changed)
        .fails(1, &["cannot resume `dog`", "`rank` was 2, now it is 1"]);
    let said = resumes_to_the_same_bank(&project);
    assert!(said.contains("cat is learnt already") && said.contains("dog at step"), "{said}");
}

/// SIGKILL in the second concept, before its first checkpoint.
#[test]
fn a_run_killed_before_its_checkpoint_starts_the_concept_anew() {
    let project = killed_between("dog/metrics.jsonl", "dog/checkpoint/state.json");
    assert_eq!(project.ids(), ["cat"]);
    let texts = ["cannot resume `cat`", "`steps` was 8, now it is 9"];
    project.learn("photos", "--steps 9 --save-every 3 --resume").fails(1, &texts);
    resumes_to_the_same_bank(&project);
}

/// SIGKILL in the first concept, before there is anything to go on from.
#[test]
fn a_run_killed_at_once_needs_no_resume() {
    let project = killed_between("cat/metrics.jsonl", "cat/checkpoint/state.json");
    project.learn("photos", OPTIONS).succeeds();
    project.bank().assert_same(unbroken());
}

/// SIGKILL after the bank lists the last concept and before its basis holds it.
#[test]
fn the_last_concept_is_added_to_the_basis_later() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    for file in ["bank/basis/index.json", "bank/basis/columns.f32"] {
        std::fs::remove_file(project.path(file)).unwrap();
        resumes_to_the_same_bank(&project);
    }
}

/// Ctrl-C saves the state between checkpoints and exits with 130.
#[test]
fn an_interrupted_run_has_saved_its_state() {
    let project = Project::new(&["cat", "dog"]);
    let mut run = project.start_learn(OPTIONS);
    run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
    run.interrupt().fails(130, &["the state is saved", "--resume"]);
    assert!(project.path("bank/concepts/cat/checkpoint/state.json").exists());
    assert_eq!(project.ids(), [""; 0]);
    let texts = ["`cat` interrupted at step", "--resume", "bank/concepts/cat/checkpoint"];
    project.learn("photos", OPTIONS).fails(1, &texts);
    resumes_to_the_same_bank(&project);
}

/// Settings on which the result does not depend may change.
#[test]
fn a_resumed_run_may_save_more_often() {
    let project = killed_between("cat/checkpoint/state.json", "cat/adapter.safetensors");
    let other = "--steps 8 --save-every 2 --strict-capacity --resume";
    project.learn("photos", other).succeeds();
    let (bank, unbroken) = (project.bank(), unbroken());
    for id in ["cat", "dog"] {
        for file in ["adapter.safetensors", "tokens.safetensors", "metrics.jsonl"] {
            let name = format!("concepts/{id}/{file}");
            assert!(bank.bytes(&name) == unbroken.bytes(&name), "{name} differs");
        }
    }
    project.learn("photos", &format!("{OPTIONS} --resume")).succeeds();
}

/// Methods without levels go on as exactly as the others.
#[test]
fn methods_without_levels_are_resumed() {
    for method in ["lora", "orthogonal-adaptation"] {
        let options = format!("--steps 8 --save-every 3 --method {method}");
        let whole = Project::new(&["cat"]);
        whole.learn("photos", &options).succeeds();
        let broken = Project::new(&["cat"]);
        let mut run = broken.start_learn(&options);
        run.wait_for(&broken.path("bank/concepts/cat/metrics.jsonl"));
        run.interrupt().fails(130, &["the state is saved"]);
        assert!(broken.path("bank/concepts/cat/checkpoint/state.json").exists());
        broken.learn("photos", &format!("{options} --resume")).succeeds();
        broken.bank().assert_same(&whole.bank());
    }
}

/// Under `nohup` a terminal that is closed stops nothing; else the state is saved.
#[cfg(unix)]
#[test]
fn nohup_outlives_the_terminal() {
    let project = Project::new(&["cat", "dog"]);
    let metrics = project.path("bank/concepts/cat/metrics.jsonl");
    let mut learn = project.learn_command("photos", OPTIONS);
    hang_up_ends(&mut learn);
    let mut run = Running::start(learn);
    run.wait_for(&metrics);
    run.signal("HUP").fails(130, &["the state is saved"]);
    std::fs::remove_dir_all(project.path("bank")).unwrap();

    let learn = project.learn_command("photos", OPTIONS);
    let mut nohup = Command::new("nohup");
    nohup.arg(learn.get_program()).args(learn.get_args()).current_dir(project.path("."));
    let mut run = Running::start(nohup);
    run.wait_for(&metrics);
    run.signal("HUP").succeeds();
    project.bank().assert_same(unbroken());
}

/// Has the command notice SIGHUP even if the tests themselves run under `nohup`.
#[cfg(unix)]
#[expect(unsafe_code, reason = "signals have no safe interface")]
fn hang_up_ends(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: between fork and exec, `signal` is allowed; it touches no memory.
    let default = || match unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) } {
        libc::SIG_ERR => Err(std::io::Error::last_os_error()),
        _ => Ok(()),
    };
    // SAFETY: as above.
    unsafe { command.pre_exec(default) };
}

/// Images that have changed since are noticed.
#[test]
fn changed_images_are_noticed() {
    let project = killed_between("cat/checkpoint/state.json", "cat/adapter.safetensors");
    project.write("photos/cat/2.jpg", std::fs::read(fixture("images/cmyk.jpg")).unwrap());
    let resume = format!("{OPTIONS} --resume");
    project.learn("photos", &resume).fails(1, &["cannot resume `cat`", "images or captions"]);
    std::fs::remove_file(project.path("photos/cat/2.jpg")).unwrap();
    resumes_to_the_same_bank(&project);
}

/// A concept that would now be learnt before the interrupted one is noticed: B kept away from less.
#[test]
fn a_concept_in_between_is_noticed() {
    let project = killed_between("dog/checkpoint/state.json", "dog/adapter.safetensors");
    let photo = std::fs::read(fixture("images/cmyk.jpg")).unwrap();
    project.write("photos/cow/0.jpg", photo);
    let resume = format!("{OPTIONS} --resume");
    let texts = ["cannot resume `dog`", "after [cat] and would now come after [cat, cow]"];
    project.learn("photos", &resume).fails(1, &texts);
    std::fs::remove_dir_all(project.path("photos/cow")).unwrap();
    std::fs::remove_file(project.path("bank/concepts/dog/metrics.jsonl")).unwrap();
    project.learn("photos", &resume).succeeds();
    project.run(&["inspect", "bank"]).succeeds();
}

/// A damaged checkpoint is named, and its concept can start anew without it.
#[test]
fn a_damaged_checkpoint_can_be_given_up() {
    let project = killed_between("cat/checkpoint/state.json", "cat/adapter.safetensors");
    let folder = project.path("bank/concepts/cat/checkpoint");
    for name in ["state-0.safetensors", "state-1.safetensors"] {
        project.write(&format!("bank/concepts/cat/checkpoint/{name}"), "half");
    }
    let texts = ["checkpoint/state-", "is damaged", "delete the checkpoint folder"];
    project.learn("photos", &format!("{OPTIONS} --resume")).fails(1, &texts);
    std::fs::remove_dir_all(folder).unwrap();
    resumes_to_the_same_bank(&project);
}

/// What a process was writing when it was killed is cleared away.
#[test]
fn half_written_files_are_removed() {
    let project = Project::new(&["cat", "dog"]);
    project.write("bank/.lock", "");
    project.write("bank/.seqlora-tmp-x1y2z3", "half of bank.json");
    project.learn("photos/cat", OPTIONS).succeeds();
    project.write("bank/concepts/dog/.seqlora-tmp-x1y2z3", "half of an adapter");
    project.write("bank/concepts/dog/checkpoint/.seqlora-tmp-x1y2z3", "half of a state");
    resumes_to_the_same_bank(&project);
}

/// One process may write to a bank at a time; others may read.
#[test]
fn a_bank_has_one_writer() {
    let project = Project::new(&["cat", "dog"]);
    let mut run = project.start_learn("--steps 1000");
    run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
    project.learn("photos/dog", "").fails(1, &["bank is in use by another process"]);
    assert_eq!(project.ids(), [""; 0]);
    run.kill();
    project.learn("photos/dog", "--steps 1").succeeds();
    assert_eq!(project.ids(), ["dog"]);
}
