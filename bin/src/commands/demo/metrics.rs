//! The metrics of the demo: identity and recognition by the toy world's classifier.

use std::rc::Rc;

use burn::tensor::backend::Backend;
use burn_seqlora::eval::{Embedder, Identity, ImageEncoder, Metric, Recognition, SmallImages};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::toy_world::classifier::Classifier;

/// Metrics by the embeddings of a classifier.
pub fn by_classifier<B: KernelBackend>(
    classifier: &Classifier<B>,
    device: &B::Device,
) -> Vec<Box<dyn Metric>> {
    by_encoder("the toy world's classifier", classifier.clone(), device)
}

/// Metrics without a trained network.
pub fn by_small_images<B: Backend>(device: &B::Device) -> Vec<Box<dyn Metric>> {
    by_encoder::<B>("shrunken images (no classifier)", SmallImages, device)
}

/// The first metric is the one that charts show.
fn by_encoder<B: Backend>(
    name: &str,
    encoder: impl ImageEncoder<B> + 'static,
    device: &B::Device,
) -> Vec<Box<dyn Metric>> {
    let embedder = Rc::new(Embedder::new(name, encoder, device));
    vec![Box::new(Identity::new(embedder.clone())), Box::new(Recognition::new(embedder))]
}
