//! Finding and loading the base model, the same way for every command.

use burn_seqlora::bank::BaseModel;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::models::{SourceOptions, StableDiffusion};
use burn_seqlora::precision::Precision;
use burn_seqlora::{FoundModel, LoadError};

use crate::args::Model;
use crate::failure::Failure;
use crate::hub;
use crate::terminal::Terminal;

/// Finds a model and reads its configs, the built-in one by its name. A path that exists is never an id;
/// what has the form of one is downloaded unless it is in the cache.
pub fn find(args: &Model, terminal: &Terminal) -> Result<FoundModel, Failure> {
    let Model { tokenizer, prediction, variant, vae, revision, .. } = args.clone();
    let options =
        SourceOptions { tokenizer, prediction, variant: variant.unwrap_or_default(), vae };
    let (mut name, mut path) = (None, args.model.clone());
    if let Some(id) = path.to_str().filter(|text| !path.exists() && hub::is_id(text)) {
        name = Some(id.to_string());
        path = hub::folder(id, &revision.unwrap_or_default(), options.variant, terminal)?;
    } else if revision.is_some() {
        let path = path.display();
        return Err(Failure::Usage(format!("--revision is for models on a hub, not for {path}")));
    }
    let found = FoundModel::open(&path, &options, name).map_err(usage)?;
    for note in &found.config().notes {
        terminal.line("note", note);
    }
    Ok(found)
}

/// Loads a model that was found, and tells which one it is.
pub fn load<B: KernelBackend>(
    found: &FoundModel,
    precision: Precision,
    device: &B::Device,
) -> Result<(StableDiffusion<B>, BaseModel), Failure> {
    let loaded = found.load(precision, device).map_err(usage)?;
    Ok((loaded.model, loaded.base))
}

/// Both at once.
pub fn open<B: KernelBackend>(
    args: &Model,
    precision: Precision,
    device: &B::Device,
    terminal: &Terminal,
) -> Result<(StableDiffusion<B>, BaseModel), Failure> {
    load(&find(args, terminal)?, precision, device)
}

/// What the command line can mend, in the words of its options.
fn usage(error: LoadError) -> Failure {
    match error {
        LoadError::Precision { precision } => Failure::Usage(format!(
            "the device cannot compute in {precision}; choose another --precision"
        )),
        LoadError::Missing { path } => Failure::Usage(format!(
            "there is no {}: --model is a diffusers folder, a .safetensors or .ckpt file, OWNER/NAME on the \
             hub, or builtin",
            path.display()
        )),
        LoadError::Model(error) => error.into(),
        error => error.into(),
    }
}
