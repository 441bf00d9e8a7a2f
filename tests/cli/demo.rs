//! `seqlora demo` on a random model: what it writes, and how it goes on.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::builtin::with_builtin;
use crate::harness::{Project, fixture};
use crate::run::Run;
#[cfg(unix)]
use crate::run::Running;

/// The demo with a model that knows nothing.
fn demo(project: &Project, options: &str) -> Command {
    let mut command = project.command(&["demo", "--out", "demo", "--untrained"]);
    command.args(options.split_whitespace());
    command
}

fn text(project: &Project, name: &str) -> String {
    fs::read_to_string(project.path("demo").join(name)).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value:#}")).iter()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no `{key}` in {value:#}"))
}

/// The id of the concept that is learnt first.
fn first(summary: &Value) -> String {
    summary["concepts"][0]["id"].as_str().expect("a name").into()
}

/// Three concepts with both methods: the numbers, the page, the banks. The same command again only
/// reports again, and other settings are refused.
#[test]
fn a_demo_reports_what_was_learnt_and_kept() {
    let project = Project::new(&[]);
    let options = "--concepts 3 --steps 2 --seed 5 --method seqlora,lora --json";
    let summary = Run::of(demo(&project, options)).succeeds().json();
    assert_eq!(summary, serde_json::from_str::<Value>(&text(&project, "summary.json")).unwrap());

    let metrics: Vec<&Value> = list(&summary["metrics"]).map(|metric| &metric["name"]).collect();
    assert_eq!(metrics, ["identity", "recognition"]);
    let titles: Vec<&Value> = list(&summary["methods"]).map(|method| &method["title"]).collect();
    assert_eq!(titles, ["SeqLoRA", "Plain LoRA"], "the order of --method");
    let [seqlora, lora] = [0, 1].map(|method| &summary["methods"][method]);
    assert!(number(seqlora, "max_overlap") < 1e-5, "{seqlora:#}");
    assert!(number(lora, "max_overlap") > 1e-2, "{lora:#}");
    for method in [seqlora, lora] {
        assert!(number(method, "seconds") > 0.0);
        let concepts = method["concepts"].as_array().expect("a list");
        let lost = |c: &Value| {
            let scores = &c["scores"]["identity"];
            number(scores, "learnt") - number(scores, "end")
        };
        let scores = &method["scores"]["identity"];
        let mean = concepts[..2].iter().map(lost).sum::<f64>() / 2.0;
        assert!((number(&scores["forgetting"], "mean") - mean).abs() < 1e-9, "{method:#}");
        assert_eq!(lost(&concepts[2]), 0.0, "the last one has nothing after it");
        assert_eq!(scores["end"]["count"], 3);
        let loss = |c: &Value| number(c, "final_loss") < number(c, "initial_loss");
        assert!(concepts.iter().all(loss), "{method:#}");
    }

    let page = text(&project, "report.html");
    // At the top a reference and two images by both methods; per concept four references, and four images by
    // the base model, told the class and told every part, and by each method at two stages; two pairs in
    // two layouts.
    let expected = 3 * (1 + 2 * 2) + 3 * (4 + 4 + 4 + 2 * 2 * 4) + 2 * 2 * 2 * 4;
    assert_eq!(page.matches("data:image/png;base64,").count(), expected);
    let first = first(&summary);
    assert!(page.contains(&format!("&lt;{first}&gt;")) && page.contains("Plain LoRA"));
    assert!(page.contains("recognition (share)"));
    let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text}"));
    assert!(at(">SeqLoRA<") < at(">Plain LoRA<"));
    assert!(!page.contains("http:") && !page.contains("https:"), "it needs the network");
    for (method, bank) in [("seqlora", "demo/seqlora"), ("lora", "demo/lora")] {
        let bank = project.run(&["inspect", bank, "--json"]).succeeds().json();
        assert_eq!(
            (&bank["method"], &bank["concepts"][0]["id"]),
            (&method.into(), &first.as_str().into())
        );
        assert_eq!(bank["concepts"].as_array().map(Vec::len), Some(3));
        for line in bank["capacity"].as_array().expect("a list") {
            let site = line["site"].as_str().expect("a name");
            let reads_prompt = [".attn2.to_k", ".attn2.to_v"].iter().any(|end| site.ends_with(end));
            let shared = if method == "seqlora" && reads_prompt { 16.0 } else { 0.0 };
            let left = number(line, "inputs") - number(line, "used") - shared;
            assert_eq!(number(line, "left"), left, "{site}");
        }
    }

    let again = Run::of(demo(&project, options)).succeeds().json();
    assert_eq!((again, text(&project, "report.html")), (summary, page));
    let texts =
        ["demo holds a demo with other settings (`train.steps` was 2, now it is 3)", "--out"];
    Run::of(demo(&project, "--concepts 3 --steps 3 --seed 5 --method seqlora,lora"))
        .fails(2, &texts);
    Run::of(demo(&project, "--concepts 1")).fails(2, &["--concepts", "2..=101"]);
}

