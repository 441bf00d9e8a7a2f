//! How far the judge's answers are from the truth.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::KernelBackend;

use super::targets::{Targets, covered};
use crate::judge::{Answers, JudgeModel};
use crate::world::Truth;

/// Scale of the cosines in the softmax over individuals (NormFace,
/// [arXiv 1704.06369](https://arxiv.org/abs/1704.06369)).
const COSINE_SCALE: f64 = 16.0;

/// Distance from the true centre below which the loss of a centre is quadratic: a twentieth of the
/// picture.
const NEAR: f64 = 0.05;

/// Weight of the centres: an error of a tenth of the picture in x and y counts as half a nat.
const CENTRE_WEIGHT: f64 = 3.0;

/// How far answers are from the truth, each `[1]`: sums over what a picture shows, and means over
/// pictures.
#[derive(Debug, Clone)]
pub struct AnswersLoss<B: Backend> {
    /// Binary cross-entropies of the classes.
    pub present: Tensor<B, 1>,
    /// Cross-entropies of ordinary objects' colours.
    pub colour: Tensor<B, 1>,
    /// Cross-entropies of ordinary objects' patterns.
    pub pattern: Tensor<B, 1>,
    /// Smooth L1 distances of objects' centres.
    pub centre: Tensor<B, 1>,
    /// Cross-entropy of the background.
    pub background: Tensor<B, 1>,
}

impl<B: Backend> AnswersLoss<B> {
    /// A pure function of the answers and what should have been said.
    pub fn new(answers: Answers<B>, targets: &Targets<B>) -> Self {
        let Targets { present, colour, pattern, centre, background, .. } = targets.clone();
        Self {
            centre: centre_distance(answers.centre, centre, present.clone()),
            present: binary_cross_entropy(answers.present, present),
            colour: cross_entropy(answers.colour, colour),
            pattern: cross_entropy(answers.pattern, pattern),
            background: cross_entropy(answers.background, background),
        }
    }

    /// The weighted sum.
    pub fn total(self) -> Tensor<B, 1> {
        self.present + self.colour + self.pattern + self.centre * CENTRE_WEIGHT + self.background
    }
}

/// Weight of the patches' terms, each an average over a picture's patches: the cross-entropy of what
/// class a covered patch belongs to, and the binary ones of all classes. The first is what a judge
/// learns first. The binary ones alone stay where classes are as frequent as they are: 16 rare ones
/// hide what distinguishes them.
const PATCH_WEIGHT: f64 = 4.0;

/// The judge's loss, `[1]`: [`AnswersLoss`], the cross-entropy of the individuals, and those of what
/// patches are [`covered`] by, for pictures `[batch, 3, side, side]` and what they show.
pub fn judge_loss<B: KernelBackend>(
    model: &JudgeModel<B>,
    pixels: Tensor<B, 4>,
    truths: &[Truth],
) -> Tensor<B, 1> {
    let device = model.device();
    let output = model.forward(pixels);
    let patches = output.patches.dims()[1];
    let covered = covered(truths, patches.isqrt(), &device);
    let targets = Targets::new(truths, &device);
    let cosines = model.cosines(output.embedding) * COSINE_SCALE;
    AnswersLoss::new(output.answers, &targets).total()
        + cross_entropy(cosines, targets.identity)
        + (cross_entropy(output.patches.clone(), covered.clone())
            + binary_cross_entropy(output.patches, covered))
            * (PATCH_WEIGHT / patches as f64)
}

/// `Σ −t log σ(x) − (1 − t) log σ(−x)`, written without overflow.
fn binary_cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    targets: Tensor<B, D>,
) -> Tensor<B, 1> {
    let absent = targets.neg().add_scalar(1.0);
    per_picture(absent * scores.clone() - log_sigmoid(scores))
}

/// `−Σ t log softmax(x)` over the last dimension; rows of zeros among the targets add nothing.
pub(crate) fn cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    targets: Tensor<B, D>,
) -> Tensor<B, 1> {
    per_picture(log_softmax(scores, D - 1) * targets.neg())
}

/// Smooth L1 distances of x and y, where a class is present.
fn centre_distance<B: Backend>(
    centre: Tensor<B, 3>,
    truth: Tensor<B, 3>,
    present: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let distance = (centre - truth).abs();
    let near = distance.clone().clamp_max(NEAR);
    let smooth = near.clone() * near.clone() / (2.0 * NEAR) + distance - near;
    per_picture(smooth * present.unsqueeze_dim(2))
}

/// The sum of all elements, divided by the number of pictures.
fn per_picture<B: Backend, const D: usize>(terms: Tensor<B, D>) -> Tensor<B, 1> {
    let pictures = terms.dims()[0] as f64;
    terms.sum() / pictures
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use seqlora_kernels::Flex;

    fn tensor<const D: usize>(numbers: &[f32], shape: [usize; D]) -> Tensor<Flex, D> {
        Tensor::from_data(TensorData::new(numbers.to_vec(), shape), &Default::default())
    }

    fn assert_is(actual: Tensor<Flex, 1>, expected: f64) {
        let actual = f64::from(actual.into_scalar());
        assert!((actual - expected).abs() < 1e-5 * expected.abs().max(1.0), "{actual} {expected}");
    }

    #[test]
    fn rows_without_a_target_add_nothing() {
        let scores = tensor(&[0.0, 0.0, 0.0, 0.0, 50.0, -50.0], [1, 2, 3]);
        let targets = tensor(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1, 2, 3]);
        assert_is(cross_entropy(scores, targets), 3f64.ln());
    }

    #[test]
    fn sure_answers_do_not_overflow() {
        let loss = |scores: [f32; 2]| {
            binary_cross_entropy(tensor(&scores, [1, 2]), tensor(&[1.0, 0.0], [1, 2]))
        };
        assert_is(loss([0.0, 0.0]), 2.0 * 2f64.ln());
        assert_is(loss([200.0, -200.0]), 0.0);
        assert_is(loss([-200.0, 200.0]), 400.0);
    }

    #[test]
    fn centres_count_where_a_class_is_present() {
        let centre = tensor(&[0.5, 0.5, 0.9, 0.9], [1, 2, 2]);
        let truth = tensor(&[0.4, 0.51, 0.0, 0.0], [1, 2, 2]);
        let loss = centre_distance(centre, truth, tensor(&[1.0, 0.0], [1, 2]));
        // Beyond NEAR it is the distance less half of NEAR, within it the square over twice NEAR.
        assert_is(loss, (0.1 - 0.025) + 0.01 * 0.01 / 0.1);
    }
}
