//! Orthogonal Adaptation (arXiv 2312.02432): B is drawn once and never trained, so that concepts which
//! know nothing of each other have nearly orthogonal B.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use seqlora_kernels::TrainBackend;

use super::adamw;
use super::method::{Constraint, Method, Work};
use super::problem::{Problem, StepTensors};
use super::state::TrainState;
use crate::lora::directions::Columns;
use crate::lora::{Feasible, Site, shared_basis};
use crate::objective::Wrt;
use crate::settings::{FrozenBasis, TrainConfig};

/// AdamW in A and the token embeddings, with a B that a concept draws for itself. It takes K (T + 1) steps
/// of a minibatch: as many gradients as the other methods.
///
/// B is r columns of one orthonormal basis that all concepts share, scaled to the norm `down_norm`: 0.5 as
/// in the code released with LoRACLR (github.com/enisimsar/LoRACLR, `edlora.py`), where r is 32. Two
/// concepts are exactly orthogonal at a site unless they drew a column in common; they share r² / m of
/// them in the mean, and from m / r concepts on some have to.
#[derive(Debug, Clone, Copy)]
pub struct OrthogonalAdaptation;

/// All concepts share one basis.
const FAMILY: u64 = 0;

impl OrthogonalAdaptation {
    /// Its name in settings, banks and reports.
    pub const NAME: &'static str = "orthogonal-adaptation";
}

impl<B: TrainBackend> Method<B> for OrthogonalAdaptation {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn title(&self) -> &'static str {
        "Orthogonal Adaptation"
    }

    fn description(&self) -> &'static str {
        "by Orthogonal Adaptation, which draws B and trains A alone"
    }

    fn constraint(&self) -> Constraint {
        Constraint::None
    }

    fn work(&self, settings: &TrainConfig) -> Work {
        adamw::work(settings)
    }

    fn initial_down(
        &self,
        site: &Site,
        rank: usize,
        _: &Feasible,
        settings: &TrainConfig,
        rng: &mut ChaCha8Rng,
    ) -> Columns {
        draw(settings.frozen_basis, site.inputs, rank, settings.down_norm, rng)
    }

    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend> {
        adamw::minibatch(problem, state, Wrt::UpAndEmbeddings)
    }
}

/// B `[m, rank]`, whose columns have this norm, with [`FrozenBasis::Gaussian`] in the root mean square.
fn draw(
    basis: FrozenBasis,
    inputs: usize,
    rank: usize,
    norm: f64,
    rng: &mut ChaCha8Rng,
) -> Columns {
    let (columns, scale) = match basis {
        FrozenBasis::Shared => (shared_basis(FAMILY, inputs, &choose(rank, inputs, rng)), norm),
        FrozenBasis::Gaussian => {
            let column = |_| StandardNormal.sample_iter(&mut *rng).take(inputs).collect();
            ((0..rank).map(column).collect::<Columns>(), norm / (inputs as f64).sqrt())
        }
    };
    columns.into_iter().map(|column| column.into_iter().map(|x| x * scale).collect()).collect()
}

/// `count` different numbers below `limit`.
fn choose(count: usize, limit: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..limit).collect();
    for at in 0..count {
        let other = rng.random_range(at..limit);
        numbers.swap(at, other);
    }
    numbers.truncate(count);
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const BOTH: [FrozenBasis; 2] = [FrozenBasis::Shared, FrozenBasis::Gaussian];

    fn of_concept(basis: FrozenBasis, m: usize, r: usize, concept: usize) -> Columns {
        let mut rng = Seed::new(0).fork(&concept.to_string()).fork("directions").at(0);
        draw(basis, m, r, 1.0, &mut rng)
    }

    /// ‖B_iᵀ B_j‖²
    fn overlap(a: &Columns, b: &Columns) -> f64 {
        let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
        a.iter().flat_map(|x| b.iter().map(move |y| dot(x, y).powi(2))).sum()
    }

    /// A concept's B is a function of its seed, and another one's differs.
    #[test]
    fn a_concept_draws_its_own_columns() {
        for basis in BOTH {
            let draw = |concept| of_concept(basis, 64, 4, concept);
            assert_eq!(draw(1), draw(1));
            assert_ne!(draw(1), draw(2));
        }
    }

    #[test]
    fn columns_are_orthonormal_times_their_norm() {
        let b = draw(FrozenBasis::Shared, 320, 32, 0.5, &mut Seed::new(1).at(0));
        assert!((overlap(&b, &b) - 32.0 / 16.0).abs() < 1e-12);
        for (i, x) in b.iter().enumerate() {
            for (j, y) in b.iter().enumerate() {
                let square = overlap(&vec![x.clone()], &vec![y.clone()]);
                let expected = if i == j { 1.0 / 16.0 } else { 0.0 };
                assert!((square - expected).abs() < 1e-12);
            }
        }
        let b = draw(FrozenBasis::Gaussian, 1000, 4, 0.5, &mut Seed::new(1).at(0));
        let norms: Vec<f64> =
            b.iter().map(|x| x.iter().map(|x| x * x).sum::<f64>().sqrt()).collect();
        assert!(norms.iter().all(|norm| (norm - 0.5).abs() < 0.05), "{norms:?}");
    }

    #[test]
    fn concepts_without_a_column_in_common_are_orthogonal() {
        let (a, b) =
            (shared_basis(FAMILY, 96, &[3, 90, 17]), shared_basis(FAMILY, 96, &[0, 95, 16]));
        assert!(overlap(&a, &b) < 1e-24);
        // One column in common is an overlap of one.
        let c = shared_basis(FAMILY, 96, &[17, 1, 2]);
        assert!((overlap(&a, &c) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn every_column_is_drawn_equally_often() {
        let mut counts = [0; 10];
        for draw in 0..2000 {
            let numbers = choose(3, 10, &mut Seed::new(5).at(draw));
            assert!(
                numbers[0] != numbers[1] && numbers[0] != numbers[2] && numbers[1] != numbers[2]
            );
            numbers.into_iter().for_each(|number| counts[number] += 1);
        }
        // 600 each, with a standard deviation of 20.5.
        assert!(counts.iter().all(|count| (520..680).contains(count)), "{counts:?}");
        assert_eq!(choose(10, 10, &mut Seed::new(5).at(0)).iter().sum::<usize>(), 45);
    }

    /// E ‖B_iᵀ B_j‖² = r² / m for columns of unit norm, whichever way they are drawn.
    #[test]
    fn the_mean_overlap_is_the_square_of_the_rank_over_the_inputs() {
        let (m, r, pairs) = (48, 4, 400);
        for basis in BOTH {
            let overlaps: Vec<f64> = (0..pairs)
                .map(|pair| {
                    let concept = |number| of_concept(basis, m, r, number);
                    overlap(&concept(2 * pair), &concept(2 * pair + 1))
                })
                .collect();
            let count = pairs as f64;
            let mean = overlaps.iter().sum::<f64>() / count;
            let variance = overlaps.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
            let (expected, error) = ((r * r) as f64 / m as f64, (variance / count).sqrt());
            assert!(
                (mean - expected).abs() < 3.0 * error,
                "{basis:?}: {mean} ± {error} instead of {expected}"
            );
        }
    }
}
