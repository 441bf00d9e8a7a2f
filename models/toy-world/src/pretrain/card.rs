//! The model card, `training.json`, with the training curves and the checksums of all files.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_core::train::Flow;
use seqlora_files::read_json;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::autoencoding::Fidelity;
use super::classification::ClassifierReport;
use super::config::{PretrainConfig, TaskConfig};
use super::evaluation::{Evaluator, GenerationReport};
use super::folder::{CARD, PretrainError, Pretraining};
use super::guard::copy_file;
use super::state;
use super::train::read_curve;
use crate::classifier::Classifier;
use seqlora_models::blueprint::write_json;
use seqlora_models::weights::write_checksums;

/// How a model was trained, and how good it is.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// The program and its version.
    pub made_by: String,
    /// The settings of the last run. The settings of each part are those of its last training.
    pub config: PretrainConfig,
    /// The training of each part, from its curve.
    pub training: BTreeMap<String, PartTraining>,
    /// The reconstruction quality of the VAE.
    pub autoencoder: Fidelity,
    /// The classifier on reconstructions of the same renders as in its own report: what the VAE loses.
    pub reconstructions: ClassifierReport,
    /// How well generated images agree with held-out captions.
    pub generation: GenerationReport,
}

/// The training of a part, from its curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartTraining {
    /// The number of steps.
    pub steps: usize,
    /// The time of all steps, in seconds.
    pub seconds: f64,
    /// The mean loss over the last twentieth of the curve's lines.
    pub loss: f64,
}

/// The part of an earlier card that a new card takes over.
#[derive(Deserialize)]
struct EarlierCard {
    config: PretrainConfig,
}

impl PartTraining {
    /// Summarises a `curve.jsonl`, each line of which covers the steps since the previous line.
    ///
    /// # Errors
    /// If the file is missing or damaged.
    pub fn of(curve: &Path) -> Result<Self, PretrainError> {
        let lines = read_curve(curve)?;
        let before = [0].into_iter().chain(lines.iter().map(|line| line.step));
        let seconds = lines.iter().zip(before).map(|(l, from)| l.seconds * (l.step - from) as f64);
        let last = &lines[lines.len() - lines.len().div_ceil(20)..];
        Ok(Self {
            steps: lines.last().map_or(0, |line| line.step),
            seconds: seconds.sum(),
            loss: last.iter().map(|line| line.loss).sum::<f64>() / last.len().max(1) as f64,
        })
    }
}

impl Pretraining {
    /// Measures the stored model with `captions` captions of each kind, and writes its card, its
    /// training curves and the checksums of all files. `progress` gets the number of generated
    /// images. Returns `None` if `progress` stopped it; nothing is written then.
    ///
    /// # Errors
    /// If a part is missing or damaged, or a file cannot be written.
    pub fn write_card<B: TrainBackend>(
        &self,
        captions: usize,
        device: &B::Device,
        progress: impl FnMut(usize) -> Flow,
    ) -> Result<Option<Card>, PretrainError> {
        let model = self.model();
        let (training, config) = self.history()?;
        let vae = self.stored_vae::<B::InnerBackend>(device)?;
        let autoencoder = self.autoencoding().fidelity(&vae, 16);
        let task = self.denoising::<B>(device)?;
        let classifier = Classifier::load(&model.join("classifier"), device)?;
        let reconstructions = self.reconstructions(&classifier, &vae, device);
        let network = self.stored_denoiser::<B::InnerBackend>(device)?;
        let evaluator = Evaluator {
            task: &task,
            scheduler: &self.design.scheduler,
            network: &network,
            classifier: &classifier,
        };
        let Some(generation) = GenerationReport::measure(&evaluator, captions, device, progress)?
        else {
            return Ok(None);
        };
        let made_by = format!("seqlora {}", env!("CARGO_PKG_VERSION"));
        let card = Card { made_by, config, training, autoencoder, reconstructions, generation };
        write_json(&model.join(CARD), &json!(card))?;
        write_checksums(&model)?;
        Ok(Some(card))
    }

    /// The training and the settings of each part: from this folder if it was trained here, else
    /// from the card and the curves of the model whose weights it has.
    fn history(&self) -> Result<(BTreeMap<String, PartTraining>, PretrainConfig), PretrainError> {
        let card = self.model().join(CARD);
        let earlier: Option<EarlierCard> = card.exists().then(|| read_json(&card)).transpose()?;
        let mut config = self.config.clone();
        let mut training = BTreeMap::new();
        for (part, settings) in TaskConfig::PARTS {
            let copy = self.model().join("curves").join(part).with_extension("jsonl");
            let own = self.training(part);
            match &earlier {
                _ if Self::has_begun(&self.folder, part) => {
                    *settings(&mut config) = state::settings(&own)?;
                    copy_file(&own.join("curve.jsonl"), &copy)?;
                }
                Some(earlier) => {
                    *settings(&mut config) = settings(&mut earlier.config.clone()).clone()
                }
                None => return Err(self.missing(part)),
            }
            training.insert(part.to_string(), PartTraining::of(&copy)?);
        }
        Ok((training, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::train::Progress;
    use std::fs;

    #[test]
    fn a_curve_gives_steps_time_and_final_loss() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("curve.jsonl");
        let line = |step: usize, loss: f64| {
            let progress = Progress { step, loss, gradient_norm: 1.0, lr: 0.1, seconds: 0.5 };
            serde_json::to_string(&progress).unwrap() + "\n"
        };
        fs::write(&file, line(10, 3.0) + &line(20, 2.0) + &line(25, 1.0)).unwrap();
        let expected = PartTraining { steps: 25, seconds: 12.5, loss: 1.0 };
        assert_eq!(PartTraining::of(&file).unwrap(), expected);
        assert!(PartTraining::of(&folder.path().join("none")).is_err());
    }

    #[test]
    fn the_card_and_curves_of_the_built_in_model_can_be_read() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("builtin");
        let card: serde_json::Value = read_json(&model.join(CARD)).unwrap();
        let earlier: EarlierCard = serde_json::from_value(card.clone()).unwrap();
        earlier.config.validate().unwrap();
        let report: GenerationReport = serde_json::from_value(card["generation"].clone()).unwrap();
        assert!(report.one_object.images.class > Some(0.9));
        for (part, _) in TaskConfig::PARTS {
            let curve = model.join("curves").join(part).with_extension("jsonl");
            let steps = PartTraining::of(&curve).unwrap().steps;
            assert_eq!(json!(steps), card["training"][part]["steps"], "{part}");
        }
    }
}
