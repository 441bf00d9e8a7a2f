//! The memory that an evaluation takes.

use std::path::Path;

use burn_seqlora::FoundModel;
use burn_seqlora::eval::protocol::Protocol;
use burn_seqlora::precision::Precision;
use image::ImageReader;
use serde::Serialize;

use crate::args::Evaluate;
use crate::commands::generate::memory::{Sampling, estimate};
use crate::commands::memory;
use crate::failure::Failure;

/// Bytes of the host or the device. The networks of metrics come when the base model is gone.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Needs {
    /// The base model.
    pub weights: usize,
    /// What sampling takes besides.
    pub sampling: usize,
    /// The decoded references, which stay.
    pub references: usize,
}

impl Needs {
    /// Those of an evaluation whose images this model makes.
    ///
    /// # Errors
    /// If the model cannot make images of this size.
    pub fn new(
        args: &Evaluate,
        protocol: &Protocol,
        found: &FoundModel,
        precision: Precision,
        references: usize,
    ) -> Result<Self, Failure> {
        let config = found.config();
        let latents = config.image_sizes().latent_shape(protocol.sampling.size)?;
        let weights = found.weight_bytes(precision)?;
        let sampling = estimate(config, Sampling { batch: args.batch, latents, kept: 0 });
        Ok(Self { weights, sampling, references })
    }

    /// All of it.
    pub fn total(self) -> usize {
        self.weights.saturating_add(self.sampling).saturating_add(self.references)
    }

    /// Refuses to load a model and to sample what this machine cannot hold, with the references there already.
    ///
    /// # Errors
    /// Says how much is needed and how much there is.
    pub fn check(self) -> Result<(), Failure> {
        memory::check(
            self.weights.saturating_add(self.sampling),
            "the model and its images need",
            "take a smaller --size, --batch or --precision",
        )
    }
}

/// Refuses references that this machine cannot hold.
///
/// # Errors
/// Says how much is needed and how much there is.
pub fn check_references(bytes: usize) -> Result<(), Failure> {
    memory::check(
        bytes,
        "the decoded references need",
        "evaluate fewer concepts at once: --concept",
    )
}

/// The largest image that is decoded, in pixels. Larger ones are refused one by one, with their names.
const LARGEST: u64 = 100_000_000;

/// Bytes of decoded images, by their headers.
pub fn decoded<'a>(files: impl Iterator<Item = &'a Path>) -> usize {
    let pixels = |file: &Path| {
        // Their names may tell another format.
        let reader = ImageReader::open(file).ok()?.with_guessed_format().ok()?;
        let (width, height) = reader.into_dimensions().ok()?;
        Some(u64::from(width) * u64::from(height)).filter(|pixels| *pixels <= LARGEST)
    };
    let bytes = files.filter_map(pixels).map(|pixels| 3 * pixels as usize);
    bytes.fold(0, usize::saturating_add)
}
