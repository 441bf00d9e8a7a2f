//! What measures identity.

use std::path::Path;

use burn::tensor::backend::Backend;
use burn_seqlora::eval::SmallPictures;
use burn_seqlora::model::ImageEncoder;

use crate::failure::Failure;

/// What measures identity, and what reports call it.
pub struct Judge<B: Backend> {
    /// Its name.
    pub name: &'static str,
    /// What turns pictures into embeddings.
    pub encoder: Box<dyn ImageEncoder<B>>,
}

impl<B: Backend> Judge<B> {
    /// The judge that lies in the built-in model's folder.
    pub fn open(builtin: &Path, _device: &B::Device) -> Result<Self, Failure> {
        let text = format!(
            "cannot measure identity: there is no judge in {}; \
             install the whole folder models/builtin of the source tree",
            builtin.join("judge").display()
        );
        Err(Failure::Failed(text.into()))
    }

    /// The stand-in of tests.
    pub fn small_pictures() -> Self {
        Self { name: "small pictures (no judge)", encoder: Box::new(SmallPictures) }
    }
}
