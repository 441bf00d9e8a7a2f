//! What measures identity.

use std::path::Path;

use burn::tensor::backend::Backend;
use burn_seqlora::eval::{ImageEncoder, SmallPictures};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::toy_world::classifier;

use crate::failure::Failure;

/// What measures identity, and what reports call it.
pub struct Judge<B: Backend> {
    /// Its name.
    pub name: &'static str,
    /// What turns pictures into embeddings.
    pub encoder: Box<dyn ImageEncoder<B>>,
}

impl<B: KernelBackend> Judge<B> {
    /// The judge of the drawn world.
    pub fn open(folder: &Path, device: &B::Device) -> Result<Self, Failure> {
        let judge = classifier::Classifier::load(folder, device)?;
        Ok(Self { name: "the drawn world's judge", encoder: Box::new(judge) })
    }

    /// What needs no training.
    pub fn small_pictures() -> Self {
        Self { name: "shrunken pictures (no judge)", encoder: Box::new(SmallPictures) }
    }
}
