//! LoRACLR (arXiv 2412.09622): outputs that are near each concept's own, and no nearer than a margin to
//! those of the other concepts.
//!
//! ```text
//! K_i = (W₀ + Δ) X_i,   V_j = (W₀ + λ_j ΔW_j) X_j,   d_ij = ‖K_i − V_j‖
//! L = λ_con mean_i[ d_ii² + max(0, margin − min_{j≠i} d_ij)² ] + λ_mse MSE(K, V) + λ_reg ‖Δ‖
//! ```
//!
//! by a fixed number of steps of AdamW from Δ = 0. Norms run over all rows and outputs of a concept, and the
//! last one is not squared. All but the margin's term depends on the inputs through Gram matrices alone.

use nalgebra::DMatrix;

use super::contract::{Fusion, Layer, LayerMember, Statistics};
use super::output_error::{ErrorAt, OutputError};
use super::pairs::Pairs;
use crate::error::{Error, Result};
use crate::lora::{Site, WeightPatch};

/// The settings with which the released code composes concepts (github.com/enisimsar/LoRACLR,
/// `weight_fusion.py`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoraClr {
    /// Steps of AdamW.
    pub iterations: usize,
    /// Their learning rate.
    pub lr: f64,
    /// Decoupled weight decay of Δ.
    pub weight_decay: f64,
    /// λ_con
    pub contrast: f64,
    /// The distance below which outputs of two concepts are too near.
    pub margin: f64,
    /// λ_mse
    pub mean_square: f64,
    /// λ_reg
    pub norm: f64,
}

impl LoraClr {
    /// Its name in settings and reports.
    pub const NAME: &'static str = "loraclr";
}

impl Default for LoraClr {
    fn default() -> Self {
        Self {
            iterations: 50,
            lr: 1e-4,
            weight_decay: 1e-4,
            contrast: 1.0,
            margin: 0.5,
            mean_square: 0.1,
            norm: 1e-3,
        }
    }
}

impl Fusion for LoraClr {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn description(&self) -> &'static str {
        "by LoRACLR's contrastive fusion"
    }

    fn needs(&self) -> Statistics {
        Statistics::GramAndInputs
    }

    fn memory(&self, site: &Site, ranks: &[usize]) -> usize {
        let (m, n) = (site.inputs, site.outputs);
        let rank = ranks.iter().copied().max().unwrap_or(0);
        // Σ G_i and one G_i; W₀, T, Δ, the best Δ, its gradient, both moments and a residual; one member's
        // factors; the columns of A; then the result.
        let sums = 2 * m * m + 9 * n * m + 3 * rank * (n + m) + n * (n + rank);
        size_of::<f64>() * sums + Pairs::memory(site, ranks.len()) + size_of::<f32>() * n * m
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = Result<LayerMember>>,
    ) -> Result<WeightPatch> {
        let mut error = OutputError::new(layer.site);
        let mut pairs = Pairs::default();
        let (mut rows, weight) = (None, layer.weight());
        for member in members {
            let member = member?;
            let count = member.gram().rows;
            if *rows.get_or_insert(count) != count {
                let (name, id) = (&layer.site.name, member.id);
                return Err(Error::Invalid(format!(
                    "LoRACLR compares the inputs of concepts one by one, and `{name}` has {count} with \
                     <{id}>, but {} with another concept",
                    rows.unwrap_or(0)
                )));
            }
            pairs.push(&member, layer.site, &weight)?;
            error.add(&member);
        }
        let slack = pairs.nearest_at_zero() - self.margin;
        let problem = Problem { settings: self, error, pairs, slack, name: &layer.site.name };
        layer.dense_patch(&problem.descend()?)
    }
}

/// One layer's problem.
#[derive(Debug)]
struct Problem<'a> {
    settings: &'a LoraClr,
    error: OutputError,
    pairs: Pairs,
    /// How far the outputs of a concept may move from those of W₀ before the margin can matter.
    slack: f64,
    /// The layer.
    name: &'a str,
}

