//! Evaluations that are killed or interrupted, and scorers that break.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{CONFIG, evaluate, mean, project, run, text};
use crate::files::Files;
use crate::harness::Project;
use crate::run::Running;

/// All files below `run/images`.
fn images(project: &Project) -> Vec<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries(project.path("run/images")).map(|entry| entry.path());
    folders.flat_map(entries).map(|entry| entry.path()).collect()
}

/// SIGKILL in the middle of generating, and the same command again.
#[test]
fn a_killed_evaluation_goes_on() {
    let whole = project();
    run(&whole, "").succeeds();
    let broken = project();
    let mut killed = Running::start(evaluate(&broken, ""));
    killed.wait_for(&broken.path("run/evaluation.json"));
    while images(&broken).len() < 3 {
        assert!(killed.goes_on(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    killed.kill();
    assert!(!broken.path("run/report.html").exists());
    // What was not complete when it was killed lies there under another name, and does no harm.
    let unfinished = |path: &PathBuf| path.extension().is_none_or(|ending| ending != "png");
    images(&broken)
        .iter()
        .filter(|path| unfinished(path))
        .for_each(|path| fs::remove_file(path).unwrap());
    run(&broken, "").succeeds();
    Files::read(&broken.path("run")).assert_same(&Files::read(&whole.path("run")));
}

/// Ctrl-C ends it at once, whatever it does.
#[test]
fn an_interrupt_ends_within_two_seconds() {
    let project = project();
    let mut running = Running::start(evaluate(&project, "--steps 500"));
    running.wait_for_message("generate     ");
    std::thread::sleep(Duration::from_millis(500));
    let start = Instant::now();
    running.interrupt().fails(130, &["stopped"]);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

/// What a scorer says first.
const HELLO: &str = r#"echo '{"protocol":"evalscore/1","name":"mock","version":"1","columns":["x"],"primary":"x","higher_is_better":true,"needs":["prompt"]}'"#;

/// Ctrl-C while a scorer works leaves no images in the system's temporary folder.
#[test]
fn an_interrupted_scorer_leaves_nothing() {
    let project = project();
    let external = "[[metrics.external]]\nname = \"mock\"\ncommand = [\"sh\", \"scorer.sh\"]\n";
    project.write("evaluate.toml", format!("{CONFIG}\n{external}"));
    let script = "read -r line || exit 0; echo x > asked; exec sleep 5";
    project.write("scorer.sh", format!("{HELLO}; {script}"));
    fs::create_dir(project.path("temporary")).unwrap();
    let mut command = evaluate(&project, "");
    command.env("TMPDIR", project.path("temporary"));
    let left = || fs::read_dir(project.path("temporary")).unwrap().count();
    let mut running = Running::start(command);
    running.wait_for(&project.path("asked"));
    assert_eq!(left(), 1, "the images of the scorer");
    running.interrupt().fails(130, &["stopped"]);
    assert_eq!(left(), 0);
}

/// A scorer that ends, hangs or prints nonsense costs its own numbers and no others. Once it works, the same
/// command completes the report.
#[test]
fn a_broken_scorer_has_no_numbers() {
    let project = project();
    let scorer = |script: &str| {
        let text = format!(
            "{CONFIG}\n[[metrics.external]]\nname = \"mock\"\ncommand = [\"sh\", \"scorer.sh\"]\n\
             restarts = 0\nitem_timeout_s = 1\nstart_timeout_s = 5\n"
        );
        project.write("evaluate.toml", text);
        project.write("scorer.sh", script);
    };
    let broken = [
        (format!("{HELLO}; read -r line; echo 'out of memory' >&2; exit 3"), "out of memory"),
        (format!("{HELLO}; read -r line; exec sleep 60"), "did not answer within 1 s"),
        (format!("{HELLO}; read -r line; echo 0.5"), "printed `0.5`"),
    ];
    for (script, reason) in broken {
        scorer(&script);
        let ended = run(&project, "--json").fails(1, &["the evaluation is incomplete", reason]);
        let summary = ended.json();
        assert!(summary["failed"][0]["reason"].to_string().contains(reason), "{summary:#}");
        assert_eq!(mean(&summary, "mock", Some("bank"), "end"), None);
        assert!(mean(&summary, "small-images", Some("bank"), "end").is_some());
        assert!(text(&project, "run/report.html").contains("mock is incomplete"));
    }
    // The second image of each set of two is too dark for it.
    scorer(&format!(
        r#"{HELLO}; n=0; while read -r line; do n=$((n + 1))
        id=$(printf '%s' "$line" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')
        if [ $((n % 2)) = 0 ]; then printf '{{"id":"%s","error":"too dark"}}\n' "$id"
        else printf '{{"id":"%s","scores":{{"x":1.5}}}}\n' "$id"; fi; done"#
    ));
    let summary = run(&project, "--json").fails(1, &["scores are missing"]).json();
    assert_eq!(mean(&summary, "mock", Some("bank"), "end"), Some(1.5));
    assert!(text(&project, "run/per_image.csv").contains("too dark"));
    // Another version is another metric.
    let hello = HELLO.replace("\"version\":\"1\"", "\"version\":\"2\"");
    scorer(&format!(
        r#"{hello}; while read -r line; do
        id=$(printf '%s' "$line" | sed 's/.*"id":"\([0-9a-f]*\)".*/\1/')
        printf '{{"id":"%s","scores":{{"x":2.5}}}}\n' "$id"; done"#
    ));
    let summary = run(&project, "--json").succeeds().json();
    assert_eq!(mean(&summary, "mock", Some("bank"), "end"), Some(2.5));
}
