//! The protocols of published tables.

use seqlora_core::diffusion::SamplerKind;
use serde::{Deserialize, Serialize};

use crate::PromptText;

/// A published protocol, from which single settings may differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// 20 prompts × 5 seeds per concept with the model of all concepts, DDIM in 50 steps, guidance 7.5.
    /// The paper (arXiv 2605.22743) does not say how it samples; this is Mix-of-Show's way.
    #[default]
    Paper,
    /// CustomConcept101: 20 prompts × 5 seeds, 200 steps of DDPM (DDIM with η = 1), guidance 6.
    Cc101,
    /// Mix-of-Show (arXiv 2305.18292): 20 prompts × 50 images, DDIM in 50 steps, guidance 7.5, a negative
    /// prompt, and "A photo depicts " before prompts that are scored.
    MixOfShow,
}

/// How images are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingConfig {
    /// The sampler.
    pub sampler: SamplerKind,
    /// Sampling steps.
    pub steps: usize,
    /// Classifier-free guidance; 1 or less is none.
    pub guidance: f64,
    /// The negative prompt.
    pub negative: String,
    /// Width and height in pixels; the model's own where not given.
    pub size: Option<[usize; 2]>,
}

/// The negative prompt of Mix-of-Show's sampling script.
const NEGATIVE: &str = "longbody, lowres, bad anatomy, bad hands, missing fingers, extra digit, fewer digits, \
                        cropped, worst quality, low quality";

impl Profile {
    /// Every profile.
    pub const ALL: [Self; 3] = [Self::Paper, Self::Cc101, Self::MixOfShow];

    /// The name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Cc101 => "cc101",
            Self::MixOfShow => "mixofshow",
        }
    }

    /// How it samples.
    pub fn sampling(self) -> SamplingConfig {
        let (sampler, steps, guidance) = match self {
            Self::Paper | Self::MixOfShow => (SamplerKind::Ddim, 50, 7.5),
            Self::Cc101 => (SamplerKind::Ddpm, 200, 6.0),
        };
        let negative = if self == Self::MixOfShow { NEGATIVE } else { "" };
        SamplingConfig { sampler, steps, guidance, negative: negative.into(), size: None }
    }

    /// The seeds, one for each image of a prompt. All prompts have the same ones, so that images of two
    /// methods or stages start from the same noise.
    pub fn seeds(self) -> Vec<u64> {
        match self {
            Self::Paper | Self::Cc101 => (0..5).collect(),
            Self::MixOfShow => (1..=50).collect(),
        }
    }

    /// What prompts are turned into before they are scored.
    pub fn prompt_text(self) -> PromptText {
        let prefix = if self == Self::MixOfShow { "A photo depicts " } else { "" };
        PromptText { prefix: prefix.into(), keep_words: false }
    }

    /// In what a run of this profile is not the published protocol in any case.
    pub fn limits(self) -> &'static [&'static str] {
        match self {
            Self::Paper => &["the paper does not state its sampler, seeds and prompts"],
            Self::Cc101 => &["CustomConcept101 does not state its seeds"],
            Self::MixOfShow => &[],
        }
    }
}

impl SamplingConfig {
    /// The settings in which this is not a profile's sampling, in sentences.
    pub fn deviations(&self, profile: Profile) -> Vec<String> {
        let usual = profile.sampling();
        let name = profile.name();
        let pairs = [
            ("sampler", self.sampler.to_string(), usual.sampler.to_string()),
            ("steps", self.steps.to_string(), usual.steps.to_string()),
            ("guidance", self.guidance.to_string(), usual.guidance.to_string()),
            ("negative prompt", format!("{:?}", self.negative), format!("{:?}", usual.negative)),
        ];
        let differs = pairs.into_iter().filter(|(_, own, usual)| own != usual);
        let said = differs.map(|(what, own, usual)| format!("{what}: {own}; {name} has {usual}"));
        let size = self.size.map(|[width, height]| format!("size: {width}x{height}"));
        said.chain(size).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_name_both_values() {
        let sampling = SamplingConfig { steps: 20, guidance: 3.0, ..Profile::Paper.sampling() };
        let expected = ["steps: 20; paper has 50", "guidance: 3; paper has 7.5"];
        assert_eq!(sampling.deviations(Profile::Paper), expected);
        for profile in Profile::ALL {
            assert!(profile.sampling().deviations(profile).is_empty());
            let name = serde_json::to_string(&profile).unwrap();
            assert_eq!(name, format!("\"{}\"", profile.name()));
        }
    }
}