impl Problem<'_> {
    /// AdamW from Δ = 0; the Δ of the smallest loss before a step.
    fn descend(&self) -> Result<DMatrix<f64>> {
        const BETAS: [f64; 2] = [0.9, 0.999];
        const EPSILON: f64 = 1e-8;
        let LoraClr { iterations, lr, weight_decay, .. } = *self.settings;
        let zero = DMatrix::zeros(self.error.target.nrows(), self.error.target.ncols());
        let (mut delta, mut first, mut second) = (zero.clone(), zero.clone(), zero.clone());
        let mut best = (f64::INFINITY, zero);
        for step in 1..=iterations {
            let (loss, gradient) = self.loss(&delta)?;
            if loss < best.0 {
                best = (loss, delta.clone());
            }
            let corrected = BETAS.map(|beta| 1.0 - beta.powi(step as i32));
            first.zip_apply(&gradient, |m, g| *m += (1.0 - BETAS[0]) * (g - *m));
            second.zip_apply(&gradient, |v, g| *v += (1.0 - BETAS[1]) * (g * g - *v));
            delta *= 1.0 - lr * weight_decay;
            delta.zip_zip_apply(&first, &second, |x, m, v| {
                *x -= lr * m / corrected[0] / ((v / corrected[1]).sqrt() + EPSILON);
            });
        }
        Ok(best.1)
    }

    /// L and its gradient.
    fn loss(&self, delta: &DMatrix<f64>) -> Result<(f64, DMatrix<f64>)> {
        let LoraClr { contrast, margin, mean_square, norm, .. } = *self.settings;
        let ErrorAt { value, residual, change } = self.error.at(delta);
        let members = self.error.members as f64;
        let elements = (self.error.rows * delta.nrows()) as f64;
        let weight = contrast / members + mean_square / elements;
        let length = delta.norm();
        let (mut loss, mut gradient) = (weight * value + norm * length, residual * (2.0 * weight));
        if length > 0.0 {
            gradient += delta * (norm / length);
        }
        // No concept's outputs have moved by more than all together.
        if contrast > 0.0 && change.max(0.0).sqrt() > self.slack {
            let near = self.pairs.hinge(delta, margin).ok_or_else(|| self.undecided())?;
            loss += contrast / members * near.value;
            gradient += near.gradient * (contrast / members);
        }
        Ok((loss, gradient))
    }

    fn undecided(&self) -> Error {
        Error::Invalid(format!(
            "the statistics of `{}` hold too few inputs to tell whether outputs of two concepts are nearer \
             than `margin` = {}; in more sampling steps their images differ more",
            self.name, self.settings.margin
        ))
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::lora::{Part, Role};
    use crate::rng::Seed;

    fn matrix(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        let mut numbers = StandardNormal.sample_iter(Seed::new(seed).at(0));
        DMatrix::from_fn(rows, columns, |_, _| numbers.next().expect("endless"))
    }

    /// A layer of 5 inputs and 4 outputs, with the inputs `[rows, 5]` and the changes `[4, 5]` of each
    /// concept.
    fn problem<'a>(
        settings: &'a LoraClr,
        base: &DMatrix<f64>,
        concepts: &[(DMatrix<f64>, DMatrix<f64>)],
    ) -> Problem<'a> {
        let (n, m) = base.shape();
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        let site = Site { name: "layer".into(), inputs: m, outputs: n, part, role };
        let mut error = OutputError::new(&site);
        let mut pairs = Pairs::default();
        for (x, delta) in concepts {
            let gram = x.transpose() * x;
            error.target += delta * &gram;
            error.energy += (x * delta.transpose()).norm_squared();
            error.gram += gram;
            error.rows += x.nrows();
            error.members += 1;
            pairs.push_matrices(x.clone(), base, delta, true);
        }
        let slack = pairs.nearest_at_zero() - settings.margin;
        Problem { settings, error, pairs, slack, name: "layer" }
    }

    /// L from its definition, on rows.
    fn definition(
        settings: &LoraClr,
        base: &DMatrix<f64>,
        concepts: &[(DMatrix<f64>, DMatrix<f64>)],
        delta: &DMatrix<f64>,
    ) -> f64 {
        let output = |x: &DMatrix<f64>, delta: &DMatrix<f64>| x * (base + delta).transpose();
        let count = concepts.len() as f64;
        let (mut pulled, mut pushed, mut square) = (0.0, 0.0, 0.0);
        let mut elements = 0;
        for (i, (x, own)) in concepts.iter().enumerate() {
            let k = output(x, delta);
            let error = (&k - output(x, own)).norm_squared();
            pulled += error;
            square += error;
            elements += k.len();
            let others = concepts.iter().enumerate().filter(|(j, _)| *j != i);
            let nearest = others.map(|(_, (x, other))| (&k - output(x, other)).norm());
            let nearest = nearest.fold(f64::INFINITY, f64::min);
            pushed += (settings.margin - nearest).max(0.0).powi(2);
        }
        settings.contrast * (pulled + pushed) / count
            + settings.mean_square * square / elements as f64
            + settings.norm * delta.norm()
    }

    fn concepts(count: u64, size: f64) -> Vec<(DMatrix<f64>, DMatrix<f64>)> {
        (0..count).map(|i| (matrix(6, 5, 10 + i) * size, matrix(4, 5, 20 + i) * 0.3)).collect()
    }

    /// With a margin that is exceeded nowhere, somewhere and everywhere.
    #[test]
    fn the_loss_is_its_definition_and_the_gradient_its_derivative() {
        let (base, delta) = (matrix(4, 5, 1), matrix(4, 5, 2) * 0.1);
        let concepts = concepts(3, 1.0);
        for margin in [0.5, 12.0, 100.0] {
            let settings = LoraClr { margin, ..LoraClr::default() };
            let problem = problem(&settings, &base, &concepts);
            let (loss, gradient) = problem.loss(&delta).unwrap();
            let expected = definition(&settings, &base, &concepts, &delta);
            assert!((loss - expected).abs() < 1e-10 * expected, "{margin}: {loss} {expected}");
            for at in 0..delta.len() {
                let moved = |by: f64| {
                    let mut moved = delta.clone();
                    moved[at] += by;
                    definition(&settings, &base, &concepts, &moved)
                };
                let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                assert!((gradient[at] - slope).abs() < 1e-6 * gradient.amax(), "{margin} {at}");
            }
        }
    }

    /// X = 1 for both; outputs 0 of the base, targets 0 and 1: d_12 = 1 and d_21 = 0 at Δ = 0.
    #[test]
    fn the_margin_pushes_outputs_apart() {
        let one = DMatrix::from_element(1, 1, 1.0);
        let zero = DMatrix::zeros(1, 1);
        let concepts = [(one.clone(), zero.clone()), (one.clone(), one)];
        let settings = LoraClr { margin: 1.5, mean_square: 0.0, norm: 0.0, ..LoraClr::default() };
        let problem = problem(&settings, &zero, &concepts);
        // d_22² = 1; hinges 0.5 and 1.5 at d_12 = 1 and d_21 = 0.
        let (loss, _) = problem.loss(&zero).unwrap();
        assert!((loss - (1.0 + 0.25 + 2.25) / 2.0).abs() < 1e-5, "{loss}");
        // At Δ = 0.25: d_11² = 1/16, d_22² = 9/16, d_12 = 0.75, d_21 = 0.25.
        let (loss, gradient) = problem.loss(&DMatrix::from_element(1, 1, 0.25)).unwrap();
        assert!((loss - (0.0625 + 0.5625 + 0.5625 + 1.5625) / 2.0).abs() < 1e-12, "{loss}");
        // (0.5 − 1.5 + 1.5 − 2.5) / 2
        assert!((gradient[0] + 1.0).abs() < 1e-12, "{gradient}");
    }

    /// Without other concepts nothing is too near.
    #[test]
    fn a_single_concept_has_no_margin() {
        let (base, concepts) = (matrix(4, 5, 1), concepts(1, 1.0));
        let settings = LoraClr { margin: 1e9, ..LoraClr::default() };
        let problem = problem(&settings, &base, &concepts);
        let (loss, gradient) = problem.loss(&concepts[0].1).unwrap();
        assert!((loss - settings.norm * concepts[0].1.norm()).abs() < 1e-10);
        assert!((gradient.norm() - settings.norm).abs() < 1e-10);
    }

    /// With the contrast alone and no margin it is the least squares of all members, each counted by its
    /// own rows.
    #[test]
    fn without_a_margin_it_is_least_squares() {
        let (base, concepts) = (matrix(4, 5, 1), concepts(2, 1.0));
        let settings = LoraClr {
            margin: 0.0,
            mean_square: 0.0,
            norm: 0.0,
            weight_decay: 0.0,
            iterations: 4000,
            lr: 1e-3,
            ..LoraClr::default()
        };
        let problem = problem(&settings, &base, &concepts);
        let found = problem.descend().unwrap();
        let inverse = problem.error.gram.clone().try_inverse().unwrap();
        let expected = &problem.error.target * inverse;
        assert!((&found - &expected).amax() < 1e-3 * expected.amax(), "{found} {expected}");
    }

    /// Some of the rows say that outputs are far apart; where they do not, it is not assumed.
    #[test]
    fn kept_rows_decide_or_do_not() {
        let base = matrix(4, 5, 1);
        let settings = LoraClr::default();
        let mut pairs = Pairs::default();
        for (x, delta) in concepts(2, 1.0) {
            pairs.push_matrices(x.rows(0, 2).into_owned(), &base, &delta, false);
        }
        let at = DMatrix::zeros(4, 5);
        let near = pairs.hinge(&at, settings.margin).expect("far apart already in two rows");
        assert_eq!((near.value, near.gradient), (0.0, at.clone()));
        assert!(pairs.hinge(&at, 1e3).is_none());
    }
}
