//! Opening the base model, the same way for every command.

use burn_seqlora::bank::BaseModel;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::models::{SourceOptions, StableDiffusion};
use burn_seqlora::precision::Precision;
use burn_seqlora::{LoadError, LoadOptions};

use crate::args::Model;
use crate::failure::Failure;
use crate::hub;
use crate::terminal::Terminal;

/// Loads a model, the built-in one by its name, and tells which one it is. A path that exists is
/// never an id.
pub fn open<B: KernelBackend>(
    args: &Model,
    precision: Precision,
    device: &B::Device,
    terminal: &Terminal,
) -> Result<(StableDiffusion<B>, BaseModel), Failure> {
    let source = SourceOptions { tokenizer: args.tokenizer.clone(), prediction: args.prediction };
    let mut options = LoadOptions { precision, source, name: None };
    let mut path = args.model.clone();
    if let Some(id) = path.to_str().filter(|text| !path.exists() && hub::is_id(text)) {
        options.name = Some(id.into());
        path = hub::folder(id, terminal)?;
    }
    let loaded = burn_seqlora::Model::load_with(&path, &options, device).map_err(usage)?;
    Ok((loaded.model, loaded.base))
}

/// What the command line can mend, in the words of its options.
fn usage(error: LoadError) -> Failure {
    match error {
        LoadError::Precision { precision } => Failure::Usage(format!(
            "the device cannot compute in {precision}; choose another --precision"
        )),
        LoadError::Missing { path } => Failure::Usage(format!(
            "there is no {}: --model is a diffusers folder, a .safetensors file, OWNER/NAME on the \
             hub, or builtin",
            path.display()
        )),
        LoadError::Model(error) => error.into(),
        error => error.into(),
    }
}
