//! What a pretrained model can do and what made it: `training.json`, curves and digests beside it.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_core::train::Flow;
use seqlora_files::read_json;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::autoencoding::Fidelity;
use super::config::{PretrainConfig, StageConfig};
use super::drawing::{Artist, DrawingReport};
use super::model::{CARD, PretrainError, Pretraining, copy_file};
use super::state;
use super::train::read_curve;
use crate::judge::Judge;
use seqlora_models::blueprint::write_json;
use seqlora_models::vae::VaeConfig;
use seqlora_models::weights::{KeyTable, WeightFiles, load_weights, write_checksums};

/// What made a model, and what it can do.
#[derive(Debug, Clone, Serialize)]
pub struct Card {
    /// The program's version.
    pub made_by: String,
    /// The free choices of the last run, with the seed; each part's own are those it ended with.
    pub config: PretrainConfig,
    /// How each part was trained.
    pub training: BTreeMap<String, PartTraining>,
    /// How well pictures survive the VAE.
    pub autoencoder: Fidelity,
    /// What it makes of captions that training left out.
    pub drawing: DrawingReport,
}

/// How a part was trained, from its curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartTraining {
    /// Minibatches.
    pub steps: usize,
    /// Time of all of them.
    pub seconds: f64,
    /// The loss, averaged over the last twentieth.
    pub loss: f64,
}

/// What is read of the card that came with the weights.
#[derive(Deserialize)]
struct Before {
    config: PretrainConfig,
}

impl PartTraining {
    /// Reads `curve.jsonl`, whose lines stand for the steps since the line before.
    ///
    /// # Errors
    /// If there is none.
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
    /// Measures the stored model, and writes what it can do and what made it beside it, with the
    /// curves and the digests of all files. `progress` gets the number of pictures drawn; `None` if
    /// it stopped the drawing.
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
        let plain = VaeConfig { scaling_factor: 1.0, ..self.design.vae.clone() };
        let vae = plain.init::<B::InnerBackend>(device);
        let files = WeightFiles::find(&model.join("vae"))?;
        let autoencoder =
            self.autoencoding().fidelity(&load_weights(vae, &files, &KeyTable::VAE.into())?, 16);
        let task = self.denoising::<B>(device)?;
        let judge = Judge::load(&model.join("judge"), device)?;
        let network = self.stored_denoiser::<B::InnerBackend>(device)?;
        let artist = Artist {
            task: &task,
            scheduler: &self.design.scheduler,
            network: &network,
            judge: &judge,
        };
        let Some(drawing) = DrawingReport::measure(&artist, captions, device, progress)? else {
            return Ok(None);
        };
        let made_by = format!("seqlora {}", env!("CARGO_PKG_VERSION"));
        let card = Card { made_by, config, training, autoencoder, drawing };
        write_json(&model.join(CARD), &json!(card))?;
        write_checksums(&model)?;
        Ok(Some(card))
    }

    /// How each part was trained, here or before its weights came here; the curves are then beside
    /// the model.
    fn history(&self) -> Result<(BTreeMap<String, PartTraining>, PretrainConfig), PretrainError> {
        let card = self.model().join(CARD);
        let before: Option<Before> = card.exists().then(|| read_json(&card)).transpose()?;
        let mut config = self.config.clone();
        let mut training = BTreeMap::new();
        for (part, settings) in StageConfig::PARTS {
            let copy = self.model().join("curves").join(part).with_extension("jsonl");
            let own = self.training(part);
            match &before {
                _ if Self::has_begun(&self.folder, part) => {
                    *settings(&mut config) = state::settings(&own)?;
                    copy_file(&own.join("curve.jsonl"), &copy)?;
                }
                Some(before) => {
                    *settings(&mut config) = settings(&mut before.config.clone()).clone()
                }
                None => return Err(self.lacks(part)),
            }
            training.insert(part.to_string(), PartTraining::of(&copy)?);
        }
        Ok((training, config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::Progress;
    use std::fs;

    #[test]
    fn a_curve_tells_steps_time_and_last_loss() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("curve.jsonl");
        let line = |step: usize, loss: f64| {
            let progress = Progress { step, loss, gradient: 1.0, rate: 0.1, seconds: 0.5 };
            serde_json::to_string(&progress).unwrap() + "\n"
        };
        fs::write(&file, line(10, 3.0) + &line(20, 2.0) + &line(25, 1.0)).unwrap();
        let expected = PartTraining { steps: 25, seconds: 12.5, loss: 1.0 };
        assert_eq!(PartTraining::of(&file).unwrap(), expected);
        assert!(PartTraining::of(&folder.path().join("none")).is_err());
    }
}
