//! The settings that diffusers' `StableDiffusionPipeline` puts in the place of a file's.

use super::config::SchedulerConfig;

impl SchedulerConfig {
    /// The config as `StableDiffusionPipeline` uses it, whatever its file says: with an offset of 1 and
    /// without clipping (diffusers 0.42, `pipeline_stable_diffusion.py`). Returns a sentence about each
    /// key that this changes.
    ///
    /// Old files have neither key, and their schedulers' defaults, 0 and true, are not what Stable
    /// Diffusion was trained with.
    pub fn in_pipeline(self) -> (Self, Vec<String>) {
        let mut notes = Vec::new();
        if self.steps_offset != Some(1) {
            notes.push(note("steps_offset", self.steps_offset, 1));
        }
        if self.clip_sample != Some(false) {
            notes.push(note("clip_sample", self.clip_sample, false));
        }
        (Self { steps_offset: Some(1), clip_sample: Some(false), ..self }, notes)
    }
}

fn note<T: ToString>(key: &str, found: Option<T>, used: T) -> String {
    let found = found.map_or("missing".into(), |value| value.to_string());
    let used = used.to_string();
    format!("`{key}` is {found}; {used} is used, as in diffusers' StableDiffusionPipeline")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::{SamplerKind, SamplerPlan};

    fn plan(config: &SchedulerConfig) -> SamplerPlan {
        SamplerPlan::new(SamplerKind::Ddim, config, 20).unwrap()
    }

    /// Files that say what the pipeline does anyway are left alone; from all others the same plan comes.
    #[test]
    fn every_file_samples_as_in_the_pipeline() {
        let text = r#"{"beta_end":0.012,"beta_schedule":"scaled_linear","beta_start":0.00085,
            "clip_sample":false,"set_alpha_to_one":false,"steps_offset":1}"#;
        let current = SchedulerConfig::from_json(text).unwrap();
        let (same, notes) = current.clone().in_pipeline();
        assert!(same == current && notes.is_empty(), "{notes:?}");
        for (steps_offset, clip_sample, expected) in [
            (Some(0), Some(false), vec!["`steps_offset` is 0; 1 is used"]),
            (Some(1 << 60), Some(false), vec!["`steps_offset` is 1152921504606846976"]),
            (Some(1), Some(true), vec!["`clip_sample` is true; false is used"]),
            (None, None, vec!["`steps_offset` is missing", "`clip_sample` is missing"]),
        ] {
            let old = SchedulerConfig { steps_offset, clip_sample, ..current.clone() };
            let (used, notes) = old.in_pipeline();
            assert_eq!(plan(&used), plan(&current));
            assert_eq!(notes.len(), expected.len());
            assert!(notes.iter().zip(expected).all(|(note, start)| note.starts_with(start)));
        }
    }
}
