//! Adapters of other tools that are added to the model's weights.

use burn_seqlora::bank::formats::{self, AdapterFormat, ForeignAdapter};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::models::StableDiffusion;

use crate::args::Lora;
use crate::commands::incomplete;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// An adapter that has been read, and its strength.
pub struct LoadedLora {
    format: &'static dyn AdapterFormat,
    adapter: ForeignAdapter,
    scale: f64,
}

/// Reads all files.
///
/// # Errors
/// If one holds no adapter, or is damaged.
pub fn read(loras: &[Lora]) -> Result<Vec<LoadedLora>, Failure> {
    let read = |Lora { file, scale }: &Lora| {
        let (format, adapter) = formats::open(file)?;
        Ok(LoadedLora { format, adapter, scale: *scale })
    };
    loras.iter().map(read).collect()
}

/// The model with all of them in its weights.
///
/// # Errors
/// If one belongs to another model.
pub fn merge<B: KernelBackend>(
    mut model: StableDiffusion<B>,
    loras: &[LoadedLora],
    terminal: &Terminal,
) -> Result<StableDiffusion<B>, Failure> {
    for LoadedLora { format, adapter, scale } in loras {
        model = model.merged_with(*format, adapter, *scale)?;
        let (modules, path) = (adapter.modules.len(), adapter.path.display());
        let format = format.name();
        terminal.line("lora", format!("{path} ({format}): matched {modules}/{modules} modules"));
        incomplete::warn(adapter, terminal);
        if !adapter.words.is_empty() {
            let words = adapter.words.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
            terminal.warning(format!(
                "{path}: its words {words} are not used; `seqlora import` makes a concept with them"
            ));
        }
    }
    Ok(model)
}
