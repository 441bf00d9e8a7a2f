//! `seqlora evaluate`: what it writes, how parts of it are put together, and what it refuses.

mod measured;
mod refused;
#[cfg(unix)]
mod stopped;

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Learnt, Project, THREE, fixture};
use crate::run::Run;

/// Two pets and a mug.
const DATA: &str = r#"
    [[concept]]
    id = "mug"
    class = "mug"
    images = "photos/mug"
    [[concept]]
    id = "cat"
    class = "pet"
    images = "photos/cat"
    [[concept]]
    id = "dog"
    class = "pet"
    images = "photos/dog"
"#;

const CONFIG: &str = "
    [protocol]
    prompts = [\"a photo of a {}\", \"a {} on grass\"]
    unrelated = [\"a lake\"]
    seeds = [0, 1]
    steps = 2
    bootstrap = { resamples = 200 }
    [metrics]
    names = [\"small-images\"]
";

/// A bank of the concepts cat, dog and mug, their images, and settings.
fn project() -> Project {
    let project = Project::new(&THREE);
    Learnt::three().bank.write(&project.path("bank"));
    project.write("data.toml", DATA);
    project.write("evaluate.toml", CONFIG);
    project
}

/// `seqlora evaluate data.toml` of the bank into `run`, unless the options say otherwise.
fn evaluate(project: &Project, options: &str) -> Command {
    let mut command = project.command(&["evaluate", "--model"]);
    command.arg(fixture("tiny-sd1"));
    for (option, usual) in [
        ("--out", "run"),
        ("--config", "evaluate.toml"),
        ("--bank", "bank"),
        (".toml ", "data.toml"),
    ] {
        let given =
            options.contains(option) || (option == "--bank" && options.contains("--images"));
        match (given, option) {
            (true, _) => {}
            (false, ".toml ") => drop(command.arg(usual)),
            (false, option) => drop(command.args([option, usual])),
        }
    }
    command.args(options.split_whitespace());
    // Weights that happen to be on the machine are none of a test's business.
    command.env("HF_HUB_CACHE", project.path("no-cache")).env_remove("SEQLORA_METRICS");
    command
}

fn run(project: &Project, options: &str) -> Run {
    Run::of(evaluate(project, options))
}

fn text(project: &Project, name: &str) -> String {
    fs::read_to_string(project.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list `{key}` in {value:#}"))
}

/// The mean of a measure; `None` where there is no number.
fn mean(summary: &Value, metric: &str, method: Option<&str>, measure: &str) -> Option<f64> {
    let row = list(summary, "rows").iter().find(|row| {
        row["metric"] == metric && row["method"].as_str() == method && row["measure"] == measure
    });
    row?["statistics"]["mean"].as_f64()
}
