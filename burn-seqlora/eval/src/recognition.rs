//! Recognition: whether a generated image shows its concept rather than another one of the run.

use std::rc::Rc;

use burn::tensor::backend::Backend;
use image::RgbImage;

use crate::{Context, Direction, Embedder, MeanDirection, Metric, MetricError, Needs};

/// 1 if an image's embedding is closer to the mean direction of its concept's references than to that
/// of every other concept, else 0; a tie is 0. The mean over images is the top-1 accuracy of retrieval
/// among the concepts of the run.
#[derive(Debug)]
pub struct Recognition<B: Backend> {
    embedder: Rc<Embedder<B>>,
}

impl<B: Backend> Recognition<B> {
    /// Recognition as an encoder sees it.
    pub fn new(embedder: Rc<Embedder<B>>) -> Self {
        Self { embedder }
    }
}

impl<B: Backend> Metric for Recognition<B> {
    fn name(&self) -> &str {
        "recognition"
    }

    fn unit(&self) -> &str {
        "share"
    }

    fn better(&self) -> Direction {
        Direction::Higher
    }

    fn description(&self) -> String {
        let encoder = self.embedder.name();
        format!("share of images that are closest to their own concept's references, by {encoder}")
    }

    fn preprocessing(&self) -> String {
        self.embedder.preprocessing()
    }

    fn needs(&self) -> Needs {
        Needs { references: true, others: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let own = self.embedder.mean_direction(context.references);
        let others = context.others.iter().filter(|references| !references.is_empty());
        let others: Vec<MeanDirection> =
            others.map(|references| self.embedder.mean_direction(references)).collect();
        let score = |embedding: &Vec<f64>| {
            let cosine = own.cosine(embedding);
            f64::from(others.iter().all(|other| cosine > other.cosine(embedding)))
        };
        Ok(self.embedder.embed(images).iter().map(score).collect())
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::embedding::tests::{first_pixel, plain};
    use crate::evaluate;

    #[test]
    fn the_nearest_concept_is_recognised_and_a_tie_is_not() {
        let metric = Recognition::new(first_pixel().0);
        let [red, green, blue] = [[255, 0, 0], [0, 255, 0], [0, 0, 255]].map(plain);
        let others = [std::slice::from_ref(&green), std::slice::from_ref(&blue)];
        let context =
            Context { references: std::slice::from_ref(&red), others: &others, prompts: &[] };
        // White is as close to green as it is to red.
        let images = [plain([255, 60, 0]), green.clone(), plain([255, 255, 255])];
        assert_eq!(evaluate(&metric, &images, &context).unwrap(), [1.0, 0.0, 0.0]);
        let alone = Context { others: &[], ..context };
        assert!(evaluate(&metric, &images, &alone).is_err());
    }
}
