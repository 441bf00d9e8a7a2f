//! The accuracy of a classifier on renders that it was not trained on.

use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::KernelBackend;
use serde::{Deserialize, Serialize};

use super::task::scene;
use crate::classifier::identity::scores;
use crate::classifier::{AttributeAccuracy, Classifier};
use crate::identification::directions;
use crate::pixels::to_pixels;
use crate::world::{Description, Individual, ObjectDescription, Scene, Seed};

/// Images that are changed at a time.
const CHUNK: usize = 16;

/// The number of query images of each individual.
const QUERIES: u64 = 4;

/// The accuracy of a classifier on renders that it was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ClassifierReport {
    /// The number of scenes whose attributes were predicted.
    pub scenes: u64,
    /// The share of scenes in which an attribute was predicted correctly for all objects.
    pub accuracy: AttributeAccuracy,
    /// The number of query images, each of one individual alone.
    pub queries: usize,
    /// The share of queries for which the mean reference embedding of their own individual is
    /// nearer than those of all others.
    pub identity: f64,
    /// The same among the individuals of one class, so that the class alone gives one in eleven.
    pub within_class: f64,
    /// The mean cosine between queries and their own individual.
    pub own_cosine: f64,
    /// The mean cosine between queries and the nearest other individual.
    pub nearest_other_cosine: f64,
}

impl ClassifierReport {
    /// Measures a classifier on renders as `view` changes them, for instance by a VAE; references of
    /// individuals stay as they are. The seed must differ from the one that it was trained with.
    ///
    /// # Shapes
    /// - view: `[images, 3, side, side]`, -1 to 1, to the same
    pub fn measure<B: KernelBackend>(
        classifier: &Classifier<B>,
        seed: &Seed,
        scenes: u64,
        view: impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
        device: &B::Device,
    ) -> Self {
        let shown: Vec<Scene> = (0..scenes).map(|index| scene(seed, index)).collect();
        let pixels = to_pixels(&shown, classifier.side(), device);
        let predictions = classifier.classify(in_chunks(pixels, &view));
        let agreements = predictions.iter().zip(&shown);
        let accuracy =
            agreements.map(|(prediction, scene)| prediction.agreement(&scene.description()));
        let identity = Retrieval::measure(classifier, seed, &view, device);
        Self {
            scenes,
            accuracy: accuracy.collect(),
            queries: identity.queries,
            identity: identity.right,
            within_class: identity.within_class,
            own_cosine: identity.own,
            nearest_other_cosine: identity.nearest_other,
        }
    }
}

/// Retrieval of individuals by their embeddings.
struct Retrieval {
    queries: usize,
    right: f64,
    within_class: f64,
    own: f64,
    nearest_other: f64,
}

impl Retrieval {
    fn measure<B: KernelBackend>(
        classifier: &Classifier<B>,
        seed: &Seed,
        view: &impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
        device: &B::Device,
    ) -> Self {
        let directions = directions(classifier, &seed.fork("references"), device);
        let individuals = (0..Individual::COUNT).map(Individual::of);
        let queries: Vec<Scene> = individuals.flat_map(|i| queries(&i, seed)).collect();
        let queries = to_pixels(&queries, classifier.side(), device);
        let cosines = scores(classifier.embed(in_chunks(queries, view)), directions);
        Self::of(cosines, |query| query / QUERIES as usize)
    }

    /// The report of cosines `[queries, individuals]`; `individual` gives the individual of a
    /// query.
    fn of<B: Backend>(cosines: Tensor<B, 2>, individual: impl Fn(usize) -> usize) -> Self {
        let [queries, columns] = cosines.dims();
        let cosines: Vec<f64> = cosines.into_data().iter::<f64>().collect();
        let mut sums =
            Self { queries, right: 0.0, within_class: 0.0, own: 0.0, nearest_other: 0.0 };
        for (query, row) in cosines.chunks_exact(columns).enumerate() {
            let own = individual(query);
            let class = |column: usize| Individual::of(column).class;
            let nearest = |others: &dyn Fn(usize) -> bool| {
                let others = (0..columns).filter(|column| *column != own && others(*column));
                others.map(|column| row[column]).fold(f64::NEG_INFINITY, f64::max)
            };
            let other = nearest(&|_| true);
            let of_class = nearest(&|column| class(column) == class(own));
            sums.right += f64::from(u8::from(row[own] > other));
            sums.within_class += f64::from(u8::from(row[own] > of_class));
            sums.own += row[own];
            sums.nearest_other += other;
        }
        let mean = |sum: f64| sum / queries as f64;
        Self {
            queries,
            right: mean(sums.right),
            within_class: mean(sums.within_class),
            own: mean(sums.own),
            nearest_other: mean(sums.nearest_other),
        }
    }
}

/// A function of images applied to a few of them at a time, which bounds the memory.
fn in_chunks<B: KernelBackend>(
    pixels: Tensor<B, 4>,
    view: &impl Fn(Tensor<B, 4>) -> Tensor<B, 4>,
) -> Tensor<B, 4> {
    Tensor::cat(pixels.split(CHUNK, 0).into_iter().map(view).collect(), 0)
}

/// Scenes of an individual alone, in random sizes and before random backgrounds.
fn queries(individual: &Individual, seed: &Seed) -> impl Iterator<Item = Scene> + use<> {
    let seed = seed.fork("queries").fork(&individual.id());
    let objects = vec![ObjectDescription::individual(*individual)];
    let description = Description { objects, ..Description::default() };
    (0..QUERIES).map(move |index| description.scene(&seed, index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    #[test]
    fn retrieval_compares_each_query_with_all_individuals() {
        let cosines = [[0.9f32, 0.1], [0.3, 0.7], [0.8, 0.2], [0.5, 0.5]];
        let cosines = Tensor::<Flex, 2>::from_data(cosines, &Default::default());
        let retrieval = Retrieval::of(cosines, |query| query / 2);
        // The second and the third query are nearer to the other individual, and a tie does not
        // count.
        assert_eq!((retrieval.queries, retrieval.right), (4, 0.25));
        assert_eq!(retrieval.within_class, 1.0, "the two are of different classes");
        assert!((retrieval.own - (0.9 + 0.3 + 0.2 + 0.5) / 4.0).abs() < 1e-6);
        assert!((retrieval.nearest_other - (0.1 + 0.7 + 0.8 + 0.5) / 4.0).abs() < 1e-6);
    }
}
