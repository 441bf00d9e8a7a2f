//! What the denoiser's coarse features should tell, and the text encoder's states: what covers each
//! place.
//!
//! For training only. The error of a velocity says little about objects: after 120 000 pictures they
//! had neither the class nor the colour that the text said. Features that are told
//! what they look at get there sooner (compare REPA, [arXiv 2410.06940](https://arxiv.org/abs/2410.06940),
//! which takes them from a pretrained encoder; the drawn world knows the truth).

use burn::module::Module;
use burn::tensor::{Tensor, backend::Backend};
use burn_jvp::Dual;
use seqlora_core::lora::DualAdapters;
use seqlora_kernels::{DualOps, KernelBackend};

use super::judging::{covered_by, cross_entropy};
use crate::world::{Class, Colour, Pattern, Truth};
use seqlora_models::nn::{Linear, LinearConfig};

const LABELS: [usize; 3] = [Class::ALL.len(), Colour::ALL.len(), Pattern::ALL.len()];

/// Tells class, colour and pattern at each place of a picture from features there.
#[derive(Module, Debug)]
pub struct PlaceReader<B: Backend> {
    hidden: Linear<B>,
    labels: Linear<B>,
}

impl<B: KernelBackend> PlaceReader<B> {
    /// A reader of features with so many channels, without weights yet.
    pub fn new(channels: usize, device: &B::Device) -> Self {
        Self {
            hidden: LinearConfig::new(channels, channels).init(device),
            labels: LinearConfig::new(channels, LABELS.iter().sum()).init(device),
        }
    }

    /// Cross-entropies of what covers each place, `[1]`: means over all places, to which those that
    /// nothing covers add nothing.
    ///
    /// # Shapes
    /// - features: `[batch, places, channels]`, the places of a square row by row
    pub fn loss(&self, features: Tensor<B, 3>, truths: &[Truth]) -> Tensor<B, 1> {
        let (none, device) = (DualAdapters::none(), features.device());
        let side = features.dims()[1].isqrt();
        let places = Dual::constant(features);
        let scores = self.labels.forward(self.hidden.forward(places, &none).silu(), &none).primal;
        let [classes, colours, patterns] = LABELS;
        let read = |first, count| scores.clone().narrow(2, first, count);
        let class = covered_by(truths, side, &Class::ALL, |seen| Some(seen.class), &device);
        let colour = covered_by(truths, side, &Colour::ALL, |seen| seen.colour, &device);
        let pattern = covered_by(truths, side, &Pattern::ALL, |seen| seen.pattern, &device);
        let sum = cross_entropy(read(0, classes), class)
            + cross_entropy(read(classes, colours), colour)
            + cross_entropy(read(classes + colours, patterns), pattern);
        sum / (side * side) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::initialised;
    use crate::world::{Scene, SceneOptions};
    use burn::backend::Autodiff;
    use seqlora_core::rng::Seed;
    use seqlora_kernels::Flex;

    #[test]
    fn a_reader_that_knows_nothing_pays_the_entropy_of_what_is_covered() {
        type B = Autodiff<Flex>;
        let device = Default::default();
        let reader = initialised(PlaceReader::<B>::new(4, &device), &Seed::new(0), &device);
        let scene = Scene::random(&Seed::new(1), 0, &SceneOptions::default());
        let covered: f64 = scene
            .truth()
            .objects
            .iter()
            .map(|seen| f64::from(seen.bounds.width() * seen.bounds.height()))
            .sum();
        // Without features all scores are equal.
        let loss = reader.loss(Tensor::zeros([1, 64, 4], &device), &[scene.truth()]);
        let entropy: f64 = LABELS.iter().map(|count| (*count as f64).ln()).sum();
        let loss: f64 = loss.into_scalar().into();
        assert!((loss - covered * entropy).abs() < 1e-4, "{loss} {covered}");
    }
}
