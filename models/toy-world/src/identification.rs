//! Which individuals an image shows.

use burn::tensor::{Tensor, backend::Backend};
use seqlora_core::rng::Seed;
use seqlora_kernels::KernelBackend;

use crate::classifier::identity::{direction, scores};
use crate::classifier::{Classifier, Prediction};
use crate::pixels::to_pixels;
use crate::world::Individual;

/// The number of reference images of each individual.
const REFERENCES: usize = 5;

/// The mean direction of the embeddings of each individual's renders: `[individuals, width]`.
pub fn directions<B: KernelBackend>(
    classifier: &Classifier<B>,
    seed: &Seed,
    device: &B::Device,
) -> Tensor<B, 2> {
    let of = |individual: Individual| {
        let references = individual.references(seed, REFERENCES);
        direction(classifier.embed(to_pixels(&references, classifier.side(), device)))
    };
    Tensor::cat((0..Individual::COUNT).map(Individual::of).map(of).collect(), 0)
}

/// Finds the individuals of images by the embeddings of a classifier.
#[derive(Debug)]
pub struct Identifier<'a, B: Backend> {
    classifier: &'a Classifier<B>,
    directions: Tensor<B, 2>,
}

impl<'a, B: KernelBackend> Identifier<'a, B> {
    /// All individuals of the world, as a classifier sees them.
    pub fn new(classifier: &'a Classifier<B>, device: &B::Device) -> Self {
        let directions = directions(classifier, &Seed::new(0).fork("identification"), device);
        Self { classifier, directions }
    }

    /// For each image the indices of the individuals that are nearest to what is found in it, in increasing
    /// order. Two objects may be the same individual.
    ///
    /// # Shapes
    /// - pixels: `[images, 3, height, width]`, -1 to 1
    ///
    /// # Panics
    /// If the patch size does not divide the sides of the stem's output.
    pub fn individuals(&self, pixels: Tensor<B, 4>) -> Vec<Vec<usize>> {
        let predictions = self.classifier.classify(pixels);
        predictions.iter().map(|prediction| self.nearest(prediction)).collect()
    }

    fn nearest(&self, Prediction { objects, .. }: &Prediction) -> Vec<usize> {
        if objects.is_empty() {
            return Vec::new();
        }
        let embeddings = objects.iter().map(|object| object.embedding.as_slice());
        let rows = embeddings.map(|row| Tensor::<B, 1>::from_data(row, &self.directions.device()));
        let scores = scores(Tensor::stack(rows.collect(), 0), self.directions.clone());
        let nearest = scores.argmax(1).into_data();
        let mut nearest: Vec<usize> = nearest.iter::<i64>().map(|at| at as usize).collect();
        nearest.sort_unstable();
        nearest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{ClassifierConfig, Detection};
    use crate::world::{Background, Class, Colour, Look, Marking};
    use seqlora_kernels::Flex;

    #[test]
    fn an_object_is_the_individual_whose_direction_is_nearest() {
        let device = Default::default();
        let model = ClassifierConfig::default().init::<Flex>(&device);
        let classifier = Classifier::new(model, 64);
        let directions = [[1.0f32, 0.0], [0.0, 1.0], [-1.0, 0.0]];
        let directions = Tensor::<Flex, 2>::from_data(directions, &device);
        let identifier = Identifier { classifier: &classifier, directions };
        let look = Look {
            variant: 0,
            main: Colour::Red,
            second: Colour::Blue,
            third: Colour::White,
            marking: Marking::Plain,
            marked: Colour::Pink,
        };
        let object = |embedding: [f32; 2]| Detection {
            probability: 0.9,
            class: Class::Mug,
            look,
            centre: (0.5, 0.5),
            embedding: embedding.into(),
        };
        let of = |objects: Vec<Detection>| {
            identifier.nearest(&Prediction { objects, background: Background::Sky })
        };
        assert_eq!(of(vec![object([-0.8, 0.6]), object([0.1, 0.9])]), [1, 2]);
        assert_eq!(of(vec![object([0.9, 0.1]); 2]), [0, 0]);
        assert!(of(Vec::new()).is_empty());
    }
}
