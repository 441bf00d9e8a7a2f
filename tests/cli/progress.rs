//! Progress where nobody watches a terminal: as lines of text.

use crate::harness::Project;
use crate::run::Run;

#[test]
fn progress_is_logged_off_a_terminal() {
    let project = Project::new(&["cat"]);
    let run = |mut command: std::process::Command, seconds: &str| {
        Run::of({
            command.env("SEQLORA_PROGRESS_SECONDS", seconds);
            command
        })
    };
    let log = run(project.learn_command("photos", "--steps 2"), "0").succeeds().stderr;
    assert!(log.contains("cat          1/2 steps (50 %) in "), "{log}");
    assert!(log.contains(" left  loss "), "{log}");
    let log = run(project.generate_command("a mug", "--json"), "0").succeeds().stderr;
    assert!(log.contains("generate     1/4 steps (25 %) in "), "{log}");

    // A short run has only its end to tell, and --quiet nothing.
    let log = project.generate("a mug", "").succeeds().stderr;
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" steps (")).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].starts_with("generate     4/4 steps (100 %) in "), "{log}");
    assert_eq!(project.generate("a mug", "--quiet").succeeds().stderr, "");
    run(project.generate_command("a mug", ""), "soon")
        .fails(2, &["SEQLORA_PROGRESS_SECONDS", "`soon`"]);
}
