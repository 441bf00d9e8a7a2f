//! What is measured, by itself and in parts.

use std::fs;

use serde_json::{Value, json};

use super::{list, mean, project, run, text};
use crate::files::Files;
use crate::harness::{Project, THREE, fixture};
use crate::run::Run;

/// Everything that is asked for is measured, written, and consistent.
#[test]
fn an_evaluation_measures_and_reports() {
    let project = project();
    let options = "--pairs neighbours --shift --json";
    let summary = run(&project, options).succeeds().json();
    assert_eq!(
        summary,
        serde_json::from_str::<Value>(&text(&project, "run/summary.json")).unwrap()
    );
    let of = |method, measure: &str| {
        mean(&summary, "small-images", method, measure).unwrap_or_else(|| panic!("no {measure}"))
    };
    for measure in [
        "learnt",
        "end",
        "forgetting",
        "gain",
        "class_pull",
        "confused",
        "margin",
        "drift",
        "pair",
        "pair_boxes",
        "pair_cropped",
        "shift_jpeg",
        "shift_hue",
    ] {
        assert!(of(Some("bank"), measure).is_finite(), "{measure}");
    }
    assert!(of(None, "ceiling") > of(None, "floor"), "{summary:#}");
    assert!(of(Some("bank"), "drift") > 0.0);
    // The bank learnt cat, dog and mug in this order, so mug has nothing after it.
    let concept = |id: &str| {
        let mut rows = list(&summary, "concepts").iter();
        rows.find(|row| row["concept"] == id).unwrap()["forgetting"].as_f64().unwrap()
    };
    assert_eq!(concept("mug"), 0.0);
    let forgetting = (concept("cat") + concept("dog")) / 2.0;
    assert!((of(Some("bank"), "forgetting") - forgetting).abs() < 1e-12);
    let order: Vec<String> = text(&project, "run/forgetting.csv")
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(3).unwrap().to_string())
        .collect();
    assert_eq!(order, THREE);
    let [confusion] = list(&summary, "confusions") else { panic!("one class has two concepts") };
    assert_eq!((&confusion["class_word"], list(confusion, "shares").len()), (&"pet".into(), 2));

    // 4 images of 3 floors, of which two are of one class; 4 of each concept just learnt and at the end, the
    // last of which are the same; classes; two pairs with two prompts or more; drift.
    let images = summary["run"]["images"]["planned"].as_u64().unwrap() as usize;
    let files = Files::read(&project.path("run/images"));
    assert_eq!(files.names().count(), images);
    assert_eq!(images, 8 + 2 + (12 + 8) + 8 + 2 * 2 * (4 * 2) + 2);
    let page = text(&project, "run/report.html");
    for name in page.split("src=\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(project.path("run").join(name).exists(), "{name}");
    }
    assert!(page.contains("&lt;cat&gt;, pet") && !page.contains("<script"));
    for name in ["table.md", "table.tex", "per_concept.csv", "per_image.csv", "pairs.csv"] {
        assert!(text(&project, &format!("run/{name}")).contains("bank"), "{name}");
    }
    assert!(text(&project, "run/plots/scores-small-images.svg").starts_with("<svg xmlns"));
    let deviations = summary["run"]["deviations"].to_string();
    assert!(deviations.contains("steps: 2; paper has 50"), "{deviations}");

    // The same command again does nothing, and another one is refused.
    let before = Files::read(&project.path("run"));
    let again = run(&project, options).succeeds();
    assert!(again.stderr.contains("every image is there"), "{}", again.stderr);
    Files::read(&project.path("run")).assert_same(&before);
    let other = format!("{options} --steps 3");
    run(&project, &other)
        .fails(2, &["holds another evaluation", "`protocol.sampling.steps` was 2"]);
    run(&project, "--out bank").fails(2, &["bank is not empty and holds no evaluation", "--out"]);
}

/// Two methods: the same concepts learnt in the same order, and what was fused of them.
#[test]
fn a_fused_model_is_a_method_without_history() {
    let project = project();
    let mut fuse = project.command(&["fuse", "--bank", "bank", "--method", "mean", "--model"]);
    fuse.arg(fixture("tiny-sd1")).args(["--out", "fused.safetensors"]);
    Run::of(fuse).succeeds();
    let options = "--bank sum=bank --bank mean=bank --fused mean=fused.safetensors --json";
    let summary = run(&project, options).succeeds().json();
    let of = |method, measure| mean(&summary, "small-images", Some(method), measure);
    assert!(of("sum", "forgetting").is_some() && of("mean", "forgetting").is_none());
    assert!(of("mean", "end").is_some() && of("mean", "end") != of("sum", "end"));
    let [comparison] = list(&summary, "comparisons") else { panic!("{summary:#}") };
    assert_eq!(
        (&comparison["measure"], comparison["methods"][1].as_str()),
        (&"end".into(), Some("mean"))
    );
    assert_eq!(comparison["paired"]["difference"]["count"], 3);
    run(&project, "--bank bank --bank x=bank --fused y=fused.safetensors").fails(2, &["--bank y"]);
    run(&project, "--bank bank --bank bank").fails(2, &["two methods are called `bank`"]);
}

