//! What one image is to show, and how it is sampled.

use seqlora_core::diffusion::{LevelLayout, SamplerKind};
use std::sync::Arc;

use image::RgbImage;
use seqlora_core::pipeline::{Image, ImageRequest, InitImage, SamplingSettings, TextSettings};

/// One image that is asked for. The same prompt with the same settings gives the same image.
///
/// Concepts are written `<id>`. The defaults are seed 0, 25 steps of DPM-Solver++ (2M), and the model's
/// own guidance and image size.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # #[cfg(all(feature = "cpu", feature = "toy-world"))] {
/// use burn_seqlora::diffusion::SamplerKind;
/// use burn_seqlora::prelude::*;
///
/// let pipeline = Pipeline::<Flex>::load("builtin")?;
/// let prompt = Prompt::new("a red ball left of a blue car on grass")
///     .negative("a house")
///     .seed(7)
///     .sampler(SamplerKind::Euler)
///     .steps(2)
///     .guidance(4.0)
///     .size(64, 32)
///     .region([0, 0, 32, 32], "a red ball");
/// let image = pipeline.generate(prompt.clone())?;
/// assert_eq!(image.dimensions(), (64, 32));
/// assert_ne!(image, pipeline.generate(prompt.clone().number(1))?, "another image of the same seed");
/// let changed = pipeline.generate(prompt.init(image.clone(), 0.5))?;
/// assert_ne!(image, changed);
/// # }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    text: String,
    negative: String,
    regions: Vec<([usize; 4], String)>,
    seed: u64,
    number: usize,
    guidance: Option<f64>,
    /// Its guidance is not used: `guidance` or the model's own replaces it.
    sampling: SamplingSettings,
}

impl Prompt {
    /// Asks for an image of this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            negative: String::new(),
            regions: Vec::new(),
            seed: 0,
            number: 0,
            guidance: None,
            sampling: SamplingSettings::default(),
        }
    }

    /// Sets the negative prompt, which guidance leads away from; empty by default.
    pub fn negative(self, text: impl Into<String>) -> Self {
        Self { negative: text.into(), ..self }
    }

    /// Adds a prompt for a box of the image, given by its left, top, right and bottom in pixels. Where
    /// boxes overlap, their prompts have equal weight; the main prompt applies outside all boxes.
    pub fn region(mut self, corners: [usize; 4], text: impl Into<String>) -> Self {
        self.regions.push((corners, text.into()));
        self
    }

    /// Sets the share that the main prompt keeps inside of boxes, 0 to 1; 0 by default.
    pub fn region_base(mut self, share: f64) -> Self {
        self.sampling.region_base = share;
        self
    }

    /// Sets the seed of the noise.
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Chooses one of the images of the seed, counted from 0.
    pub fn number(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// Sets the number of sampling steps.
    pub fn steps(mut self, steps: usize) -> Self {
        self.sampling.steps = steps;
        self
    }

    /// Sets the scale of classifier-free guidance; 1 or less is none, as in diffusers, and halves the work.
    pub fn guidance(self, guidance: f64) -> Self {
        Self { guidance: Some(guidance), ..self }
    }

    /// Sets the sampler.
    pub fn sampler(mut self, sampler: SamplerKind) -> Self {
        self.sampling.sampler = sampler;
        self
    }

    /// Sets the sampler's noise levels: another spacing of the timesteps, or Karras levels.
    pub fn layout(mut self, layout: LevelLayout) -> Self {
        self.sampling.layout = layout;
        self
    }

    /// Changes this image in place of making one from noise, and sets the size to its own. A `strength` of
    /// 1 takes all steps and keeps hardly anything of it, 0.5 takes the second half of them.
    pub fn init(mut self, image: RgbImage, strength: f64) -> Self {
        let [width, height] = [image.width() as usize, image.height() as usize];
        let image = Arc::new(Image { width, height, rgb: image.into_raw() });
        self.sampling.size = Some([width, height]);
        self.sampling.init = Some(InitImage { image, strength });
        self
    }

    /// Sets how prompts are read and encoded: literally or with A1111's weights and chunks, and by which
    /// layer of the text encoder. By default literally, and by the last one.
    pub fn text(mut self, text: TextSettings) -> Self {
        self.sampling.text = text;
        self
    }

    /// Sets width and height in pixels. [`generate`](crate::Pipeline::generate) refuses sizes that are no
    /// multiples of the model's unit (64 pixels in Stable Diffusion 1.x and 2.x).
    pub fn size(mut self, width: usize, height: usize) -> Self {
        self.sampling.size = Some([width, height]);
        self
    }

    /// The request and settings for the core pipeline; `guidance` is the model's own.
    pub(crate) fn into_request(self, guidance: f64) -> (ImageRequest, SamplingSettings) {
        let settings =
            SamplingSettings { guidance: self.guidance.unwrap_or(guidance), ..self.sampling };
        let request = ImageRequest::new(self.text, self.seed, self.number);
        (ImageRequest { negative: self.negative, regions: self.regions, ..request }, settings)
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_guidance_is_for_prompts_that_give_none() {
        let guidance = |prompt: Prompt| prompt.into_request(3.0).1.guidance;
        assert_eq!(guidance("a mug".into()), 3.0);
        assert_eq!(guidance(Prompt::new("a mug").guidance(5.5)), 5.5);
    }
}
