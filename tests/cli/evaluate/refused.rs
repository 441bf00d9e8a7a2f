//! What is told before or in place of numbers.

use std::fs;

use super::{DATA, evaluate, list, mean, project, run, text};
use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;

/// Images that are not finite are missing, and no number is made of them.
#[test]
fn images_that_are_not_finite_have_no_scores() {
    let project = project();
    let options = "--guidance 1e39 --concept mug --seeds 0 --json";
    let failed = run(&project, options);
    let failed = failed.fails(1, &["images could not be made", "not finite", "incomplete"]);
    let summary = failed.json();
    let images = &summary["run"]["images"];
    assert!(images["failed"].as_u64() > Some(0), "{images}");
    assert_eq!(mean(&summary, "small-images", Some("bank"), "end"), None);
    assert!(mean(&summary, "small-images", None, "ceiling").is_some(), "references are images too");
    let table = text(&project, "run/table.md");
    assert!(!table.contains("NaN") && table.contains("| bank | – |"), "{table}");
    // They are not tried again: the same settings give the same numbers.
    let again = run(&project, options);
    assert!(again.stderr.contains("every image is there"), "{}", again.stderr);
}

/// A metric without weights is skipped, and never a number; other weights than its own are refused before any
/// image is made.
#[test]
fn weights_that_are_missing_or_wrong() {
    let project = project();
    let options = "--metric small-images --metric dino --metric clip-t --json";
    let summary = run(&project, options).succeeds().json();
    let skipped: Vec<&str> =
        list(&summary, "skipped").iter().map(|s| s["metric"].as_str().unwrap()).collect();
    assert_eq!(skipped, ["dino", "clip-t"]);
    assert!(list(&summary, "skipped")[0]["reason"].to_string().contains("weights missing: "));
    assert!(list(&summary, "rows").iter().all(|row| row["metric"] == "small-images"));
    assert!(text(&project, "run/table.md").contains("`dino` is skipped"));

    Files::read(&fixture("tiny-sd1/unet")).write(&project.path("weights/dino-vits16"));
    let mut wrong = evaluate(&project, "--metric dino --out wrong");
    wrong.env("SEQLORA_METRICS", project.path("weights"));
    Run::of(wrong).fails(1, &["the metric `dino`", "dino-vits16"]);
    assert!(!project.path("wrong/images").exists());
    run(&project, "--metric dinov9").fails(2, &["no metric `dinov9`", "clip-t", "small-images"]);
}

/// What cannot be evaluated is told before the model is loaded.
#[test]
fn mistakes_are_told_at_once() {
    let project = project();
    project.write("empty.txt", "\n  \n");
    project.write("plain.txt", "a photo of a {}\nphoto of a moongate.\n");
    project.write("wrong.toml", "[protocol]\nseed = 3\n");
    project.write("twice.toml", "[protocol]\nunrelated = []\n");
    project.write("pairs.json", "[{}]");
    let cases: &[(&str, i32, &[&str])] = &[
        ("--prompts empty.txt", 2, &["empty.txt holds no prompt"]),
        ("--prompts plain.txt", 2, &["prompt 2: `photo of a moongate.` lacks {}"]),
        ("--prompts nowhere.txt", 2, &["nowhere.txt"]),
        ("--config wrong.toml", 2, &["wrong.toml", "unknown field `seed`"]),
        ("--config twice.toml", 2, &["`unrelated`: there is no prompt"]),
        ("--pairs pairs.json", 1, &["pairs.json: pair 0"]),
        ("--concept bird", 2, &["--concept bird", "no such concept"]),
        ("--bank nowhere", 1, &["nowhere/bank.json"]),
        ("--bank a<b=bank", 2, &["`a<b` is no name"]),
        ("--images theirs=nowhere", 2, &["nowhere is no folder"]),
        ("--size 50x64", 2, &["--size 50x64", "multiples of 16"]),
        ("--steps 5000", 1, &["5000"]),
        ("--profile dreambooth", 2, &["paper", "cc101", "mixofshow"]),
        ("--seeds 1,1", 2, &["a seed is given twice"]),
    ];
    for (options, code, texts) in cases {
        run(&project, options).fails(*code, texts);
        assert!(!project.path("run").exists(), "{options}");
    }
    project.write("data.toml", DATA.replace("\"mug\"\n    class", "\"bird\"\n    class"));
    run(&project, "").fails(2, &["bank holds no concept `bird`", "--concept"]);
}

/// 101 concepts × 20 prompts × 5 seeds: the forecast needs no bank, and of weights and images their headers only.
#[test]
fn a_plan_forecasts_before_anything_is_loaded() {
    let project = Project::new(&[]).with_own_model();
    let photo = {
        crate::images::write_photos(&project.path("one"), "mug");
        fs::read(project.path("one/0.png")).unwrap()
    };
    for number in 0..101 {
        project.write(&format!("photos/thing{number} x{number}/0.png"), &photo);
    }
    let mut command = project.command(&["evaluate", "photos", "--model", "model", "--out", "run"]);
    command.args(["--plan", "--json"]);
    let plan = Run::of(command).succeeds().json();
    let number = |key: &str| plan[key].as_f64().unwrap_or_else(|| panic!("no `{key}` in {plan:#}"));
    assert_eq!((number("concepts"), number("prompts"), number("seeds")), (101.0, 2020.0, 5.0));
    // Classes by the base model and with all concepts, each concept with all, all but the last just learnt.
    let per_concept = 20.0 * 5.0;
    assert_eq!(number("images"), per_concept * (3.0 * 101.0 + 100.0) + 2.0 * 50.0);
    assert_eq!(number("models"), 1.0 + 101.0);
    assert!(number("seconds") > 1.0 && number("disk") > 40_000.0 * 4096.0, "{plan:#}");
    let memory = &plan["memory"];
    let part = |name: &str| memory["parts"][name].as_u64().unwrap();
    // 0.6 million parameters, and 101 references of 32 x 32 pixels.
    assert!((2_000_000..3_000_000).contains(&part("weights")), "{memory}");
    assert_eq!(part("references"), 101 * 3 * 32 * 32);
    let all = part("weights") + part("sampling") + part("references");
    assert_eq!(memory["total"].as_u64(), Some(all));
    assert!(!project.path("run").exists());
}

/// Images that cannot fit into the machine are refused before the model is loaded.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_fit_is_refused() {
    let project = project();
    let texts = ["the model and its images need about", "are available", "--batch", "--force"];
    run(&project, "--bank bank --batch 4096 --size 2048x2048").fails(1, &texts);
    assert!(!project.path("run").exists(), "another --batch may be tried");
}
