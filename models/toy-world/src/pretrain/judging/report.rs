//! How good a judge is, on renders that it has not seen.

use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::KernelBackend;
use serde::{Deserialize, Serialize};

use super::scene;
use crate::judge::identity::{direction, scores};
use crate::judge::{AttributeAccuracy, Judge};
use crate::pretrain::to_pixels;
use crate::world::{Description, Individual, Scene, Seed, Wanted};

/// Reference pictures of each individual.
const REFERENCES: usize = 5;

/// Other pictures of each individual, whose nearest references are looked for.
const QUERIES: u64 = 4;

/// How often a judge is right about renders whose seeds it was not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct JudgeReport {
    /// Scenes whose attributes were read.
    pub scenes: u64,
    /// Shares of scenes in which all that they show was read rightly.
    pub accuracy: AttributeAccuracy,
    /// Pictures of individuals, each alone.
    pub queries: usize,
    /// Share of them whose nearest mean reference embedding, among all individuals, is their own.
    pub identity: f64,
    /// Mean cosine of the pictures to their own individual's references.
    pub own_cosine: f64,
    /// Mean cosine to the nearest other individual's.
    pub nearest_other_cosine: f64,
}

impl JudgeReport {
    /// Measures a judge; the scenes of `seed` must not be those that it was trained on.
    pub fn measure<B: KernelBackend>(
        judge: &Judge<B>,
        seed: &Seed,
        scenes: u64,
        device: &B::Device,
    ) -> Self {
        let shown: Vec<Scene> = (0..scenes).map(|index| scene(seed, index)).collect();
        let readings = judge.read(to_pixels(&shown, judge.side(), device));
        let agreements = readings.iter().zip(&shown);
        let accuracy = agreements.map(|(reading, scene)| reading.agreement(&scene.description()));
        let identity = Retrieval::measure(judge, seed, device);
        Self {
            scenes,
            accuracy: accuracy.collect(),
            queries: identity.queries,
            identity: identity.right,
            own_cosine: identity.own,
            nearest_other_cosine: identity.nearest_other,
        }
    }
}

/// The identity part of the report.
struct Retrieval {
    queries: usize,
    right: f64,
    own: f64,
    nearest_other: f64,
}

impl Retrieval {
    fn measure<B: KernelBackend>(judge: &Judge<B>, seed: &Seed, device: &B::Device) -> Self {
        let individuals: Vec<Individual> = (0..Individual::COUNT).map(Individual::of).collect();
        let side = judge.side();
        let references = individuals.iter().map(|individual| {
            let references = individual.references(&seed.fork("references"), REFERENCES);
            direction(judge.embed(to_pixels(&references, side, device)))
        });
        let directions = Tensor::cat(references.collect(), 0);
        let queries: Vec<Scene> = individuals.iter().flat_map(|i| queries(i, seed)).collect();
        let cosines = scores(judge.embed(to_pixels(&queries, side, device)), directions);
        Self::of(cosines, |query| query / QUERIES as usize)
    }

    /// From the cosines `[queries, individuals]` and the individual that each query shows.
    fn of<B: Backend>(cosines: Tensor<B, 2>, individual: impl Fn(usize) -> usize) -> Self {
        let [queries, columns] = cosines.dims();
        let cosines: Vec<f64> = cosines.into_data().iter::<f64>().collect();
        let mut sums = Self { queries, right: 0.0, own: 0.0, nearest_other: 0.0 };
        for (query, row) in cosines.chunks_exact(columns).enumerate() {
            let own = individual(query);
            let others = row.iter().enumerate().filter(|(column, _)| *column != own);
            let other = others.map(|(_, cosine)| *cosine).fold(f64::NEG_INFINITY, f64::max);
            sums.right += f64::from(u8::from(row[own] > other));
            sums.own += row[own];
            sums.nearest_other += other;
        }
        let mean = |sum: f64| sum / queries as f64;
        Self {
            queries,
            right: mean(sums.right),
            own: mean(sums.own),
            nearest_other: mean(sums.nearest_other),
        }
    }
}

/// Pictures of an individual alone, in any size and before any background.
fn queries(individual: &Individual, seed: &Seed) -> impl Iterator<Item = Scene> {
    let seed = seed.fork("queries").fork(&individual.id());
    let objects = vec![Wanted::individual(*individual)];
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
        // The second and the third are nearer to the other one, and a tie is no hit.
        assert_eq!((retrieval.queries, retrieval.right), (4, 0.25));
        assert!((retrieval.own - (0.9 + 0.3 + 0.2 + 0.5) / 4.0).abs() < 1e-6);
        assert!((retrieval.nearest_other - (0.1 + 0.7 + 0.8 + 0.5) / 4.0).abs() < 1e-6);
    }
}
