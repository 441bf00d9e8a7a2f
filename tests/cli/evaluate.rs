//! `seqlora evaluate`: what it writes, how parts of it are put together, and what it refuses.

use std::fs;
#[cfg(unix)]
use std::path::PathBuf;
use std::process::Command;
#[cfg(unix)]
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Learnt, Project, THREE, fixture};
use crate::run::Run;
#[cfg(unix)]
use crate::run::Running;

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

/// All files below `run/images`.
#[cfg(unix)]
fn images(project: &Project) -> Vec<PathBuf> {
    let entries = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten();
    let folders = entries(project.path("run/images")).map(|entry| entry.path());
    folders.flat_map(entries).map(|entry| entry.path()).collect()
}

/// SIGKILL in the middle of generating, and the same command again.
#[cfg(unix)]
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
#[cfg(unix)]
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
#[cfg(unix)]
const HELLO: &str = r#"echo '{"protocol":"evalscore/1","name":"mock","version":"1","columns":["x"],"primary":"x","higher_is_better":true,"needs":["prompt"]}'"#;

/// Ctrl-C while a scorer works leaves no images in the system's temporary folder.
#[cfg(unix)]
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
#[cfg(unix)]
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
