//! The mean similarity of an image to each reference, as the published metrics of identity have it.

use std::rc::Rc;

use burn::tensor::backend::Backend;
use image::RgbImage;

use crate::embedding::cosine;
use crate::{Context, Direction, Embedder, Metric, MetricError, Needs};

/// What is averaged over the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The cosine, −1 to 1: higher is better.
    Cosine,
    /// One minus the cosine, 0 to 2: lower is better.
    Distance,
}

/// The cosine, or the distance, between an image's embedding and each reference's, averaged over the
/// references. Averaged over images as well, it is the mean of the matrix of all pairs, which DreamBooth
/// and CustomConcept101 report as DINO and CLIP-I. [`Identity`](crate::Identity) compares with the
/// references' mean direction instead.
#[derive(Debug)]
pub struct Pairwise<B: Backend> {
    name: String,
    embedder: Rc<Embedder<B>>,
    measure: Measure,
}

impl<B: Backend> Pairwise<B> {
    /// The metric `name`, as an encoder sees images.
    pub fn new(name: impl Into<String>, embedder: Rc<Embedder<B>>, measure: Measure) -> Self {
        Self { name: name.into(), embedder, measure }
    }
}

impl<B: Backend> Metric for Pairwise<B> {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        match self.measure {
            Measure::Cosine => "cosine",
            Measure::Distance => "distance",
        }
    }

    fn better(&self) -> Direction {
        match self.measure {
            Measure::Cosine => Direction::Higher,
            Measure::Distance => Direction::Lower,
        }
    }

    fn description(&self) -> String {
        let encoder = self.embedder.name();
        match self.measure {
            Measure::Cosine => {
                format!("mean cosine between an image and each reference, by {encoder}")
            }
            Measure::Distance => {
                format!("mean of 1 − cosine between an image and each reference, by {encoder}")
            }
        }
    }

    fn preprocessing(&self) -> String {
        self.embedder.preprocessing()
    }

    fn needs(&self) -> Needs {
        Needs { references: true, ..Needs::default() }
    }

    fn score(&self, images: &[RgbImage], context: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let references = self.embedder.embed(context.references);
        let score = |image: &Vec<f64>| {
            let cosines = references.iter().map(|reference| cosine(image, reference));
            let mean = cosines.sum::<f64>() / references.len() as f64;
            match self.measure {
                Measure::Cosine => mean,
                Measure::Distance => 1.0 - mean,
            }
        };
        Ok(self.embedder.embed(images).iter().map(score).collect())
    }
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use crate::embedding::tests::{first_pixel, plain};
    use crate::evaluate;

    /// (1, 1, 1)/√3 has the cosines 1/3 with (1, 1, −1)/√3 and −1/3 with (1, −1, −1)/√3, and itself 1.
    #[test]
    fn the_mean_over_a_matrix_of_three_by_two() {
        let (embedder, _) = first_pixel();
        let references = [plain([255, 255, 0]), plain([255, 0, 0])];
        let images = [plain([255; 3]), references[0].clone(), plain([0; 3])];
        let context = Context { references: &references, ..Context::default() };
        let scores = |measure| {
            let metric = Pairwise::new("pairs", embedder.clone(), measure);
            evaluate(&metric, &images, &context).unwrap()
        };
        let expected = [0.0, (1.0 + 1.0 / 3.0) / 2.0, 0.0];
        for (found, expected) in scores(Measure::Cosine).into_iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7);
        }
        for (found, expected) in scores(Measure::Distance).into_iter().zip(expected) {
            assert!((found - (1.0 - expected)).abs() < 1e-7);
        }
    }

    #[test]
    fn the_order_of_references_does_not_matter_and_an_image_is_like_itself() {
        let metric = Pairwise::new("pairs", first_pixel().0, Measure::Distance);
        let images = [plain([200, 30, 90]), plain([10, 220, 40]), plain([90, 90, 91])];
        let score = |references: &[RgbImage]| {
            let context = Context { references, ..Context::default() };
            evaluate(&metric, &images, &context).unwrap()
        };
        let [a, b, c] = images.clone();
        let (forward, back) =
            (score(&[a.clone(), b.clone(), c.clone()]), score(&[c, a.clone(), b]));
        assert!(forward.iter().zip(&back).all(|(x, y)| (x - y).abs() < 1e-12));
        assert!(score(&[a])[0].abs() < 1e-7);
        assert!(evaluate(&metric, &images, &Context::default()).is_err());
    }
}