/// One method with other settings: they are stored with the concepts, and unknown ones are refused.
#[test]
fn a_demo_takes_methods_and_settings() {
    let project = Project::new(&[]);
    let file = |text: &str| fs::write(project.path("settings.toml"), text).unwrap();
    let options =
        "--concepts 2 --images 5 --steps 2 --method alternating --config settings.toml --json";
    file("inner = 1\nstep = 5\n");
    Run::of(demo(&project, options)).fails(2, &["settings.toml", "step"]);
    assert!(!project.path("demo").exists());
    file("inner = 1\nsteps = 5\nbase = \"accumulated\"\n");
    let summary = Run::of(demo(&project, options)).succeeds().json();
    let methods: Vec<&Value> = list(&summary["methods"]).map(|method| &method["name"]).collect();
    assert_eq!(methods, ["alternating"]);
    assert_eq!(summary["steps"], 2, "the option wins");
    assert_eq!(summary["images"], 5);
    let first = first(&summary);
    let image = format!("demo/images/alternating/{first}/end/4.png");
    assert!(project.path(&image).exists());
    let record = text(&project, &format!("alternating/concepts/{first}/training.json"));
    let settings = &serde_json::from_str::<Value>(&record).unwrap()["settings"];
    assert_eq!((&settings["inner"], &settings["base"]), (&1.into(), &"accumulated".into()));
    // What neither says is the demo's.
    assert_eq!(settings["outer"], 1);
    assert!(text(&project, "report.html").contains("--method alternating"));
    // The option's former name still works.
    let former = options.replace("--images", "--pictures");
    assert_eq!(Run::of(demo(&project, &former)).succeeds().json(), summary);
}

/// Ctrl-C in the middle of each concept, and the same command again: the same banks and images.
#[cfg(unix)]
#[test]
fn an_interrupted_demo_goes_on() {
    let options = "--concepts 2 --steps 3 --method lora";
    let whole = Project::new(&[]);
    let said = Run::of(demo(&whole, options)).succeeds();
    assert!(said.stdout.contains("report     demo/report.html"), "{}", said.stdout);

    let broken = Project::new(&[]);
    let summary: Value = serde_json::from_str(&text(&whole, "summary.json")).unwrap();
    for concept in list(&summary["concepts"]) {
        let mut run = Running::start(demo(&broken, options));
        let id = concept["id"].as_str().expect("a name");
        run.wait_for(&broken.path(&format!("demo/lora/concepts/{id}/metrics.jsonl")));
        run.interrupt().fails(130, &["the state is saved", "the same command goes on"]);
        assert!(!broken.path("demo/report.html").exists());
    }
    Run::of(demo(&broken, options)).succeeds();
    for part in ["lora", "images", "photos"] {
        let read = |project: &Project| crate::files::Files::read(&project.path("demo").join(part));
        read(&broken).assert_same(&read(&whole));
    }
}

/// Without a classifier nothing can be measured, and the demo says so before it learns anything.
#[test]
fn a_missing_classifier_is_an_error() {
    let project = Project::new(&[]);
    let command = project.command(&["demo", "--out", "demo", "--concepts", "2", "--steps", "1"]);
    let run = Run::of(with_builtin(command, fixture("tiny-sd1")));
    run.fails(1, &["cannot access", "tiny-sd1/classifier/config.json"]);
    assert!(!project.path("demo/seqlora").exists());
}

/// With the model of the source tree, its classifier tells the individuals apart, and the page mentions
/// only the methods that ran.
#[test]
#[ignore = "`.ci/full` runs it"]
fn the_built_in_model_has_a_classifier() {
    let project = Project::new(&[]);
    let options = [
        "demo",
        "--out",
        "demo",
        "--method",
        "lora",
        "--concepts",
        "2",
        "--steps",
        "3",
        "--images",
        "1",
    ];
    let run = Run::of(project.command(&options)).succeeds();
    assert!(run.stdout.contains("--bank demo/lora"), "{}", run.stdout);
    let summary: Value = serde_json::from_str(&text(&project, "summary.json")).unwrap();
    for concept in summary["concepts"].as_array().unwrap() {
        assert!(number(&concept["scores"]["identity"], "references") > 0.8, "{concept:#}");
        assert_eq!(number(&concept["scores"]["recognition"], "references"), 1.0, "{concept:#}");
    }
    let page = text(&project, "report.html");
    assert!(page.contains("as plain LoRAs") && !page.contains("by SeqLoRA, which"), "{page}");
    // The recorded run is one of this model.
    assert!(page.contains("<h2>Forgetting over 8 concepts, from an earlier run</h2>"), "{page}");
}
