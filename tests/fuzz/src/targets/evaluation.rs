//! Evaluations: settings, the folder of a run, lists of pairs, and tables of scores from elsewhere.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use seqlora_data::read_pairs;
use seqlora_eval::protocol::{
    EvaluationConfig, GivenConcept, MethodPlan, Protocol, ScoreSet, images, score_sets,
};
use seqlora_eval::store::{ImageState, RunFolder, RunRecord};
use seqlora_eval::{Context, Direction, Metric, MetricError, Needs};
use seqlora_scorers::image_id;
use seqlora_scorers::imported::ImportedScores;

use crate::target::{Target, files_of, holds};

/// The table `[protocol]` of a settings file.
pub const EVALUATION_SETTINGS: Target = Target {
    name: "evaluation_settings",
    files: || vec![("protocol.toml".into(), SETTINGS.into())],
    read: |folder| {
        let text = fs::read(folder.join("protocol.toml")).expect("it was written");
        let text = String::from_utf8_lossy(&text);
        let Ok(config) = toml::from_str::<EvaluationConfig>(&text) else { return false };
        let Ok(protocol) = Protocol::new(&config, given()) else { return false };
        let groups = images(&protocol, &methods(), Some("base"), [8, 8]);
        let sets = score_sets(&protocol, &methods(), &groups, [8, 8]);
        holds(sets.len() >= 2, "every concept is scored");
        true
    },
};

/// `evaluation.json`, an image, a reason and scores: as they are read, and as another folder takes them over.
pub const EVALUATION: Target = Target {
    name: "evaluation",
    files: || {
        let place = tempfile::tempdir().expect("a temporary folder");
        let path = place.path().join("run");
        let (record, keys) = (record(), keys());
        let run = RunFolder::open(&path, &record).expect("an empty folder");
        let mut png = Cursor::new(Vec::new());
        RgbImage::new(8, 8).write_to(&mut png, ImageFormat::Png).expect("a small image");
        run.add_image(&keys[0], png.get_ref()).expect("room");
        run.add_failure(&keys[1], "not finite").expect("room");
        for set in sets(&record) {
            let count = set.sections.iter().map(|section| section.images.len()).sum();
            let scores: Vec<_> = (0..count)
                .map(|number| if number == 1 { Err("refused".into()) } else { Ok(0.5) })
                .collect();
            run.add_scores(&Stub, &set, &record.protocol, &scores).expect("room");
        }
        files_of(&path, "evaluation.json")
    },
    read: read_run,
};

/// CustomConcept101's `dataset_multiconcept.json`.
pub const PAIRS: Target = Target {
    name: "pairs",
    files: || vec![("pairs.json".into(), PAIR_LIST.into()), ("both.txt".into(), BOTH.into())],
    read: |folder| {
        let Ok(pairs) = read_pairs(&folder.join("pairs.json")) else { return false };
        holds(!pairs.is_empty(), "an empty list is refused");
        true
    },
};

/// A CSV file with scores.
pub const SCORE_TABLE: Target = Target {
    name: "score_table",
    files: || {
        let id = image_id(&RgbImage::new(3, 2));
        vec![("scores.csv".into(), format!("image,value\n{id},0.5\n\"{id}\", 0.5\n").into_bytes())]
    },
    read: |folder| {
        let table = folder.join("scores.csv");
        let Ok(scores) = ImportedScores::read("it", Direction::Higher, &table, "value") else {
            return false;
        };
        if let Ok(scores) = scores.score(&[RgbImage::new(3, 2)], &Context::default()) {
            holds(scores.iter().all(|score| score.is_finite()), "scores are finite");
        }
        true
    },
};

const SETTINGS: &str = r#"profile = "cc101"
seeds = [1, 2]
sampler = "euler-a"
steps = 9
guidance = 2.5
prompts = ["a photo of a {}"]
unrelated = ["a bowl"]
stages = [1]
shifts = ["jpeg"]
[[concept]]
id = "cat"
prompts = ["a {} asleep"]
[[pair]]
concepts = ["cat", "dog"]
prompts = ["a {0} beside a {1}"]
"#;

const PAIR_LIST: &str = r#"[[{"instance_data_dir": "benchmark/cat", "class_prompt": "cat"},
  {"instance_data_dir": "./benchmark/dog", "class_prompt": "dog"},
  {"prompt_filename_compose": "both.txt"}]]
"#;

const BOTH: &str = "{0} beside {1}\nphoto of {0} and {1}\n";

fn given() -> Vec<GivenConcept> {
    let concept = |(id, reference): (&str, &str)| GivenConcept {
        id: id.into(),
        class_word: id.into(),
        prompts: None,
        references: vec![reference.repeat(64)],
    };
    [("cat", "c"), ("dog", "d")].map(concept).into()
}

/// A method that has learnt both concepts.
fn methods() -> Vec<MethodPlan> {
    let models = vec![None, Some("1".into()), Some("2".into())];
    vec![MethodPlan { name: "it".into(), places: vec![0, 1], models }]
}

fn record() -> RunRecord {
    let config = EvaluationConfig { seeds: Some(vec![0]), ..EvaluationConfig::default() };
    RunRecord {
        version: RunRecord::VERSION,
        base: ["base".into(), "base".into()],
        size: [8, 8],
        precision: Default::default(),
        batch: 1,
        methods: methods(),
        protocol: Protocol::new(&config, given()).expect("good settings"),
    }
}

/// The keys of all images.
fn keys() -> Vec<String> {
    let RunRecord { protocol, methods, size, .. } = record();
    let groups = images(&protocol, &methods, Some("base"), size);
    groups.into_iter().flat_map(|group| group.images).map(|image| image.key).collect()
}

/// The first sets of scores.
fn sets(record: &RunRecord) -> Vec<ScoreSet> {
    let RunRecord { protocol, methods, size, .. } = record;
    let groups = images(protocol, methods, Some("base"), *size);
    score_sets(protocol, methods, &groups, *size).into_iter().take(2).collect()
}

fn read_run(folder: &Path) -> bool {
    let record = record();
    let Ok(run) = RunFolder::existing(folder, &record) else { return false };
    let mut good = true;
    for key in &keys()[..2] {
        let there = run.state(key).is_ok_and(|state| state != ImageState::Missing);
        good &= there && run.image(key).is_ok();
    }
    for set in sets(&record) {
        match run.scores(&Stub, &set, &record.protocol) {
            Ok(Some(scores)) => {
                let finite = scores.iter().flatten().all(|score| score.is_finite());
                holds(finite, "scores are finite");
            }
            _ => good = false,
        }
    }
    let place = tempfile::tempdir().expect("a temporary folder");
    let other = RunFolder::open(&place.path().join("other"), &record).expect("an empty folder");
    good & other.merge(folder, &record).is_ok()
}

/// A metric whose scores nobody computes.
#[derive(Debug)]
struct Stub;

impl Metric for Stub {
    fn name(&self) -> &str {
        "stub"
    }

    fn unit(&self) -> &str {
        "share"
    }

    fn better(&self) -> Direction {
        Direction::Higher
    }

    fn description(&self) -> String {
        "nothing".into()
    }

    fn preprocessing(&self) -> String {
        "none".into()
    }

    fn needs(&self) -> Needs {
        Needs { prompts: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], _: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        Ok(vec![0.5; images.len()])
    }
}
