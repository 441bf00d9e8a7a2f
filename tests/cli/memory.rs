//! What a run takes, found out before it starts; and that it does not take more for more images.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::Project;
use crate::images::image;
use crate::run::{Run, Running};

/// Enough images that decoding them all, or encoding them, takes longer than anything here may.
const MANY: usize = 3000;

/// A project with so many images of a cat.
fn project(images: usize) -> Project {
    let project = Project::new(&["cat"]);
    let [first, second] = [0, 1].map(|number| {
        let path = project.path(&format!("photos/cat/{number}.png"));
        image("cat", number).save(&path).unwrap();
        fs::read(path).unwrap()
    });
    for number in 0..images {
        let bytes = if number % 2 == 0 { &first } else { &second };
        project.write(&format!("photos/cat/{number}.png"), bytes);
    }
    project
}

/// `--plan` tells memory and time, to people and machines.
#[test]
fn a_plan_tells_memory_and_time() {
    let project = Project::new(&["cat", "dog"]);
    let run = project.learn("photos", "--plan --json").succeeds();
    let plan = run.json();
    let number = |pointer: &str| plan.pointer(pointer).and_then(|v| v.as_f64()).expect("a number");
    assert!(number("/memory/total") > number("/memory/beside_the_model"));
    assert!(number("/memory/parts/activations") > 0.0 && number("/memory/parts/encoding") > 0.0);
    let (step, all) = (number("/time/per_step"), number("/time/total"));
    assert!(step > 0.0 && (all / step - 12.0).abs() < 1e-6, "two concepts of six steps: {plan:#}");
    assert!(run.stderr.contains("per step"), "{}", run.stderr);
    if cfg!(target_os = "linux") {
        assert_eq!(plan["memory"]["fits"], true);
        assert!(run.stderr.contains("are available"), "{}", run.stderr);
    }
}

/// The regularisation of attention keeps probabilities, and the loss that keeps the class a second pass; both are
/// part of the estimate.
#[test]
fn what_terms_of_the_loss_keep_is_counted() {
    let activations = |settings: &str| {
        let project = Project::new(&["cat"]);
        let usual = fs::read_to_string(project.path("settings.toml")).unwrap();
        project.write("settings.toml", usual + settings);
        let plan = project.learn("photos", "--plan --json").succeeds().json();
        plan["memory"]["parts"]["activations"].as_u64().expect("a number")
    };
    let (without, with) = (activations(""), activations("attention_weight = 0.01\n"));
    // Heads, places and 77 tokens of each layer, in f32, five times.
    assert!(with > without && (with - without).is_multiple_of(4 * 5 * 77), "{without} {with}");
    assert_eq!(activations("prior_weight = 1.0\n"), 2 * without);
}

/// A run that cannot fit does not start, and neither does one whose sizes make no sense.
#[test]
fn sizes_are_compared_with_the_machine() {
    let project = Project::new(&["cat"]);
    #[cfg(target_os = "linux")]
    for options in ["--batch 60000", "--batch 60000 --plan", "--batch 60000 --plan --json"] {
        let texts = ["training takes about", "are available", "`micro_batch`", "--force"];
        let run = project.learn("photos", options).fails(1, &texts);
        assert!(!options.ends_with("json") || run.json()["memory"]["fits"] == false);
    }
    let cases = [
        ("batch", "100000000000"),
        ("crops", "1000000000000"),
        ("probes", "1000000000000"),
        ("steps", "9223372036854775807"),
        ("inner", "4611686018427387904"),
        ("resolution", "100000"),
        ("rank", "100000"),
        ("concepts", "4611686018427387904"),
    ];
    for (name, value) in cases {
        project.write("settings.toml", format!("{name} = {value}"));
        let text = format!("`{name}` is {value}; it must be at most");
        project.learn("photos", "").fails(2, &[&text]);
    }
    assert!(!project.path("bank/concepts").exists());
}

/// `--memory low` and `--micro-batch` are planned with fewer activations, learn, and are refused with a term of the loss that
/// they leave no attention for.
#[test]
fn less_memory_is_planned_and_learns() {
    let project = Project::new(&["cat"]);
    let activations = |options: &str| {
        let plan = project.learn("photos", &format!("{options} --plan --json")).succeeds().json();
        plan["memory"]["parts"]["activations"].as_u64().expect("a number")
    };
    assert!(2 * activations("--memory low") < activations("--memory fast"));
    let parts = activations("--batch 4 --micro-batch 1");
    assert!(4 * parts <= activations("--batch 4"));
    assert_eq!(parts, activations("--batch 2 --micro-batch 1"));
    let usual = fs::read_to_string(project.path("settings.toml")).unwrap();
    project.write("settings.toml", format!("{usual}attention_weight = 0.1\n"));
    project.learn("photos", "--memory low").fails(2, &["`memory` = low", "`attention_weight`"]);
    let parts = project.learn("photos", "--batch 2 --micro-batch 1");
    parts.fails(2, &["`attention_weight`", "`micro_batch`"]);
    project.write("settings.toml", usual);
    let theirs = project.learn("photos", "--gradient_accumulation_steps 4");
    theirs.fails(2, &["--micro-batch", "--batch N×B"]);
    project.learn("photos", "--steps 1 --batch 3 --micro-batch 2 --memory low").succeeds();
    assert_eq!(project.ids(), ["cat"]);
}