/// Two parts in folders of their own, merged: every byte is that of one run.
#[test]
fn two_shards_merged_are_one_run() {
    let project = project();
    let options = "--pairs neighbours";
    run(&project, options).succeeds();
    for part in [1, 2] {
        let options = format!("{options} --shard {part}/2 --out part{part} --json");
        let result = run(&project, &options).succeeds().json();
        assert_eq!(result["shard"][0], part);
        assert!(!project.path(&format!("part{part}/report.html")).exists());
    }
    let images = |folder: &str| Files::read(&project.path(folder).join("images")).names().count();
    assert!(images("part1") > 0 && images("part2") > 0);
    let merged = run(&project, &format!("{options} --out whole --merge part1 --merge part2"));
    let merged = merged.succeeds();
    assert!(merged.stderr.contains("every image is there"), "{}", merged.stderr);
    let whole = Files::read(&project.path("whole"));
    whole.assert_same(&Files::read(&project.path("run")));

    // An image that differs is no image of this run, and nothing is taken over.
    let name =
        whole.names().find(|name| name.ends_with(".png") && name.starts_with("images")).unwrap();
    let file = project.path("part1").join(&name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, b"other").unwrap();
    let again = format!("{options} --out whole --merge part1");
    run(&project, &again).fails(1, &["1 files differ", &name]);
    project.write("part1/images/aa/notes.txt", "x");
    run(&project, &again).fails(1, &["notes.txt", "no evaluation writes a file of this name"]);
    run(&project, "--shard 3/2").fails(2, &["`3/2` is no part"]);
}

/// Images of another program, in CustomConcept101's layout and as a folder of images.
#[test]
fn images_from_elsewhere_are_scored() {
    let project = project();
    for (number, thing) in THREE.iter().enumerate() {
        crate::images::write_photos(&project.path("theirs").join(thing).join("samples"), thing);
        let prompts = format!(r#"{{"0": "a photo of a <new{number}> {thing}", "1": "a {thing}"}}"#);
        project.write(&format!("theirs/{thing}/prompts.json"), prompts);
    }
    let summary = run(&project, "--images theirs=theirs --bank bank --json").succeeds().json();
    let end = |method| mean(&summary, "small-images", Some(method), "end").unwrap();
    // They are the references themselves.
    assert!(end("theirs") > end("bank"), "{summary:#}");
    assert_eq!(mean(&summary, "small-images", Some("theirs"), "forgetting"), None);
    assert!(text(&project, "run/report.html").contains("theirs, all concepts"));
    // Without banks no base model is needed, and there is no floor.
    let options =
        "evaluate data.toml --config evaluate.toml --images theirs=theirs --out alone --json";
    let alone = project.run(&options.split(' ').collect::<Vec<_>>()).succeeds().json();
    assert_eq!(mean(&alone, "small-images", Some("theirs"), "end"), Some(end("theirs")));
    assert_eq!(mean(&alone, "small-images", None, "floor"), None);
    let without = ["evaluate", "data.toml", "--bank", "bank", "--out", "other"];
    project.run(&without).fails(2, &["need the base model: --model"]);
    fs::remove_dir_all(project.path("theirs/dog")).unwrap();
    run(&project, "--images theirs=theirs --out other").fails(1, &["theirs/dog"]);
}

/// With the built-in model there are real numbers without any download: its classifier knows individuals.
#[test]
fn the_built_in_model_is_evaluated_by_its_classifier() {
    let project = Project::new(&[]);
    let run = |line: &str| {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        project.run(&arguments).succeeds()
    };
    run("demo --out demo --method lora --concepts 2 --steps 2 --images 1");
    project.write(
        "few.toml",
        "[protocol]\nprompts = [\"a photo of a {}\"]\nunrelated = [\"grass\"]\nsteps = 4\nseeds = [0]\n",
    );
    let run = run(
        "evaluate demo/photos --model builtin --bank demo/lora --out run --config few.toml --json",
    );
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
    let summary = run.json();
    let metrics: Vec<&Value> =
        list(&summary, "metrics").iter().map(|metric| &metric["name"]).collect();
    assert_eq!(metrics, ["identity", "recognition"]);
    assert!(mean(&summary, "identity", None, "ceiling") > Some(0.8), "{summary:#}");
    assert_eq!(mean(&summary, "recognition", None, "ceiling"), Some(1.0));
    assert!(mean(&summary, "identity", Some("lora"), "end").is_some());
}

/// Of several snapshots of a concept the best by each metric is named; one bank is not chosen.
#[test]
fn the_best_snapshot_is_named() {
    let project = project();
    fs::remove_dir_all(project.path("bank")).unwrap();
    project.learn("photos/cat", "--steps 2 --preview-every 2 --keep kept").succeeds();
    let banks = "--bank begin=kept/cat/000000 --bank two=kept/cat/000002";
    let options = format!("--concept cat {banks} --json");
    let summary = run(&project, &options).succeeds().json();
    let [best] = list(&summary, "best") else { panic!("one metric: {summary:#}") };
    let mean = |method| mean(&summary, "small-images", Some(method), "end").expect("a number");
    let later = (mean("two") > mean("begin")) == (summary["metrics"][0]["better"] == "higher");
    let order = if later { ["two", "begin"] } else { ["begin", "two"] };
    assert_eq!((&best["metric"], &best["methods"]), (&"small-images".into(), &json!(order)));
    assert_eq!(best["means"], json!(order.map(mean)));
    assert!(best["overlap"].is_boolean(), "{best:#}");
    let said = run(&project, &format!("--concept cat {banks}")).succeeds().stdout;
    let line = format!("best    {} by small-images, before {}", order[0], order[1]);
    assert!(said.contains(&line), "{said}");
    let one = run(&project, "--concept cat --out one --json").succeeds().json();
    assert!(list(&one, "best").is_empty());
}
