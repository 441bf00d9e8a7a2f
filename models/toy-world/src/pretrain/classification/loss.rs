//! The loss of the classifier.

use burn::tensor::activation::{log_sigmoid, log_softmax};
use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::KernelBackend;

use super::targets::Targets;
use crate::classifier::{Attribute, ClassifierModel};
use crate::world::Truth;

/// Scale of the cosines in the softmax over individuals (NormFace,
/// [arXiv 1704.06369](https://arxiv.org/abs/1704.06369)).
const COSINE_SCALE: f64 = 16.0;

/// The distance below which the smooth L1 loss of a centre is quadratic, in cells.
const NEAR: f64 = 0.4;

/// An object's attributes are learnt in nine cells: that of its centre and those around it.
const CELLS: f64 = 9.0;

/// The loss of the classifier, `[1]`: the binary cross-entropies of the centres, the cross-entropies of all
/// attributes, of the individuals and of the background, and the smooth L1 losses of the centres' places in
/// their cells; summed over the objects of an image and averaged over images.
///
/// # Shapes
/// - pixels: `[batch, 3, side, side]`, -1 to 1
pub fn classifier_loss<B: KernelBackend>(
    model: &ClassifierModel<B>,
    pixels: Tensor<B, 4>,
    truths: &[Truth],
) -> Tensor<B, 1> {
    let output = model.forward(pixels);
    let [batch, cells, width] = output.embedding.dims();
    let targets = Targets::new(truths, cells.isqrt(), &model.device());
    let cosines = model.cosines(output.embedding.clone().reshape([batch * cells, width]));
    let cosines = cosines.reshape([batch, cells, targets.identity.dims()[2]]) * COSINE_SCALE;
    let attribute = |attribute: Attribute| {
        let (first, count) = (attribute.offset(), attribute.count());
        let values = targets.attributes.clone().narrow(2, first, count);
        cross_entropy(output.logits(attribute), values) / CELLS
    };
    let attributes = Attribute::ALL.map(attribute).into_iter().reduce(|sum, loss| sum + loss);
    binary_cross_entropy(output.centre, targets.centre.clone(), targets.counts)
        + attributes.expect("there are attributes")
        + cross_entropy(cosines, targets.identity) / CELLS
        + cross_entropy(output.background, targets.background)
        + distance(output.offset, targets.offset, targets.centre)
}

/// `Σ −t log σ(x) − (1 − t) log σ(−x)` where it `counts`, divided by the batch size, in a form that does
/// not overflow.
fn binary_cross_entropy<B: Backend>(
    scores: Tensor<B, 2>,
    targets: Tensor<B, 2>,
    counts: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let absent = targets.neg().add_scalar(1.0);
    per_image((absent * scores.clone() - log_sigmoid(scores)) * counts)
}

/// `−Σ t log softmax(x)` with the softmax over the last dimension, divided by the batch size:
/// `[1]`. Rows of zeros among the targets contribute 0.
pub fn cross_entropy<B: Backend, const D: usize>(
    scores: Tensor<B, D>,
    targets: Tensor<B, D>,
) -> Tensor<B, 1> {
    per_image(log_softmax(scores, D - 1) * targets.neg())
}

/// The smooth L1 losses of x and y where a centre lies.
fn distance<B: Backend>(
    offset: Tensor<B, 3>,
    truth: Tensor<B, 3>,
    centre: Tensor<B, 2>,
) -> Tensor<B, 1> {
    let distance = (offset - truth).abs();
    let near = distance.clone().clamp_max(NEAR);
    let smooth = near.clone() * near.clone() / (2.0 * NEAR) + distance - near;
    per_image(smooth * centre.unsqueeze_dim(2))
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
    fn large_logits_do_not_overflow_and_cells_that_do_not_count_are_left_out() {
        let loss = |scores: [f32; 2], counts: [f32; 2]| {
            let [targets, counts] = [[1.0, 0.0], counts].map(|t| tensor(&t, [1, 2]));
            binary_cross_entropy(tensor(&scores, [1, 2]), targets, counts)
        };
        assert_is(loss([0.0, 0.0], [1.0, 1.0]), 2.0 * 2f64.ln());
        assert_is(loss([200.0, -200.0], [1.0, 1.0]), 0.0);
        assert_is(loss([-200.0, 200.0], [1.0, 1.0]), 400.0);
        assert_is(loss([-200.0, 200.0], [1.0, 0.0]), 200.0);
    }

    #[test]
    fn places_count_where_a_centre_lies() {
        let offset = tensor(&[0.5, 0.5, 0.9, 0.9], [1, 2, 2]);
        let truth = tensor(&[0.0, 0.3, 0.0, 0.0], [1, 2, 2]);
        let loss = distance(offset, truth, tensor(&[1.0, 0.0], [1, 2]));
        // Above NEAR the loss is the distance minus NEAR / 2, below it the square divided by 2 · NEAR.
        assert_is(loss, (0.5 - 0.2) + 0.2 * 0.2 / 0.8);
    }
}
