//! The metrics of an evaluation: those of the registry, the toy world's, programs, and tables.

use std::rc::Rc;

use burn::tensor::{Tensor, backend::Backend};
use burn_seqlora::eval::results::MissingMetric;
use burn_seqlora::eval::{
    Embedder, Identity, ImageEncoder, Measure, Metric, Pairwise, Recognition, SmallImages,
    to_pixels,
};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::models::weights::{WeightFiles, fingerprint};
use burn_seqlora::scorers::external::ExternalScorer;
use burn_seqlora::scorers::imported::ImportedScores;
use burn_seqlora::scorers::preprocess::{Filter, resize};
use burn_seqlora::scorers::registry::{self, Places};
use burn_seqlora::toy_world::builtin;
use burn_seqlora::toy_world::classifier::Classifier;
use image::RgbImage;

use super::session::Session;
use crate::commands::builtin::is_chosen;
use crate::failure::Failure;
use crate::interrupt;

/// The metrics that need no weights but the built-in ones, or none at all.
const IDENTITY: &str = "identity";
const RECOGNITION: &str = "recognition";
const SMALL_IMAGES: &str = "small-images";

/// What can be computed, and what cannot.
pub struct Metrics {
    pub metrics: Vec<Box<dyn Metric>>,
    pub skipped: Vec<MissingMetric>,
}

impl Session<'_> {
    /// Loads the metrics.
    ///
    /// # Errors
    /// If a name is not known or given twice, weights are there that cannot be used, a program does not start,
    /// or a table cannot be read. Weights that are missing are no error.
    pub fn metrics<B: KernelBackend>(&self, device: &B::Device) -> Result<Metrics, Failure> {
        let settings = &self.settings.metrics;
        let mut loaded = Metrics { metrics: Vec::new(), skipped: Vec::new() };
        let mut places = Places::from_environment();
        places.weights.clone_from(&settings.weights);
        places.folders.splice(0..0, settings.folders.iter().cloned());
        let names = settings.names.clone().unwrap_or_else(|| self.usual());
        let own = [IDENTITY, RECOGNITION, SMALL_IMAGES];
        let (own, others): (Vec<&str>, Vec<&str>) =
            names.iter().map(String::as_str).partition(|name| own.contains(name));
        if !own.is_empty() {
            loaded.metrics.extend(toy_world::<B>(&own, device)?);
        }
        let others = registry::load::<B>(&others, &places, &self.protocol().prompt_text, device);
        let others = others.map_err(|error| match error {
            registry::LoadError::Unknown { .. } => Failure::Usage(format!(
                "--metric: {error}, {IDENTITY}, {RECOGNITION} and {SMALL_IMAGES}"
            )),
            error => error.into(),
        })?;
        loaded.metrics.extend(others.metrics);
        let missing = |skipped: registry::Skipped| MissingMetric {
            metric: skipped.name,
            reason: skipped.reason,
        };
        loaded.skipped.extend(others.skipped.into_iter().map(missing));
        for config in &settings.external {
            let scorer =
                ExternalScorer::start(config.clone(), self.protocol().prompt_text.clone())?;
            interrupt::remove_when_stopped(scorer.folder().to_owned());
            loaded.metrics.push(Box::new(scorer));
        }
        for table in &settings.imported {
            let scores =
                ImportedScores::read(&table.name, table.better, &table.table, &table.column);
            loaded.metrics.push(Box::new(scores.map_err(Failure::usage)?));
        }
        self.check(loaded)
    }

    /// Those of the paper, or those that measure the toy world.
    fn usual(&self) -> Vec<String> {
        let settings = &self.settings.metrics;
        let names: &[&str] = match is_chosen(self.args.model.as_ref()) {
            true => &[IDENTITY, RECOGNITION],
            false if settings.external.is_empty() && settings.imported.is_empty() => {
                &registry::DEFAULT
            }
            false => &[],
        };
        names.iter().map(|name| name.to_string()).collect()
    }

    /// Names are unique, and a metric that tells concepts apart needs two of them.
    fn check(&self, mut loaded: Metrics) -> Result<Metrics, Failure> {
        let alone = self.protocol().concepts.len() < 2;
        let (kept, dropped): (Vec<_>, Vec<_>) =
            loaded.metrics.into_iter().partition(|metric| !(alone && metric.needs().others));
        loaded.metrics = kept;
        loaded.skipped.extend(dropped.iter().map(|metric| MissingMetric {
            metric: metric.name().into(),
            reason: "it compares concepts, and there is one".into(),
        }));
        for (number, metric) in loaded.metrics.iter().enumerate() {
            if loaded.metrics[..number].iter().any(|other| other.name() == metric.name()) {
                return Err(Failure::Usage(format!("two metrics are called `{}`", metric.name())));
            }
        }
        Ok(loaded)
    }
}

/// Metrics by the toy world's classifier, or of shrunken images.
fn toy_world<B: KernelBackend>(
    names: &[&str],
    device: &B::Device,
) -> Result<Vec<Box<dyn Metric>>, Failure> {
    let mut classifier: Option<Rc<Embedder<B>>> = None;
    let mut metrics: Vec<Box<dyn Metric>> = Vec::new();
    for name in names {
        if *name == SMALL_IMAGES {
            let encoder = Embedder::<B>::new("images of 8 × 8 pixels", SmallImages, device);
            let embedder = Rc::new(encoder);
            metrics.push(Box::new(Pairwise::new(SMALL_IMAGES, embedder, Measure::Cosine)));
            continue;
        }
        let embedder = match &classifier {
            Some(embedder) => embedder.clone(),
            None => classifier.insert(Rc::new(load_classifier::<B>(device)?)).clone(),
        };
        metrics.push(match *name {
            IDENTITY => Box::new(Identity::new(embedder)),
            _ => Box::new(Recognition::new(embedder)),
        });
    }
    Ok(metrics)
}

fn load_classifier<B: KernelBackend>(device: &B::Device) -> Result<Embedder<B>, Failure> {
    let folder = builtin::folder()?.join("classifier");
    let classifier = Classifier::<B>::load(&folder, device)?;
    let digest = fingerprint(&WeightFiles::find(&folder)?.shards)?;
    let name = format!("the toy world's classifier, weights {}", &digest[..8]);
    Ok(Embedder::new(name, Resized(classifier), device))
}

/// A classifier that sees images of any size.
#[derive(Debug)]
struct Resized<B: Backend>(Classifier<B>);

impl<B: KernelBackend> ImageEncoder<B> for Resized<B> {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        self.0.embed(pixels)
    }

    fn pixels(&self, images: &[&RgbImage], device: &B::Device) -> Tensor<B, 4> {
        let side = self.0.side() as u32;
        let resized = |image: &&RgbImage| resize(image, side, side, Filter::Bicubic);
        let resized: Vec<RgbImage> = images.iter().map(resized).collect();
        to_pixels(&resized.iter().collect::<Vec<_>>(), device)
    }

    fn preprocessing(&self) -> String {
        let side = self.0.side();
        format!(
            "to {side} × {side}, whatever the ratio; bicubic, as Pillow does with bytes; each byte x becomes \
             x / 127.5 − 1"
        )
    }
}
