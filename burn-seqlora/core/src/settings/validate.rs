//! Settings without a meaning are refused by name.

use super::choices::{Hvp, Memory};
use super::config::TrainConfig;
use crate::bank::is_concept_id;
use crate::check::{at_least_one, at_most, not_negative};
use crate::error::{Error, Result};
use crate::precision::Precision;
use crate::text::next_placeholder;

impl TrainConfig {
    /// # Errors
    /// If a setting has no meaning; names it.
    pub fn validate(&self) -> Result<()> {
        if self.protected_directions > 0 && self.common_prompts.is_empty() {
            return Err(Error::Invalid("`protected_directions` needs `common_prompts`".into()));
        }
        if let Some((_, id, _)) = self.common_prompts.iter().find_map(|p| next_placeholder(p)) {
            return Err(Error::Invalid(format!("`common_prompts` may not name <{id}>")));
        }
        if let Some(group) = self.orthogonal_within.as_ref().filter(|name| !is_concept_id(name)) {
            let group = group.escape_debug();
            return Err(Error::Invalid(format!(
                "`orthogonal_within` is `{group}`; use letters A-Z a-z, digits, `.`, `_` and `-`"
            )));
        }
        if self.min_snr_gamma.is_some_and(|gamma| !(gamma > 0.0 && gamma.is_finite())) {
            return Err(Error::Invalid("`min_snr_gamma` must be above 0".into()));
        }
        if self.memory == Memory::Low && self.attention_weight > 0.0 {
            return Err(Error::Invalid(
                "`memory` = low keeps no attention, which `attention_weight` needs".into(),
            ));
        }
        if self.images_at_once() < self.batch && self.attention_weight > 0.0 {
            return Err(Error::Invalid(
                "`attention_weight` compares the images of a whole minibatch, which `micro_batch` divides"
                    .into(),
            ));
        }
        self.transform.validate()?;
        self.check_precision()?;
        self.check_counts()?;
        let before = self.continued_from.unwrap_or(0);
        if before >= self.steps {
            return Err(Error::Invalid("`continued_from` must be below `steps`".into()));
        }
        if self.warmup_steps >= self.steps - before {
            return Err(Error::Invalid("`warmup_steps` must be below `steps`".into()));
        }
        not_negative([
            ("lr_unet", self.lr_unet),
            ("lr_text", self.lr_text),
            ("lr_token", self.lr_token),
            ("lr_down_ratio", self.lr_down_ratio),
            ("ridge", self.ridge),
            ("weight_decay", self.weight_decay),
            ("noise_offset", self.noise_offset),
            ("attention_weight", self.attention_weight),
            ("prior_weight", self.prior_weight),
            ("down_norm", self.down_norm),
            ("token_std", self.token_std),
            ("token_norm_limit", self.token_norm_limit),
        ])
    }

    /// Counts are multiplied with each other and with sizes of layers: within these limits all products fit
    /// 64 bits.
    fn check_counts(&self) -> Result<()> {
        at_least_one([
            ("rank", self.rank),
            ("steps", self.steps),
            ("batch", self.batch),
            ("micro_batch", self.micro_batch.unwrap_or(1)),
            ("outer", self.outer),
            ("inner", self.inner),
            ("crops", self.crops),
            ("probes", self.probes),
            ("concepts", self.concepts.unwrap_or(1)),
            ("save_every", self.save_every),
        ])?;
        at_most([
            ("rank", self.rank, 1 << 16),
            ("steps", self.steps, 100_000_000),
            ("batch", self.batch, 1 << 16),
            ("outer", self.outer, 10_000),
            ("inner", self.inner, 10_000),
            ("crops", self.crops, 10_000),
            ("probes", self.probes, 10_000),
            ("protected_directions", self.protected_directions, 1 << 16),
            ("resolution", self.resolution.unwrap_or(0), 1 << 14),
            ("concepts", self.concepts.unwrap_or(0), 1_000_000),
        ])
    }

    /// Training in f16 would need a scaled loss: its gradient at the network's output is about 2 / (latents ×
    /// batch), 6e-5 at 64 x 64 and batch 8, where f16 has its smallest normal number.
    fn check_precision(&self) -> Result<()> {
        let refused = match (self.precision, self.hvp) {
            (Precision::F16, _) => {
                "`precision` is f16, in which small gradients vanish; train in bf16, which takes as much \
                 memory, or in f32"
            }
            (Precision::Bf16, Hvp::FiniteDifference) => {
                "`hvp` is finite-difference, which needs `precision` = f32: in bf16 the difference of two \
                 gradients is round-off; use `hvp` = exact"
            }
            _ => return Ok(()),
        };
        Err(Error::Invalid(refused.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protected_directions_need_prompts() {
        let without = TrainConfig { protected_directions: 4, ..TrainConfig::default() };
        assert!(without.validate().unwrap_err().to_string().contains("`common_prompts`"));
        let with = TrainConfig { common_prompts: vec!["a dog".into()], ..without };
        with.validate().unwrap();
        let named = TrainConfig { common_prompts: vec!["a <dog6>".into()], ..with };
        assert!(named.validate().unwrap_err().to_string().contains("<dog6>"));
    }

    #[test]
    fn groups_have_names_that_can_be_printed() {
        let group = |name: &str| TrainConfig {
            orthogonal_within: Some(name.into()),
            ..TrainConfig::default()
        };
        group("pets-2").validate().unwrap();
        for bad in ["", "my pets", "\u{1b}[2J"] {
            assert!(group(bad).validate().unwrap_err().to_string().contains("`orthogonal_within`"));
        }
    }

    #[test]
    fn precisions_whose_gradients_are_meaningless_are_refused() {
        let bf16 = TrainConfig { precision: Precision::Bf16, ..TrainConfig::default() };
        bf16.validate().unwrap();
        let f16 = TrainConfig { precision: Precision::F16, ..TrainConfig::default() };
        assert!(f16.validate().unwrap_err().to_string().contains("bf16"));
        let differences = TrainConfig { hvp: Hvp::FiniteDifference, ..bf16 };
        assert!(differences.validate().unwrap_err().to_string().contains("`hvp`"));
        TrainConfig { precision: Precision::F32, ..differences }.validate().unwrap();
    }

    #[test]
    fn a_schedule_has_steps() {
        let config = TrainConfig { steps: 8, ..TrainConfig::default() };
        let error = |config: &TrainConfig| config.validate().unwrap_err().to_string();
        let nothing = TrainConfig { continued_from: Some(8), ..config.clone() };
        assert!(error(&nothing).contains("`continued_from`"));
        let late = TrainConfig { warmup_steps: 8, ..config };
        assert!(error(&late).contains("`warmup_steps`"));
    }
}
