//! Everything random about one evaluation of the loss.

use std::ops::Range;

use burn::tensor::{Tensor, backend::Backend};

use crate::rng::{Seed, normal};

/// The latents of some placements of images.
pub(super) struct Latents<B: Backend> {
    /// Mean and standard deviation, `[placements, channels, height, width]`.
    pub mean: Tensor<B, 4>,
    pub std: Tensor<B, 4>,
    /// Where the loss counts, `[placements, 1, height, width]`.
    pub mask: Tensor<B, 4>,
    /// Where the subject is, for the attention's term.
    pub subject: Option<Tensor<B, 4>>,
}

/// What is drawn for one evaluation.
pub(super) struct Draw<B: Backend> {
    /// x₀ and ε, `[batch, channels, height, width]`.
    pub latents: Tensor<B, 4>,
    pub noise: Tensor<B, 4>,
    /// t, one per image.
    pub timesteps: Vec<usize>,
    /// One per image, with `{}` in the concept's place.
    pub captions: Vec<String>,
    /// Where the loss counts, and where the subject is, as in [`Latents`].
    pub mask: Tensor<B, 4>,
    pub subject: Option<Tensor<B, 4>>,
}

impl<B: Backend> Latents<B> {
    /// Those of all placements.
    pub fn cat(all: &[Self]) -> Self {
        let cat = |part: fn(&Self) -> &Tensor<B, 4>| {
            Tensor::cat(all.iter().map(|latents| part(latents).clone()).collect(), 0)
        };
        let subject = all.iter().map(|latents| latents.subject.clone()).collect::<Option<Vec<_>>>();
        Self {
            mean: cat(|l| &l.mean),
            std: cat(|l| &l.std),
            mask: cat(|l| &l.mask),
            subject: subject.map(|subject| Tensor::cat(subject, 0)),
        }
    }

    /// Draws x₀ and ε, the latter with an offset of each channel's mean (`noise_offset` times normal numbers).
    pub fn draw(
        &self,
        timesteps: Vec<usize>,
        captions: Vec<String>,
        (seed, counter): (&Seed, u64),
        noise_offset: f64,
    ) -> Draw<B> {
        let Self { mean, std, mask, subject } = self;
        let (shape @ [batch, channels, _, _], device) = (mean.dims(), mean.device());
        let draw =
            |purpose: &str, shape| normal(shape, &mut seed.fork(purpose).at(counter), &device);
        let latents = mean.clone() + std.clone() * draw("latents", shape);
        let offset: Tensor<B, 4> = draw("offset", [batch, channels, 1, 1]);
        let noise = draw("noise", shape) + offset.mul_scalar(noise_offset);
        Draw { latents, noise, timesteps, captions, mask: mask.clone(), subject: subject.clone() }
    }
}

impl<B: Backend> Draw<B> {
    /// Some of its images.
    pub fn part(&self, images: Range<usize>) -> Self {
        let of = |t: &Tensor<B, 4>| t.clone().narrow(0, images.start, images.len());
        Self {
            latents: of(&self.latents),
            noise: of(&self.noise),
            timesteps: self.timesteps[images.clone()].to_vec(),
            captions: self.captions[images.clone()].to_vec(),
            mask: of(&self.mask),
            subject: self.subject.as_ref().map(of),
        }
    }
}
