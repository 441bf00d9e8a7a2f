//! Scores of a set, as lines of JSON.

use std::path::{Path, PathBuf};

use seqlora_files::{FileError, read_bytes, sha256};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{RunFolder, Scored, StoreError};
use crate::protocol::{ImageSource, Protocol, ScoreSet, Section};
use crate::{Metric, MetricInfo, Needs};

/// Bytes of the scores of a set at most: a million images.
pub(super) const SCORES_LIMIT: u64 = 256 << 20;

/// A line: an image with its score, or the reason why it has none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    score: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
}

/// The folder of a metric's scores. Other weights, another version or another preprocessing is another
/// metric.
pub fn metric_folder(metric: &dyn Metric) -> String {
    let info = MetricInfo::from(metric);
    let safe = |c: char| if c.is_ascii_alphanumeric() || "._".contains(c) { c } else { '-' };
    let name: String = info.name.chars().take(60).map(safe).collect();
    let digest = sha256(json!(info).to_string().as_bytes());
    format!("{}-{}", name.trim_start_matches('.'), &digest[..8])
}

/// What identifies the scores of a set by a metric with these needs.
pub fn score_key(set: &ScoreSet, needs: Needs, protocol: &Protocol) -> String {
    let label = |source: &ImageSource| label(source, protocol);
    let labels = |sources: &[ImageSource]| sources.iter().map(label).collect::<Vec<_>>();
    let section = |Section { images, prompts, references, among }: &Section| {
        json!({
            "images": labels(images),
            "prompts": needs.prompts.then_some(prompts),
            "references": needs.references.then(|| labels(references)),
            "among": among.filter(|_| needs.others),
        })
    };
    let sections: Vec<_> = set.sections.iter().map(section).collect();
    let all = |c: &crate::protocol::ConceptProtocol| c.references.clone();
    let others = needs.others.then(|| protocol.concepts.iter().map(all).collect::<Vec<_>>());
    let text = needs.prompts.then_some(&protocol.prompt_text);
    sha256(json!({ "sections": sections, "others": others, "text": text }).to_string().as_bytes())
}

/// What identifies an image.
fn label(source: &ImageSource, protocol: &Protocol) -> String {
    match source {
        ImageSource::Generated(key) => key.clone(),
        ImageSource::Cropped(key, [x0, y0, x1, y1]) => format!("{key}@{x0},{y0},{x1},{y1}"),
        ImageSource::Reference { concept, number, shift } => {
            let digest = &protocol.concepts[*concept].references[*number];
            shift.map_or_else(|| digest.clone(), |shift| format!("{digest}@{shift}"))
        }
    }
}

impl RunFolder {
    /// The scores of a set by a metric, if they are there: one for each image, in order.
    ///
    /// # Errors
    /// If the file is damaged, or is about other images.
    pub fn scores(
        &self,
        metric: &dyn Metric,
        set: &ScoreSet,
        protocol: &Protocol,
    ) -> Result<Option<Vec<Scored>>, StoreError> {
        let file = self.guarded().check(inside(metric, set, protocol))?;
        if !file.exists() {
            return Ok(None);
        }
        let bytes = read_bytes(&file, SCORES_LIMIT)?;
        let damaged = |reason: String| StoreError::from(FileError::damaged(&file)(reason));
        let text = String::from_utf8(bytes).map_err(|e| damaged(e.to_string()))?;
        let mut labels = set.sections.iter().flat_map(|section| &section.images);
        let mut scores = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let wrong = |reason: &str| damaged(format!("line {}: {reason}", number + 1));
            let line: Line = serde_json::from_str(line).map_err(|e| wrong(&e.to_string()))?;
            let expected = labels.next().ok_or_else(|| wrong("more lines than images"))?;
            if line.image != label(expected, protocol) {
                return Err(wrong("it is about another image"));
            }
            scores.push(match line {
                Line { score: Some(score), missing: None, .. } if score.is_finite() => Ok(score),
                Line { score: None, missing: Some(reason), .. } => Err(reason),
                _ => return Err(wrong("expected a finite `score`, or the reason it is `missing`")),
            });
        }
        match labels.next() {
            None => Ok(Some(scores)),
            Some(_) => {
                Err(damaged("fewer lines than images; delete it to score them again".into()))
            }
        }
    }

    /// Adds the scores of a set, unless they are there.
    ///
    /// # Errors
    /// If they cannot be written.
    ///
    /// # Panics
    /// If they are not as many as the set's images.
    pub fn add_scores(
        &self,
        metric: &dyn Metric,
        set: &ScoreSet,
        protocol: &Protocol,
        scores: &[Scored],
    ) -> Result<(), StoreError> {
        let images: Vec<_> = set.sections.iter().flat_map(|section| &section.images).collect();
        assert_eq!(images.len(), scores.len(), "every image has a score or a reason");
        let line = |(image, scored): (&&ImageSource, &Scored)| {
            let (score, missing) = (scored.as_ref().ok().copied(), scored.as_ref().err().cloned());
            let line = Line { image: label(image, protocol), score, missing };
            serde_json::to_string(&line).expect("numbers and texts are JSON") + "\n"
        };
        let text: String = images.iter().zip(scores).map(line).collect();
        self.add(&inside(metric, set, protocol), text.as_bytes())
    }
}

fn inside(metric: &dyn Metric, set: &ScoreSet, protocol: &Protocol) -> PathBuf {
    let key = score_key(set, metric.needs(), protocol);
    Path::new("scores").join(metric_folder(metric)).join(format!("{key}.jsonl"))
}
