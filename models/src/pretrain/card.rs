//! What a pretrained model can do and what made it: `training.json`, curves and digests beside it.

use std::collections::BTreeMap;
use std::path::Path;

use burn_seqlora::diffusion::{SamplerKind, SamplerPlan, SchedulerConfig};
use burn_seqlora::error::Error;
use burn_seqlora::rng::Seed;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::autoencoding::Fidelity;
use super::config::PretrainConfig;
use super::denoising::{Denoising, Drawing, TextToLatents};
use super::model::{PretrainError, Pretraining, copy_file};
use super::state;
use super::train::read_curve;
use crate::blueprint::write_json;
use crate::judge::{AttributeAccuracy, Judge};
use crate::vae::VaeConfig;
use crate::weights::{KeyTable, WeightFiles, load_weights, write_checksums};
use crate::world::{Description, Scene, SceneOptions, Split};

/// Pictures that are drawn at once.
const CHUNK: u64 = 25;

/// How captions are drawn to be measured.
const SAMPLER: SamplerKind = SamplerKind::DpmPlusPlus2M;
const STEPS: usize = 25;
const GUIDANCE: f64 = 4.0;

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
    /// curves and the digests of all files.
    ///
    /// # Errors
    /// If a part is missing or damaged, or a file cannot be written.
    pub fn write_card<B: TrainBackend>(
        &self,
        captions: u64,
        device: &B::Device,
    ) -> Result<Card, PretrainError> {
        let model = self.model();
        let mut training = BTreeMap::new();
        for part in ["autoencoder", "text-encoder", "denoiser", "judge"] {
            let curve = self.training(part).join("curve.jsonl");
            training.insert(part.to_string(), PartTraining::of(&curve)?);
            let copy = model.join("curves").join(part).with_extension("jsonl");
            copy_file(&curve, &copy)?;
        }
        let plain = VaeConfig { scaling_factor: 1.0, ..self.design.vae.clone() };
        let vae = plain.init::<B::InnerBackend>(device);
        let files = WeightFiles::find(&model.join("vae"))?;
        let autoencoder =
            self.autoencoding().fidelity(&load_weights(vae, &files, &KeyTable::VAE.into())?, 16);
        let task = self.denoising::<B>(device)?;
        let judge = Judge::load(&model.join("judge"), device)?;
        let network = self.stored_denoiser::<B::InnerBackend>(device)?;
        let scheduler = &self.design.scheduler;
        let drawing = DrawingReport::measure(&task, scheduler, &network, &judge, captions)?;
        let mut config = self.config.clone();
        for (part, settings) in [
            ("autoencoder", &mut config.autoencoder),
            ("text-encoder", &mut config.text_encoder),
            ("denoiser", &mut config.denoiser),
            ("judge", &mut config.judge),
        ] {
            *settings = state::settings(&self.training(part))?;
        }
        let made_by = format!("seqlora {}", env!("CARGO_PKG_VERSION"));
        let card = Card { made_by, config, training, autoencoder, drawing };
        write_json(&model.join("training.json"), &json!(card))?;
        write_checksums(&model)?;
        Ok(card)
    }
}

/// Shares of drawn pictures in which the judge sees all that the caption tells of an attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrawingReport {
    /// How they were drawn.
    pub sampling: String,
    /// Captions of each kind; none of their combinations was shown in training.
    pub captions: u64,
    /// Of one object.
    pub one_object: AttributeAccuracy,
    /// Of two objects.
    pub two_objects: AttributeAccuracy,
}

impl DrawingReport {
    /// Draws held-out captions and asks the judge.
    ///
    /// # Errors
    /// If a caption cannot be tokenized, or there is no such sampler.
    pub fn measure<B: TrainBackend>(
        task: &Denoising<'_, B>,
        scheduler: &SchedulerConfig,
        model: &TextToLatents<B::InnerBackend>,
        judge: &Judge<B::InnerBackend>,
        captions: u64,
    ) -> Result<Self, PretrainError> {
        let plan = SamplerPlan::new(SAMPLER, scheduler, STEPS).map_err(Error::from)?;
        let seed = task.seed.fork("held-out captions");
        let mut drawing = Drawing { plan, guidance: GUIDANCE, seed: seed.fork("noise") };
        let mut accuracy = |pairs: f64| -> Result<AttributeAccuracy, PretrainError> {
            let mut agreements = Vec::new();
            for first in (0..captions).step_by(CHUNK as usize) {
                let numbers = first..captions.min(first + CHUNK);
                let (told, texts): (Vec<_>, Vec<_>) =
                    numbers.map(|number| told(&seed, number, pairs)).unzip();
                drawing.seed = seed.fork("noise").fork(&first.to_string());
                let readings = judge.read(task.draw(model, &texts, &drawing)?.clamp(-1.0, 1.0));
                let seen = readings.iter().zip(&told);
                agreements.extend(seen.map(|(seen, told)| seen.agreement(told)));
            }
            Ok(agreements.into_iter().collect())
        };
        Ok(Self {
            sampling: format!("{SAMPLER}, {STEPS} steps, guidance {GUIDANCE}"),
            captions,
            one_object: accuracy(0.0)?,
            two_objects: accuracy(1.0)?,
        })
    }
}

/// What a caption tells, and the caption.
fn told(seed: &Seed, number: u64, pairs: f64) -> (Description, String) {
    let options = SceneOptions { split: Split::HeldOut, pairs };
    let mut rng = seed.fork("caption").at(number);
    let told = Scene::random(seed, number, &options).told(&mut rng);
    let caption = told.caption(&mut rng);
    (told, caption)
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

    #[test]
    fn captions_tell_what_is_asked_of_the_judge() {
        for number in 0..50 {
            let (told, caption) = told(&Seed::new(1), number, 1.0);
            assert_eq!(told.objects.len(), 2);
            let read = Description::parse(&caption).expect("its own English");
            assert_eq!(read.objects[0].class, told.objects[0].class, "{caption}");
            assert_eq!(read.relation, told.relation, "{caption}");
        }
    }
}
