//! What is found out before the model is loaded.

use std::io;
use std::path::Path;

use burn::tensor::TensorData;
use burn_seqlora::FoundModel;
use burn_seqlora::compose::Member;
use burn_seqlora::diffusion::{Area, ScheduleError};
use burn_seqlora::error::Error;
use burn_seqlora::files::check_target;
use burn_seqlora::pipeline::SamplingSettings;

use super::init::wrong_size;
use super::latents::read_latents;
use super::memory::{self, Sampling};
use super::orders::Order;
use crate::args::Generate;
use crate::commands::target::check_new;
use crate::device::Device;
use crate::failure::Failure;

/// Checks that the prompts can be read.
///
/// # Errors
/// Says what in one of them cannot be meant.
pub fn check_weights(prompts: &[&str], settings: &SamplingSettings) -> Result<(), Failure> {
    let wrong = |error| Failure::Usage(format!("{error}; --plain-prompts takes prompts literally"));
    prompts
        .iter()
        .try_for_each(|prompt| settings.text.syntax.parts(prompt).map(drop).map_err(wrong))
}

/// Checks that no strength is given to what is fused, which has its own.
///
/// # Errors
/// Names the concept.
pub fn check_strengths(args: &Generate, members: &[Member]) -> Result<(), Failure> {
    match members.iter().find(|member| args.fused.is_some() && member.scale != 1.0) {
        None => Ok(()),
        Some(Member { id, scale }) => Err(Failure::Usage(format!(
            "--concept {id}={scale} has no effect on what is fused already; give it to `seqlora fuse`"
        ))),
    }
}

/// Checks that images and latents can be written where they go, and that the latents replace no file.
///
/// # Errors
/// Names the place.
pub fn check_outputs(args: &Generate) -> Result<(), Failure> {
    let exists = |folder: &&Path| folder.as_os_str().is_empty() || folder.exists();
    let nearest = args.out.ancestors().find(exists).unwrap_or(Path::new(""));
    if !nearest.as_os_str().is_empty() && !nearest.is_dir() {
        let error = io::Error::from(io::ErrorKind::NotADirectory);
        return Err(Error::io("cannot create", &args.out)(error).into());
    }
    check_target(&nearest.join("00000.png.check"))?;
    if let Some(file) = &args.save_latents {
        check_new("--save-latents", file)?;
    }
    Ok(())
}

/// Checks what the model's configs say about the images, and reads the latents that they start from.
///
/// # Errors
/// If the model or the machine cannot make such images, or the latents cannot be read.
pub fn check_model(
    args: &Generate,
    settings: &SamplingSettings,
    orders: &[Order],
    found: &FoundModel,
    device: Device,
) -> Result<Vec<Option<TensorData>>, Failure> {
    let config = found.config();
    let size = config.image_sizes().pixels(settings.size).map_err(wrong_size)?;
    let shape = config.image_sizes().latent_shape(settings.size).map_err(wrong_size)?;
    for region in &args.region {
        Area::new(region.corners, size).map_err(Failure::usage)?;
    }
    settings.plan(&config.scheduler).map_err(|error| match error {
        ScheduleError::Strength { .. } => Failure::usage(format!("--strength: {error}")),
        error => error.into(),
    })?;
    // The library's "clip skip 13: …" as the option that was given.
    let as_option = |error: Error| error.to_string().replacen("clip skip", "--clip-skip", 1);
    let wrong_layer = |error| Failure::Usage(as_option(error));
    let layers = config.text_encoder.num_hidden_layers;
    settings.text.layers(layers).map_err(wrong_layer)?;
    let files = [args.latents.is_some(), args.save_latents.is_some()];
    let kept = files.iter().filter(|kept| **kept).count() * orders.len();
    let batch = args.batch.min(orders.len());
    if device == Device::Cpu && !args.force {
        memory::check(config, Sampling { batch, latents: shape, kept })?;
    }
    let [_, channels, height, width] = shape;
    match &args.latents {
        Some(file) => {
            let all = read_latents(file, [orders.len(), channels, height, width])?;
            Ok(all.into_iter().map(Some).collect())
        }
        None => Ok(vec![None; orders.len()]),
    }
}
