//! Opening the base model, the same way for every command.

use std::path::Path;

use burn_seqlora::bank::BaseModel;
use burn_seqlora::model::{Denoiser, TextEncoder};
use seqlora_kernels::KernelBackend;
use seqlora_models::{StableDiffusion, weights::fingerprint};

use super::builtin;
use crate::failure::Failure;

/// Loads a model, the built-in one by its name, and tells which one it is.
pub fn open<B: KernelBackend>(
    folder: &Path,
    device: &B::Device,
) -> Result<(StableDiffusion<B>, BaseModel), Failure> {
    let folder = &builtin::resolve(folder)?;
    let model = StableDiffusion::<B>::load(folder, device)?;
    let base = BaseModel {
        fingerprint: fingerprint(folder)?,
        name: folder.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        cross_attention_layers: model.cross_attention_layers(),
        token_width: model.token_width(),
    };
    Ok((model, base))
}
