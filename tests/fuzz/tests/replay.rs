//! Every target with its corpus and with mutations of it. No input may panic, take twenty seconds, or
//! allocate more than the guard allows.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use std::{fs, panic, process};

use seqlora_fuzz::{Guard, Mutator, TARGETS, Target, begin, busy};

#[global_allocator]
static GUARD: Guard = Guard;

/// Mutations per target; `SEQLORA_MUTATIONS` sets another number.
const MUTATIONS: usize = 300;

/// No input takes more than milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the last panic said.
static SAID: Mutex<String> = Mutex::new(String::new());

/// The inputs of a target by name: its corpus, and its own good files.
fn corpus(target: &Target) -> BTreeMap<String, Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut inputs: BTreeMap<_, _> = target.seeds().into_iter().collect();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        inputs.insert(name, fs::read(path).unwrap());
    }
    inputs
}

/// Ends the process if an input takes too long.
fn watch() {
    loop {
        thread::sleep(Duration::from_secs(1));
        if let Some((input, time)) = busy().filter(|(_, time)| *time > PATIENCE) {
            // What `eprintln!` says would be lost with the process.
            let _ = writeln!(std::io::stderr(), "{input} takes more than {time:?}");
            process::abort();
        }
    }
}

/// Runs an input. Returns what it panicked with.
fn run(target: &Target, name: &str, input: &[u8]) -> Option<String> {
    let name = format!("{}/{name}", target.name);
    begin(&name);
    let panicked = catch_unwind(AssertUnwindSafe(|| target.run(input))).is_err();
    panicked.then(|| format!("{name}: {}", SAID.lock().unwrap()))
}

/// Writes an input that panicked, to be added to the corpus, and says where.
fn keep(target: &Target, name: &str, input: &[u8]) -> String {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", target.name));
    fs::write(&file, input).unwrap();
    format!(" (the input is {})", file.display())
}

#[test]
fn no_input_panics() {
    let number = std::env::var("SEQLORA_MUTATIONS");
    let mutations = number.map_or(MUTATIONS, |number| number.parse().expect("a number"));
    thread::spawn(watch);
    panic::set_hook(Box::new(|info| *SAID.lock().unwrap() = info.to_string()));
    let mut failures = Vec::new();
    let mut runs = 0;
    for target in TARGETS {
        let corpus = corpus(target);
        runs += corpus.len() + mutations;
        failures.extend(corpus.iter().filter_map(|(name, input)| run(target, name, input)));
        let inputs: Vec<Vec<u8>> = corpus.into_values().collect();
        let mut mutator = Mutator::new(0);
        for number in 0..mutations {
            let input = mutator.mutate(&inputs);
            let name = format!("mutation-{number}");
            if let Some(failure) = run(target, &name, &input) {
                failures.push(failure + &keep(target, &name, &input));
            }
        }
    }
    let _ = panic::take_hook();
    println!("{runs} inputs");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Else mutations of them would end at the first check.
#[test]
fn good_files_are_accepted() {
    let mut refused = Vec::new();
    for target in TARGETS {
        let inputs = target.seeds().into_iter().filter(|(_, input)| !target.run(input));
        refused.extend(inputs.map(|(name, _)| format!("{}/{name}", target.name)));
    }
    assert!(refused.is_empty(), "these are refused: {}", refused.join(", "));
}

#[test]
fn corpora_belong_to_targets() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for entry in fs::read_dir(corpus).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(TARGETS.iter().any(|target| name == target.name), "{name:?} is no target");
    }
}
