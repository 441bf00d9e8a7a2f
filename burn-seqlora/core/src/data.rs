//! What training asks of its data, and how captions and images are varied.
//!
//! This crate decodes no image: `seqlora-data` implements [`ConceptData`] for folders and manifests.

use std::fmt::Debug;

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::flow::Flow;

/// What one concept is learnt from: images, and the prompts that describe them.
pub trait ConceptData: Debug + Sync {
    /// The concept's name in prompts, `<id>`; safe as the name of a folder.
    fn id(&self) -> &str;

    /// What kind of thing it is, in plain words ("dog").
    fn class_word(&self) -> &str;

    /// The names of its images, for the record.
    fn image_names(&self) -> Vec<String>;

    /// Minibatches, where the data ask for a number.
    fn steps(&self) -> Option<usize>;

    /// Images of other things of the class, whose look is to be kept, with captions in which `{}` stands for the
    /// class word; `None` without.
    fn class_images(&self) -> Option<&dyn ConceptData> {
        None
    }

    /// Reads every file that the concept is learnt from, once, and decodes each image to see that it can be
    /// used; one after the other, so that memory does not grow with their number. `progress` is told how
    /// many images are done.
    ///
    /// # Errors
    /// Names every image that cannot be used. [`Error::Stopped`] if `progress` says so.
    fn examine(&self, progress: &mut dyn FnMut(usize) -> Flow) -> Result<Examination>;

    /// Checks that captions and templates name no other concept.
    ///
    /// # Errors
    /// Names the first that does.
    fn check(&self) -> Result<()>;

    /// The longest form of every prompt that [`caption`](Self::caption) may give.
    fn prompts(&self, options: &CaptionOptions) -> Vec<String>;

    /// The prompt of an image for one training step; it holds `{}` once, in the concept's place.
    ///
    /// # Panics
    /// If there is no such image.
    fn caption(&self, image: usize, options: &CaptionOptions, rng: &mut ChaCha8Rng) -> String;

    /// Opens the images, to be fitted into squares of `size` pixels whose latents have `size / factor`
    /// pixels per side. They are decoded when they are asked for.
    ///
    /// # Errors
    /// If `size` is not a positive multiple of `factor`.
    fn open(&self, size: usize, factor: usize) -> Result<Box<dyn Examples + '_>>;
}

/// What a pass over all files of a concept found.
#[derive(Debug, Clone, PartialEq)]
pub struct Examination {
    /// A digest of everything that the concept is learnt from.
    pub digest: String,
    /// Pixels of the largest image.
    pub largest_image: usize,
    /// How much of their images the subject masks cover; `None` without masks.
    pub mask_coverage: Option<MaskCoverage>,
}

/// Shares of their images that subject masks cover.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MaskCoverage {
    /// The smallest.
    pub least: f64,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub most: f64,
}

impl MaskCoverage {
    /// Of these shares; `None` if there are none.
    pub fn of(shares: &[f64]) -> Option<Self> {
        let least = shares.iter().copied().reduce(f64::min)?;
        let most = shares.iter().copied().reduce(f64::max)?;
        Some(Self { least, mean: shares.iter().sum::<f64>() / shares.len() as f64, most })
    }
}

/// The images of one concept.
pub trait Examples: Debug {
    /// The number of images.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An image as a training example; the same state of `rng` gives the same one.
    ///
    /// # Errors
    /// If the image cannot be read.
    fn example(&self, image: usize, transform: &Transform, rng: &mut ChaCha8Rng)
    -> Result<Example>;
}

/// One training example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Colours in [-1, 1], `[3, size, size]` (channel, row, column); -1 (black) outside the image.
    pub pixels: Vec<f32>,
    /// Where the loss counts, in [0, 1], `[latent_size, latent_size]`: the subject mask inside
    /// the frame; the frame itself if there is no mask, or if nothing of the subject is in view.
    pub mask: Vec<f32>,
    /// Where there is image rather than black border, in [0, 1], `[latent_size, latent_size]`.
    pub frame: Vec<f32>,
    /// Pixels per side.
    pub size: usize,
    /// Latents per side.
    pub latent_size: usize,
}

/// How captions are varied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CaptionOptions {
    /// Shuffle the parts between commas of a user's caption; the first part stays first.
    pub shuffle: bool,
}

/// How an image is fitted into its square. Images are never mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transform {
    /// Short edge to the square's size, the middle of the long edge.
    CenterCrop,
    /// Short edge to the square's size, a random part of the long edge.
    RandomCrop,
    /// A random square part with probability `crop_p`, else the whole image; scaled by one random
    /// factor and pasted at a random place on black (`ResizeFillMaskNew` of Mix-of-Show).
    ResizeFill {
        /// Probability of a square crop, in [0, 1].
        crop_p: f32,
        /// Least and greatest share of the square that the long edge takes, in (0, 1].
        scale: (f32, f32),
    },
}

impl Default for Transform {
    /// Mix-of-Show's preset for animals.
    fn default() -> Self {
        Self::ResizeFill { crop_p: 0.5, scale: (0.5, 1.0) }
    }
}

impl Transform {
    /// Checks the ranges of the fields.
    ///
    /// # Errors
    /// Names the field and its range.
    pub fn validate(&self) -> Result<()> {
        let Self::ResizeFill { crop_p, scale: (least, greatest) } = *self else {
            return Ok(());
        };
        let invalid = |field: &str, reason: String| {
            Err(Error::Invalid(format!("transform.resize_fill.{field}: {reason}")))
        };
        if !(0.0..=1.0).contains(&crop_p) {
            return invalid("crop_p", format!("{crop_p} is not a probability between 0 and 1"));
        }
        if !(0.0 < least && least <= greatest && greatest <= 1.0) {
            let reason = format!("[{least}, {greatest}] must satisfy 0 < least <= greatest <= 1");
            return invalid("scale", reason);
        }
        Ok(())
    }
}
