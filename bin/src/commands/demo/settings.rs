//! What decides a demo, and what is kept of it beside the banks so that it can go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::check::difference;
use burn_seqlora::data::Transform;
use burn_seqlora::error::Error;
use burn_seqlora::files::{read_json, write_json};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods::{Method, Work};
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::toy_world::world::{Scene, SceneOptions, Seed};
use serde::{Deserialize, Serialize};

use crate::args::{Demo, Global};
use crate::failure::Failure;
use crate::settings::read_over;

/// Captions of the drawn world that tell which directions all prompts share.
const PROMPTS: u64 = 128;

/// What decides a demo.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many concepts are learnt.
    pub concepts: usize,
    /// How many pictures of each concept are drawn, each time it is asked for.
    pub pictures: usize,
    /// The names of the methods that are compared, in the order in which they run.
    pub methods: Vec<String>,
    /// How they learn, but for the method.
    pub train: TrainConfig,
}

impl Settings {
    /// The settings that the arguments ask for.
    ///
    /// # Errors
    /// If the settings file cannot be read, or a setting has no meaning.
    pub fn new(args: &Demo, global: &Global) -> Result<Self, Failure> {
        let mut train = match &args.config {
            Some(file) => read_over(file, &defaults())?,
            None => defaults(),
        };
        train.steps = args.steps.map_or(train.steps, |steps| steps as usize);
        train.seed = global.seed.unwrap_or(train.seed);
        train.precision = global.precision.unwrap_or(train.precision);
        train.concepts = Some(args.concepts.into());
        train.validate()?;
        let methods = args.method.clone();
        let (concepts, pictures) = (args.concepts.into(), args.pictures.into());
        Ok(Self { concepts, pictures, methods, train })
    }

    /// How a method learns here.
    pub fn train_config(&self, method: &str) -> TrainConfig {
        TrainConfig { method: method.into(), ..self.train.clone() }
    }

    /// Roughly what a minibatch costs, in gradients: a Hessian product takes 2.3 of them.
    pub fn step_cost<B: TrainBackend>(&self, method: &dyn Method<B>) -> f64 {
        let Work { gradients, hessian_products, .. } = method.work(&self.train);
        gradients as f64 + 2.3 * hessian_products as f64
    }
}

/// Rates for a model of a few million parameters; the trainer's own defaults are for SD1.5.
fn defaults() -> TrainConfig {
    TrainConfig {
        steps: 80,
        // Three times the minibatches for the price of K = 3.
        outer: 1,
        // Rows fast, factors slowly: rows are seen by no other concept's prompts. With 1e-2 for the
        // UNet the last concept's colours came through in those before it.
        lr_unet: 2e-3,
        lr_text: 5e-4,
        lr_token: 3e-2,
        // Later concepts take less with them (docs/decisions/0009).
        protected_directions: 16,
        common_prompts: captions(),
        // The limit belongs to the length of SD1.5's embeddings.
        token_norm_limit: 100.0,
        // The references have the model's size, and where things stand in them is told.
        transform: Transform::CenterCrop,
        crops: 1,
        ..TrainConfig::default()
    }
}

/// What else is asked for in the drawn world.
fn captions() -> Vec<String> {
    let seed = Seed::new(0).fork("shared prompts");
    let caption = |number| {
        let scene = Scene::random(&seed, number, &SceneOptions::default());
        scene.caption(&mut seed.fork("caption").at(number))
    };
    (0..PROMPTS).map(caption).collect()
}

/// `demo.json`: the settings and the time that was spent, over all runs of the demo.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    settings: Settings,
    training: BTreeMap<String, BTreeMap<String, f64>>,
    sampling: f64,
}

/// The record of a demo in its folder.
#[derive(Debug)]
pub struct Journal {
    file: PathBuf,
    record: Record,
}

impl Journal {
    /// Starts a demo in a folder that is empty or not there, or goes on with the one in it.
    pub fn open(folder: &Path, settings: &Settings) -> Result<Self, Failure> {
        let file = folder.join("demo.json");
        let usage = |text: String| {
            Err(Failure::Usage(format!("{} {text} another --out", folder.display())))
        };
        if file.exists() {
            let record: Record = read_json(&file)?;
            return match difference(&record.settings, settings) {
                None => Ok(Self { file, record }),
                Some(difference) => usage(format!(
                    "holds a demo with other settings ({difference}): give those to go on, or choose"
                )),
            };
        }
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return usage("is not empty and holds no demo; choose".into());
        }
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let settings = settings.clone();
        let record = Record { settings, training: BTreeMap::new(), sampling: 0.0 };
        write_json(&file, &record)?;
        Ok(Self { file, record })
    }

    /// Adds time spent on training a concept.
    pub fn add_training(&mut self, method: &str, id: &str, seconds: f64) -> Result<(), Failure> {
        let of_method = self.record.training.entry(method.into()).or_default();
        *of_method.entry(id.into()).or_default() += seconds;
        Ok(write_json(&self.file, &self.record)?)
    }

    /// Adds time spent on sampling.
    pub fn add_sampling(&mut self, seconds: f64) -> Result<(), Failure> {
        self.record.sampling += seconds;
        Ok(write_json(&self.file, &self.record)?)
    }

    /// Seconds spent on training a concept.
    pub fn training(&self, method: &str, id: &str) -> f64 {
        self.record.training.get(method).and_then(|ids| ids.get(id)).copied().unwrap_or(0.0)
    }

    /// All seconds.
    pub fn seconds(&self) -> f64 {
        let training = self.record.training.values().flat_map(BTreeMap::values);
        training.sum::<f64>() + self.record.sampling
    }
}
