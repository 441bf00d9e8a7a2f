//! An auxiliary loss on spatial labels: the class and the look of what covers each position.
//!
//! It is used only in training, for the coarse features of the denoiser and for the states of the
//! text encoder. The denoising loss alone says little about objects: after 120 000 images they had
//! neither the class nor the colour that the caption stated. With features that are supervised by
//! what they show, a denoiser learns this sooner. REPA ([arXiv
//! 2410.06940](https://arxiv.org/abs/2410.06940)) aligns features with those of a pretrained
//! encoder; here the ground truth is known.

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::classification::{covered_by, cross_entropy};
use crate::classifier::Attribute;
use crate::world::{ObjectTruth, Truth};
use seqlora_models::nn::{Linear, LinearConfig};

/// An auxiliary head: `labels(silu(hidden(features)))` at each position.
#[derive(Module, Debug)]
pub struct SpatialHead<B: Backend> {
    hidden: Linear<B>,
    labels: Linear<B>,
}

impl<B: KernelBackend> SpatialHead<B> {
    /// A head for features of `channels` channels, whose weights are not initialised yet.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            hidden: LinearConfig::new(channels, channels).init(device),
            labels: LinearConfig::new(channels, Attribute::total()).init(device),
        }
    }

    /// The sum of the cross-entropies of all attributes, each weighted by how much of a
    /// position is covered and averaged over all positions: `[1]`. Positions that no object covers
    /// contribute 0.
    ///
    /// # Shapes
    /// - features: `[batch, positions, channels]`, the positions of a square, row by row
    pub fn loss(&self, features: Tensor<B, 3>, truths: &[Truth]) -> Tensor<B, 1> {
        let (none, device) = (DualAdapters::none(), features.device());
        let side = features.dims()[1].isqrt();
        let features = Dual::constant(features);
        let scores = self.labels.forward(self.hidden.forward(features, &none).silu(), &none).primal;
        let loss = |attribute: Attribute| {
            let value = |object: &ObjectTruth| attribute.value(object.class, &object.look);
            let covered = covered_by(truths, side, attribute.count(), value, &device);
            let logits = scores.clone().narrow(2, attribute.offset(), attribute.count());
            cross_entropy(logits, covered)
        };
        let losses = Attribute::ALL.map(loss).into_iter();
        let sum = losses.reduce(|sum, loss| sum + loss).expect("there are attributes");
        sum / (side * side) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::initial::initialised;
    use crate::world::{Scene, SceneOptions};
    use burn::backend::Autodiff;
    use seqlora_core::rng::Seed;
    use seqlora_kernels::Flex;

    #[test]
    fn uniform_predictions_have_the_entropy_of_the_covered_area() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let head = initialised(SpatialHead::<B>::new(4, &device), &Seed::new(0), &device);
        let scene = Scene::random(&Seed::new(1), 0, &SceneOptions::default());
        let truth = scene.truth();
        let entropy = |object: &ObjectTruth| -> f64 {
            let shown = Attribute::ALL
                .into_iter()
                .filter(|attribute| attribute.value(object.class, &object.look).is_some());
            let area = f64::from(object.bounds.width() * object.bounds.height());
            area * shown.map(|attribute| (attribute.count() as f64).ln()).sum::<f64>()
        };
        let expected: f64 = truth.objects.iter().map(entropy).sum();
        // Features of zero give equal scores.
        let loss = head.loss(Tensor::zeros([1, 64, 4], &device), &[truth]);
        let loss: f64 = loss.into_scalar().into();
        assert!((loss - expected).abs() < 1e-4, "{loss} {expected}");
    }
}
