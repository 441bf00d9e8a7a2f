//! Identity: how similar a generated image is to a concept's references.

use std::rc::Rc;

use burn::tensor::backend::Backend;
use image::RgbImage;

use crate::{Context, Direction, Embedder, Metric, MetricError, Needs};

/// The cosine between an image's embedding and the mean direction of the references' embeddings, as in
/// CLIP-I and DINO scores: −1 to 1, higher is better.
#[derive(Debug)]
pub struct Identity<B: Backend> {
    embedder: Rc<Embedder<B>>,
}

impl<B: Backend> Identity<B> {
    /// Identity as an encoder sees it.
    pub fn new(embedder: Rc<Embedder<B>>) -> Self {
        Self { embedder }
    }
}

impl<B: Backend> Metric for Identity<B> {
    fn name(&self) -> &str {
        "identity"
    }

    fn unit(&self) -> &str {
        "cosine"
    }

    fn better(&self) -> Direction {
        Direction::Higher
    }

    fn description(&self) -> String {
        let encoder = self.embedder.name();
        format!("similarity of an image to the references' mean direction, by {encoder}; 1 at most")
    }

    fn preprocessing(&self) -> String {
        self.embedder.preprocessing()
    }

    fn needs(&self) -> Needs {
        Needs { references: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let references = self.embedder.mean_direction(context.references);
        let embeddings = self.embedder.embed(images);
        Ok(embeddings.iter().map(|embedding| references.cosine(embedding)).collect())
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::embedding::tests::{first_pixel, plain};
    use crate::evaluate;

    #[test]
    fn the_cosine_with_the_mean_of_the_references() {
        let metric = Identity::new(first_pixel().0);
        // (1, 1, −1) and (1, −1, 1) have the mean direction (1, 0, 0).
        let references = [plain([255, 255, 0]), plain([255, 0, 255])];
        let images = [plain([255, 255, 255]), plain([0, 255, 0])];
        let context = Context { references: &references, ..Context::default() };
        let scores = evaluate(&metric, &images, &context).unwrap();
        let expected = 1.0 / 3f64.sqrt();
        assert!((scores[0] - expected).abs() < 1e-7 && (scores[1] + expected).abs() < 1e-7);
        assert!(evaluate(&metric, &images, &Context::default()).is_err());
    }
}
