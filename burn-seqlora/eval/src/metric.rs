//! The contract between metrics and everything that reports them.

use std::fmt::Debug;

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// Scores images of one concept. A new metric is a type with this trait and an entry in the caller's
/// list of metrics; reports show it as they show the others.
pub trait Metric: Debug {
    /// Its name in tables and JSON, such as `identity`. Metrics of one run have different names.
    fn name(&self) -> &str;

    /// The unit of a score, such as `cosine` or `share`.
    fn unit(&self) -> &str;

    /// Which scores are better.
    fn better(&self) -> Direction;

    /// What a score is, with the network that it comes from: "the cosine between …".
    fn description(&self) -> String;

    /// What happens to an image before it is scored, exactly enough to repeat it elsewhere.
    fn preprocessing(&self) -> String;

    /// What [`score`](Self::score) reads besides the images.
    fn needs(&self) -> Needs;

    /// A score for each image. [`evaluate`] calls it after it has checked that `context` has what
    /// [`needs`](Self::needs) asks for.
    ///
    /// # Errors
    /// If an image cannot be scored.
    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError>;
}

/// Which of two scores is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The higher one.
    Higher,
    /// The lower one.
    Lower,
}

impl Direction {
    /// How much worse `after` is than `before`: positive if something was lost.
    pub fn worsening(self, before: f64, after: f64) -> f64 {
        match self {
            Self::Higher => before - after,
            Self::Lower => after - before,
        }
    }
}

/// What a metric reads besides the images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// The prompt of each image.
    pub prompts: bool,
    /// At least one reference image of the concept.
    pub references: bool,
    /// Reference images of at least one other concept, as distractors.
    pub others: bool,
}

/// What is known of the images of one concept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Context<'a> {
    /// The prompt of each image, in their order.
    pub prompts: &'a [String],
    /// The concept's reference images.
    pub references: &'a [RgbImage],
    /// The reference images of each other concept of the run.
    pub others: &'a [&'a [RgbImage]],
}

/// What a report says of a metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricInfo {
    /// Its name, by which scores are found.
    pub name: String,
    /// The unit of a score.
    pub unit: String,
    /// Which scores are better.
    pub better: Direction,
    /// What a score is.
    pub description: String,
    /// What happens to an image before it is scored.
    pub preprocessing: String,
}

impl From<&dyn Metric> for MetricInfo {
    fn from(metric: &dyn Metric) -> Self {
        Self {
            name: metric.name().into(),
            unit: metric.unit().into(),
            better: metric.better(),
            description: metric.description(),
            preprocessing: metric.preprocessing(),
        }
    }
}

/// Images that a metric cannot score.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricError {
    /// The context lacks something that the metric needs.
    #[error("the metric `{metric}` needs {what}, and there are none")]
    Missing {
        /// The metric.
        metric: String,
        /// What it needs.
        what: &'static str,
    },
    /// Images and prompts, or images and scores, are not as many.
    #[error("the metric `{metric}` has {images} images and {found} {what}")]
    Count {
        /// The metric.
        metric: String,
        /// The number of images.
        images: usize,
        /// What should be as many.
        what: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A score is infinite or not a number.
    #[error("the metric `{metric}` gives image {image} the score {score}")]
    NotFinite {
        /// The metric.
        metric: String,
        /// The position of the image.
        image: usize,
        /// Its score.
        score: f64,
    },
    /// What a metric of another crate fails with.
    #[error(transparent)]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// Scores images by a metric, one score per image, all finite.
///
/// # Errors
/// If there are no images, the context lacks what the metric needs, or the metric fails or breaks its
/// contract.
pub fn evaluate(
    metric: &dyn Metric,
    images: &[RgbImage],
    context: &Context<'_>,
) -> Result<Vec<f64>, MetricError> {
    let Needs { prompts, references, others } = metric.needs();
    let required = [
        (true, !images.is_empty(), "images"),
        (references, !context.references.is_empty(), "reference images"),
        (
            others,
            context.others.iter().any(|o| !o.is_empty()),
            "reference images of other concepts",
        ),
    ];
    if let Some((.., what)) = required.into_iter().find(|(needed, there, _)| *needed && !there) {
        return Err(MetricError::Missing { metric: metric.name().into(), what });
    }
    if prompts {
        check_count(metric, images, "prompts", context.prompts.len())?;
    }
    let scores = metric.score(images, context)?;
    check_count(metric, images, "scores", scores.len())?;
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(scores),
        Some(image) => {
            let (metric, score) = (metric.name().into(), scores[image]);
            Err(MetricError::NotFinite { metric, image, score })
        }
    }
}

fn check_count(
    metric: &dyn Metric,
    images: &[RgbImage],
    what: &'static str,
    found: usize,
) -> Result<(), MetricError> {
    let images = images.len();
    if found == images {
        return Ok(());
    }
    Err(MetricError::Count { metric: metric.name().into(), images, what, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the same scores whatever it is given.
    #[derive(Debug)]
    struct Fixed {
        needs: Needs,
        scores: Vec<f64>,
    }

    impl Metric for Fixed {
        fn name(&self) -> &str {
            "fixed"
        }

        fn unit(&self) -> &str {
            "points"
        }

        fn better(&self) -> Direction {
            Direction::Lower
        }

        fn description(&self) -> String {
            "always the same scores".into()
        }

        fn preprocessing(&self) -> String {
            "none".into()
        }

        fn needs(&self) -> Needs {
            self.needs
        }

        fn score(&self, _: &[RgbImage], _: &Context<'_>) -> Result<Vec<f64>, MetricError> {
            Ok(self.scores.clone())
        }
    }

    fn message(needs: Needs, scores: &[f64], images: usize, context: &Context<'_>) -> String {
        let images = vec![RgbImage::new(1, 1); images];
        let metric = Fixed { needs, scores: scores.to_vec() };
        match evaluate(&metric, &images, context) {
            Ok(scores) => format!("{scores:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_a_metric_needs_is_checked_before_it_runs() {
        let (none, image) = (Context::default(), [RgbImage::new(1, 1)]);
        assert_eq!(message(Needs::default(), &[1.0, 2.0], 2, &none), "[1.0, 2.0]");
        assert!(message(Needs::default(), &[], 0, &none).contains("needs images"));
        let references = Needs { references: true, ..Needs::default() };
        assert!(message(references, &[1.0], 1, &none).contains("needs reference images,"));
        let others = Needs { others: true, ..Needs::default() };
        let own = Context { references: &image, ..none };
        assert!(message(others, &[1.0], 1, &own).contains("of other concepts"));
        assert_eq!(message(references, &[1.0], 1, &own), "[1.0]");
        let prompts = Needs { prompts: true, ..Needs::default() };
        assert!(message(prompts, &[1.0], 1, &none).contains("1 images and 0 prompts"));
    }

    #[test]
    fn scores_are_as_many_as_images_and_finite() {
        let (needs, none) = (Needs::default(), Context::default());
        assert!(message(needs, &[1.0], 2, &none).contains("2 images and 1 scores"));
        assert!(message(needs, &[1.0, f64::NAN], 2, &none).contains("image 1 the score NaN"));
    }

    #[test]
    fn what_is_lost_is_positive_in_both_directions() {
        assert_eq!(Direction::Higher.worsening(0.75, 0.5), 0.25);
        assert_eq!(Direction::Lower.worsening(0.75, 0.5), -0.25);
    }
}