/// `--memory auto` is fast where that fits, and low where only that does; on the CPU memory is known.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_chosen_by_what_there_is() {
    let project = Project::new(&["cat"]);
    let plan = |options: &str| {
        let run = project.learn("photos", &format!("{options} --memory auto --plan --json"));
        let text = run.stderr.clone();
        (run.json()["memory"].clone(), text)
    };
    let (memory, text) = plan("");
    assert_eq!(memory["setting"], "fast");
    assert!(text.contains("fast: it fits"), "{text}");
    let (memory, text) = plan("--batch 60000");
    assert_eq!(memory["setting"], "low");
    assert!(text.contains("low: fast takes about"), "{text}");
}

/// A run that was stopped goes on with less memory, but not with other images in a minibatch.
#[cfg(unix)]
#[test]
fn a_run_goes_on_with_less_memory() {
    let project = Project::new(&["cat"]);
    let mut run = project.start_learn("--steps 40 --save-every 1 --batch 2");
    run.wait_for(&project.path("bank/concepts/cat/checkpoint/state.json"));
    run.signal("INT").fails(130, &["stopp"]);
    project.learn("photos", "--steps 40 --batch 3 --resume").fails(1, &["`batch`"]);
    let less = "--steps 40 --batch 2 --memory low --micro-batch 1 --resume";
    project.learn("photos", less).succeeds();
    assert_eq!(project.ids(), ["cat"]);
}

/// Images stream from disk: a hundred times as many take no more memory.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_images() {
    let peak = |images| peak_memory(project(images).learn_command("photos", "--steps 2"));
    let (few, many) = (peak(MANY / 100), peak(MANY));
    // 10 kB for each further image, where a decoded one with its latents took 660.
    assert!(many < few + 10 * MANY as u64, "{few} kB and {many} kB");
}

/// Nor does it grow with the number of images that are made: a backend with a tape notes every operation, and forgets
/// it again.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_samples() {
    let project = Project::new(&[]);
    let peak = |images: usize| {
        let options = format!("--num {images} --steps 8 --out {images}");
        let mut command = project.command(&["generate", "--prompt", "a mug", "--model"]);
        command.arg(&project.model).args(options.split(' '));
        peak_memory(command)
    };
    let (few, many) = (peak(4), peak(34));
    // It was 4300 kB for each image; two runs differ by up to 8000 kB.
    assert!(many < few + 30 * 1000, "{few} kB and {many} kB");
}

/// The largest resident memory of a command, in kB.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the standard library does not tell a child's resources")]
fn peak_memory(mut command: Command) -> u64 {
    use std::process::Stdio;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    #[expect(clippy::zombie_processes, reason = "wait4 waits for it")]
    let child = command.spawn().unwrap();
    let mut status = 0;
    // SAFETY: all zeros are a `rusage`, and both pointers are valid.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        assert_eq!(libc::wait4(child.id() as i32, &mut status, 0, &mut usage), child.id() as i32);
        usage
    };
    assert_eq!(status, 0, "it succeeds");
    usage.ru_maxrss as u64
}

/// A signal ends a run within two seconds, whatever it does before the first step: reading the images, and
/// encoding them.
#[cfg(unix)]
#[test]
fn signals_are_obeyed_before_the_first_step() {
    let project = project(MANY);
    for (signal, encoding) in [("INT", false), ("TERM", true)] {
        let mut run = project.start_learn("");
        match encoding {
            true => run.wait_for_message("memory "),
            false => run.wait_for(&project.path("bank/bank.json")),
        }
        let start = Instant::now();
        run.signal(signal).fails(130, &["stopp"]);
        assert!(start.elapsed() < Duration::from_secs(2), "{signal}: {:?}", start.elapsed());
        fs::remove_dir_all(project.path("bank")).unwrap();
    }
}

/// A bank that somebody moves away while a concept is learnt is noticed, and not made again.
#[test]
fn a_bank_that_is_gone_is_noticed() {
    let project = Project::new(&["cat"]);
    let mut run: Running = project.start_learn("--steps 200 --save-every 2");
    run.wait_for(&project.path("bank/concepts/cat/metrics.jsonl"));
    fs::rename(project.path("bank"), project.path("moved")).unwrap();
    let run: Run = run.finish();
    run.fails(1, &["bank was removed or changed while a concept was learnt"]);
    assert!(!project.path("bank").exists());
}
