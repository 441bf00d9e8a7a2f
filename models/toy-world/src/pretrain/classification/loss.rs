//! The loss of the classifier.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::KernelBackend;

use super::targets::{Targets, covered};
use crate::classifier::{ClassifierModel, Logits};
use crate::world::Truth;

/// Scale of the cosines in the softmax over individuals (NormFace,
/// [arXiv 1704.06369](https://arxiv.org/abs/1704.06369)).
const COSINE_SCALE: f64 = 16.0;

/// The distance below which the smooth L1 loss of a centre is quadratic: a twentieth of the image.
const NEAR: f64 = 0.05;

/// The weight of the centres. With it an error of a tenth of the image in both x and y costs 0.45
/// nats.
const CENTRE_WEIGHT: f64 = 3.0;

/// The losses of the attributes, each `[1]`: summed over the objects of an image and averaged over
/// images.
#[derive(Debug, Clone)]
pub struct AttributeLoss<B: Backend> {
    /// Binary cross-entropies of the classes.
    pub present: Tensor<B, 1>,
    /// Cross-entropies of the colours of ordinary objects.
    pub colour: Tensor<B, 1>,
    /// Cross-entropies of the patterns of ordinary objects.
    pub pattern: Tensor<B, 1>,
    /// Smooth L1 losses of the centres of objects.
    pub centre: Tensor<B, 1>,
    /// Cross-entropy of the background.
    pub background: Tensor<B, 1>,
}

impl<B: Backend> AttributeLoss<B> {
    /// The losses of predictions.
    pub fn new(logits: Logits<B>, targets: &Targets<B>) -> Self {
        let Targets { present, colour, pattern, centre, background, .. } = targets.clone();
        Self {
            centre: centre_distance(logits.centre, centre, present.clone()),
            present: binary_cross_entropy(logits.present, present),
            colour: cross_entropy(logits.colour, colour),
            pattern: cross_entropy(logits.pattern, pattern),
            background: cross_entropy(logits.background, background),
        }
    }

    /// The weighted sum.
    pub fn total(self) -> Tensor<B, 1> {
        self.present + self.colour + self.pattern + self.centre * CENTRE_WEIGHT + self.background
    }
}

/// The weight of the losses of patches, each averaged over the patches of an image: the
/// cross-entropy of the class that covers a patch, and the binary cross-entropies of all classes.
/// With the binary ones alone, training only learns how frequent the 16 classes are, since each of
/// them is rare. The cross-entropy is learnt first and separates them.
const PATCH_WEIGHT: f64 = 4.0;

/// The loss of the classifier, `[1]`: the [`AttributeLoss`], the cross-entropy of the individuals,
/// and the cross-entropies of the classes by which patches are [`covered`].
///
/// # Shapes
/// - pixels: `[batch, 3, side, side]`, -1 to 1
pub fn classifier_loss<B: KernelBackend>(
    model: &ClassifierModel<B>,
    pixels: Tensor<B, 4>,
    truths: &[Truth],
) -> Tensor<B, 1> {
    let device = model.device();
    let output = model.forward(pixels);
    let patches = output.patches.dims()[1];
    let covered = covered(truths, patches.isqrt(), &device);
    let targets = Targets::new(truths, &device);
    let cosines = model.cosines(output.embedding) * COSINE_SCALE;
    AttributeLoss::new(output.logits, &targets).total()
        + cross_entropy(cosines, targets.identity)
        + (cross_entropy(output.patches.clone(), covered.clone())
            + binary_cross_entropy(output.patches, covered))
            * (PATCH_WEIGHT / patches as f64)
}

/// `Σ −t log σ(x) − (1 − t) log σ(−x)`, divided by the batch size, in a form that does not
/// overflow.
fn binary_cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    targets: Tensor<B, D>,
) -> Tensor<B, 1> {
    let absent = targets.neg().add_scalar(1.0);
    per_image(absent * scores.clone() - log_sigmoid(scores))
}

/// `−Σ t log softmax(x)` with the softmax over the last dimension, divided by the batch size:
/// `[1]`. Rows of zeros among the targets contribute 0.
pub fn cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    targets: Tensor<B, D>,
) -> Tensor<B, 1> {
    per_image(log_softmax(scores, D - 1) * targets.neg())
}

/// The smooth L1 losses of x and y where a class is present.
fn centre_distance<B: Backend>(
    centre: Tensor<B, 3>,
    truth: Tensor<B, 3>,
    present: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let distance = (centre - truth).abs();
    let near = distance.clone().clamp_max(NEAR);
    let smooth = near.clone() * near.clone() / (2.0 * NEAR) + distance - near;
    per_image(smooth * present.unsqueeze_dim(2))
}

/// The sum of all elements, divided by the batch size.
fn per_image<B: Backend, const D: usize>(terms: Tensor<B, D>) -> Tensor<B, 1> {
    let images = terms.dims()[0] as f64;
    terms.sum() / images
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
    fn rows_without_a_target_contribute_nothing() {
        let scores = tensor(&[0.0, 0.0, 0.0, 0.0, 50.0, -50.0], [1, 2, 3]);
        let targets = tensor(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0], [1, 2, 3]);
        assert_is(cross_entropy(scores, targets), 3f64.ln());
    }

    #[test]
    fn large_logits_do_not_overflow() {
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
        // Above NEAR the loss is the distance minus NEAR / 2, below it the square divided by 2 ·
        // NEAR.
        assert_is(loss, (0.1 - 0.025) + 0.01 * 0.01 / 0.1);
    }
}
