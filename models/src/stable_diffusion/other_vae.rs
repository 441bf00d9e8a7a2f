//! Another VAE in the place of a model's own: a diffusers folder, or a single file.

use std::path::Path;

use super::component::ComponentFiles;
use crate::vae::VaeConfig;
use crate::weights::{
    Header, KeyLayout, KeyTable, ModelError, Variant, WeightFiles, ldm, read_config,
};

/// Finds a VAE for a model whose own has this config.
///
/// # Errors
/// If it is missing or damaged, has other latents, or a file holds none.
pub(super) fn other_vae(
    path: &Path,
    variant: Variant,
    own: &VaeConfig,
) -> Result<(VaeConfig, ComponentFiles), ModelError> {
    match path.is_file() {
        true => in_file(path, own),
        false => in_folder(path, variant, own),
    }
}

/// A file has no config: its VAE is taken to have the sizes of the model's own, with which its shapes are compared
/// where it is loaded.
fn in_file(file: &Path, own: &VaeConfig) -> Result<(VaeConfig, ComponentFiles), ModelError> {
    let header = Header::read(file)?;
    let layout = match ldm::vae_in(&header, own) {
        Some(renaming) => KeyLayout::single_file(renaming, KeyTable::VAE),
        None if header.has_under("encoder.down_blocks.") => KeyTable::VAE.into(),
        None => {
            let reason = "it holds no VAE: no key begins with `encoder.down_blocks.` (diffusers' names) or with \
                          `first_stage_model.` or `encoder.down.` (the original ones); give a VAE's file, or its \
                          diffusers folder";
            return Err(ModelError::config(file, reason));
        }
    };
    Ok((own.clone(), ComponentFiles::in_file(file, layout)))
}

fn in_folder(
    folder: &Path,
    variant: Variant,
    own: &VaeConfig,
) -> Result<(VaeConfig, ComponentFiles), ModelError> {
    let file = folder.join("config.json");
    let vae = VaeConfig::parse(&read_config(&file)?, &file)?;
    if [vae.latent_channels, vae.downscale()] != [own.latent_channels, own.downscale()] {
        let reason = format!(
            "its latents have {} channels and {} pixels a side each, those of the model {} and {}",
            vae.latent_channels,
            vae.downscale(),
            own.latent_channels,
            own.downscale()
        );
        return Err(ModelError::config(&file, reason));
    }
    let files = WeightFiles::find_variant(folder, variant)?;
    Ok((vae, ComponentFiles { files, layout: KeyTable::VAE.into() }))
}
