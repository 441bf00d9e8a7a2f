//! Opening the base model, the same way for every command.

use burn_seqlora::bank::BaseModel;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::model::{Denoiser, DiffusionModel, TextEncoder};
use burn_seqlora::models::{ModelSource, SourceOptions, StableDiffusion};
use burn_seqlora::precision::Precision;

use super::builtin;
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
    if !B::supports_dtype(device, precision.dtype().into()) {
        let text = format!("the device cannot compute in {precision}; choose another --precision");
        return Err(Failure::Usage(text));
    }
    let path = &builtin::resolve(&args.model)?.into_owned();
    let id = path.to_str().filter(|text| !path.exists() && hub::is_id(text));
    let (path, name) = match id {
        Some(id) => (hub::folder(id, terminal)?, id.to_string()),
        None => {
            let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
            (path.clone(), name)
        }
    };
    if !path.exists() {
        return Err(Failure::Usage(format!(
            "there is no {}: --model is a diffusers folder, a .safetensors file, OWNER/NAME on the \
             hub, or builtin",
            path.display()
        )));
    }
    let options = SourceOptions { tokenizer: args.tokenizer.clone(), prediction: args.prediction };
    let source = ModelSource::open(&path, &options)?;
    let model = StableDiffusion::<B>::from_source(&source, precision, device)?;
    let base = BaseModel {
        fingerprint: source.fingerprint()?,
        prediction: Some(model.noise_schedule().prediction),
        name,
        cross_attention_layers: model.cross_attention_layers(),
        token_width: model.token_width(),
    };
    Ok((model, base))
}
