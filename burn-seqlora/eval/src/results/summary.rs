//! `summary.json`: the numbers of an evaluation.

use serde::{Deserialize, Serialize};

use crate::MetricInfo;
use crate::statistics::{Distribution, PairedDifference};

/// The numbers of an evaluation. Nothing in it depends on where or when it ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationSummary {
    /// The layout of this file.
    pub version: u32,
    /// What was evaluated, and how.
    pub run: RunInfo,
    /// What was measured.
    pub metrics: Vec<MetricInfo>,
    /// Metrics without weights: they have no numbers.
    pub skipped: Vec<MissingMetric>,
    /// Metrics that broke off: what they had scored before is here, the rest is missing.
    pub failed: Vec<MissingMetric>,
    /// Means over concepts, pairs or prompts.
    pub rows: Vec<MeasureRow>,
    /// Methods against each other, on the same concepts.
    pub comparisons: Vec<Comparison>,
    /// The best method by each metric, if there are several; older versions do not say.
    #[serde(default)]
    pub best: Vec<Best>,
    /// Concept by concept.
    pub concepts: Vec<ConceptRow>,
    /// Pair by pair.
    pub pairs: Vec<PairRow>,
    /// Which concept of its class an image is closest to.
    pub confusions: Vec<Confusion>,
}

/// What was evaluated, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// The program that wrote it, with its version.
    pub made_by: String,
    /// The base model: name and fingerprint.
    pub base: String,
    /// The published protocol that the run starts from.
    pub profile: String,
    /// How images were sampled.
    pub sampling: String,
    /// In what the run is not that protocol.
    pub deviations: Vec<String>,
    /// Images per prompt.
    pub seeds: usize,
    /// The images.
    pub images: ImageCounts,
    /// The concepts.
    pub concepts: Vec<ConceptInfo>,
    /// The methods.
    pub methods: Vec<MethodInfo>,
}

/// How many images there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageCounts {
    /// All that the protocol asks for.
    pub planned: usize,
    /// Those that could not be made.
    pub failed: usize,
}

/// A concept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptInfo {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// What kind of thing it is.
    pub class_word: String,
    /// Its reference images.
    pub references: usize,
    /// Its prompts.
    pub prompts: usize,
}

/// A method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MethodInfo {
    /// Its name.
    pub name: String,
    /// The concepts of its model.
    pub concepts: usize,
    /// Whether its images come from elsewhere.
    pub foreign: bool,
}

/// A metric that has no numbers, or not all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MissingMetric {
    /// Its name.
    pub metric: String,
    /// Why.
    pub reason: String,
}

/// One measure by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeasureRow {
    /// The metric.
    pub metric: String,
    /// The method; `None` for the base model and for references.
    pub method: Option<String>,
    /// What is measured, such as `end`.
    pub measure: String,
    /// The values that are summarised: of concepts, pairs or prompts.
    pub over: String,
    /// Their summary; `None` if there are none.
    pub statistics: Option<Distribution>,
    /// Standard deviation over seeds of the mean over all prompts and concepts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_std: Option<f64>,
    /// Images without a score. If there are any, the row is incomplete.
    pub missing: usize,
}

/// Two methods on the same concepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The metric.
    pub metric: String,
    /// What is compared: `end` or `forgetting`.
    pub measure: String,
    /// The two methods.
    pub methods: [String; 2],
    /// First minus second.
    pub paired: PairedDifference,
    /// p, adjusted by Holm over the metrics of this measure and these methods.
    pub p_holm: f64,
}

/// The best method by one metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// The metric.
    pub metric: String,
    /// What is compared: `end`.
    pub measure: String,
    /// The method with the best mean, and the one with the second best.
    pub methods: [String; 2],
    /// Their means.
    pub means: [f64; 2],
    /// Whether the intervals of the two overlap: over concepts, or for one concept two standard errors over seeds to
    /// each side. `None` for one concept with one seed.
    pub overlap: Option<bool>,
}

/// The means of one concept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConceptRow {
    /// The metric.
    pub metric: String,
    /// The method.
    pub method: String,
    /// The concept.
    pub concept: String,
    /// The base model's images of the class.
    pub floor: Option<f64>,
    /// Right after the concept was learnt.
    pub learnt: Option<f64>,
    /// With all concepts.
    pub end: Option<f64>,
    /// How much worse `end` is than `learnt`.
    pub forgetting: Option<f64>,
    /// The references, each against the others.
    pub ceiling: Option<f64>,
    /// Images of the class with all concepts.
    pub class: Option<f64>,
    /// The share of images that are closer to another concept of the class.
    pub confused: Option<f64>,
    /// Scored images with all concepts.
    pub images: usize,
    /// Images of any kind of this concept without a score.
    pub missing: usize,
}

/// The means of one pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairRow {
    /// The metric.
    pub metric: String,
    /// The method.
    pub method: String,
    /// The concepts.
    pub concepts: [String; 2],
    /// `prompt`, `boxes` or `cropped`: whole images without and with boxes, and the box of each concept.
    pub view: String,
    /// The score of each concept; one value for metrics that compare with the prompt.
    pub scores: Vec<Option<f64>>,
}

/// How often images of a class are closest to which of its concepts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confusion {
    /// The metric.
    pub metric: String,
    /// The method.
    pub method: String,
    /// The class.
    pub class_word: String,
    /// Its concepts.
    pub concepts: Vec<String>,
    /// `shares[i][j]`: the share of images of concept i that are closest to the references of concept j.
    pub shares: Vec<Vec<f64>>,
}

impl EvaluationSummary {
    /// The layout that this version writes.
    pub const VERSION: u32 = 1;

    /// A row, if there is one.
    pub fn row(&self, metric: &str, method: Option<&str>, measure: &str) -> Option<&MeasureRow> {
        self.rows.iter().find(|row| {
            row.metric == metric && row.method.as_deref() == method && row.measure == measure
        })
    }

    /// Whether anything that was asked for has no number, weights that are missing aside.
    pub fn is_incomplete(&self) -> bool {
        !self.failed.is_empty() || self.rows.iter().any(|row| row.missing > 0)
    }
}
