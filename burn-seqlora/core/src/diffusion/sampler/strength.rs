//! The end of a sampler's way, for an image that is to be changed and not made from noise.

use super::SamplerPlan;
use crate::diffusion::schedule::ScheduleError;

impl SamplerPlan {
    /// The last ⌊steps · strength⌋ steps, which begin with an image's latents and as much noise as the
    /// first of them expects: image-to-image as diffusers' `StableDiffusionImg2ImgPipeline` does it
    /// (SDEdit, Meng et al. 2021, arXiv 2108.01073).
    ///
    /// At strength 1 no step is left out, but the latents still are a part of the first sample: √ᾱ of
    /// the noisiest level, 0.07 in Stable Diffusion.
    ///
    /// # Errors
    /// [`ScheduleError::Strength`] if no step is left, or the strength is above 1.
    pub fn from_image(mut self, strength: f64) -> Result<Self, ScheduleError> {
        let steps = self.steps.len();
        let kept = (steps as f64 * strength) as usize;
        if kept == 0 || strength > 1.0 {
            return Err(ScheduleError::Strength { strength, steps });
        }
        self.steps.drain(..steps - kept);
        let first = &mut self.steps[0];
        // There is no earlier estimate: the first step is of first order, as it always is.
        first.next_from_x0 += first.next_from_previous_x0;
        first.next_from_previous_x0 = 0.0;
        (self.init_signal, self.init_noise_sigma) = (first.signal, first.noise);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::config;
    use super::super::{SamplerKind, SamplerPlan};

    fn plan(kind: SamplerKind, steps: usize) -> SamplerPlan {
        SamplerPlan::new(kind, &config(""), steps).unwrap()
    }

    /// The steps are those of the whole plan, but for the order of the first.
    #[test]
    fn strength_cuts_the_noisiest_steps() {
        for kind in SamplerKind::ALL {
            let whole = plan(kind, 20);
            let cut = whole.clone().from_image(0.6).unwrap();
            assert_eq!(cut.steps.len(), 12);
            assert_eq!(cut.steps[1..], whole.steps[9..], "{kind}");
            let (first, same) = (&cut.steps[0], &whole.steps[8]);
            assert_eq!((first.timestep, first.noise), (same.timestep, same.noise));
            assert_eq!(first.next_from_previous_x0, 0.0);
            assert_eq!((cut.init_signal, cut.init_noise_sigma), (same.signal, same.noise));
        }
    }

    #[test]
    fn at_strength_one_every_step_is_left_and_the_image_too() {
        for kind in SamplerKind::ALL {
            let whole = plan(kind, 20);
            let all = whole.clone().from_image(1.0).unwrap();
            assert_eq!(all.steps, whole.steps);
            assert!(all.init_signal > 0.05, "{kind}");
        }
    }

    #[test]
    fn strengths_that_are_none_are_refused() {
        for strength in [0.0, 0.04, 1.01, -1.0, f64::NAN, f64::INFINITY] {
            let error = plan(SamplerKind::Euler, 20).from_image(strength).unwrap_err().to_string();
            assert!(error.contains("of 20 steps; it must be from 1/steps to 1"), "{error}");
        }
    }
}
