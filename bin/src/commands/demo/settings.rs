//! The settings of a demo.

use burn_seqlora::data::Transform;
use burn_seqlora::diffusion::AttentionRegularization;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::SiteSelection;
use burn_seqlora::methods::{Method, Work};
use burn_seqlora::settings::{TrainConfig, TrainingBase};
use burn_seqlora::toy_world::world::{Scene, SceneOptions, Seed};
use serde::{Deserialize, Serialize};

use crate::args::{Compute, Demo};
use crate::failure::Failure;
use crate::settings::read_training;

/// How many captions of the toy world there are from which the common prompt subspace is computed.
const PROMPTS: u64 = 128;

/// The settings on which a demo's results depend.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How many concepts are learnt.
    pub concepts: usize,
    /// The word of the class that all concepts are of; `None` for several classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// How many images of each concept are sampled with each method, just learnt and at the end.
    #[serde(alias = "pictures")]
    pub images: usize,
    /// The names of the methods that are compared, in the order in which they run.
    pub methods: Vec<String>,
    /// The training settings of all methods; each run puts its own method in.
    pub train: TrainConfig,
}

impl Settings {
    /// The settings that the arguments and the settings file give.
    ///
    /// # Errors
    /// If the settings file cannot be read, or a setting is invalid.
    pub fn new(args: &Demo, compute: &Compute) -> Result<Self, Failure> {
        let mut train = match &args.config {
            Some(file) => read_training(file, &defaults())?,
            None => defaults(),
        };
        train.steps = args.steps.map_or(train.steps, |steps| steps as usize);
        train.seed = compute.seed.unwrap_or(train.seed);
        train.precision = compute.precision.unwrap_or(train.precision);
        train.concepts = Some(args.concepts.into());
        train.validate().map_err(Failure::usage)?;
        let methods = args.method.clone();
        let (concepts, images) = (args.concepts.into(), args.images.into());
        let class = args.class.clone();
        Ok(Self { concepts, class, images, methods, train })
    }

    /// The training settings of one method.
    pub fn train_config(&self, method: &str) -> TrainConfig {
        TrainConfig { method: method.into(), ..self.train.clone() }
    }

    /// What is not as in the paper.
    pub fn differences_from_the_paper(&self) -> String {
        let (paper, train) = (TrainConfig::default(), &self.train);
        let [rates, paper_rates] =
            [train, &paper].map(|c| format!("{}, {} and {}", c.lr_unet, c.lr_text, c.lr_token));
        let mut differences = vec![
            "the base model is a small one of drawings instead of Stable Diffusion 1.5".to_string(),
            format!(
                "K and T are {} and {} instead of {} and {}",
                train.outer, train.inner, paper.outer, paper.inner
            ),
            format!(
                "the learning rates of the UNet, the text encoder and token embeddings are {rates} instead of \
                 {paper_rates}"
            ),
        ];
        if train.sites == SiteSelection::CrossAttentionKv {
            let text =
                "adapters are in keys and values of cross-attention only, and in no text encoder";
            differences.push(text.into());
        }
        if let Some(AttentionRegularization { weight, .. }) = train.attention() {
            differences
                .push(format!("all methods have attention regularisation of weight {weight}"));
        }
        if train.base == TrainingBase::Accumulated {
            let text = "each concept is trained with the adapters of earlier ones added";
            differences.push(text.into());
        }
        if train.protected_directions > 0 {
            differences.push(format!(
                "orthogonal methods leave {} directions of common prompts as they are",
                train.protected_directions
            ));
        }
        format!("Not as in the paper: {}.", differences.join("; "))
    }

    /// Roughly what a minibatch costs, in gradients: a Hessian product takes 2.3 of them.
    pub fn step_cost<B: TrainBackend>(&self, method: &dyn Method<B>) -> f64 {
        let Work { gradients, hessian_products, .. } = method.work(&self.train);
        gradients as f64 + 2.3 * hessian_products as f64
    }
}

/// Learning rates for a model of a few million parameters; the trainer's own defaults are for SD1.5.
fn defaults() -> TrainConfig {
    TrainConfig {
        steps: 60,
        // K = T = 1: more minibatches for the same price, 1.7 times as many as with K = 1 and T = 2.
        outer: 1,
        inner: 1,
        // Concepts of one class share the class word's states. Trained on W₀ alone, the second rocket of
        // seed 0 came out as the first one; with the earlier adapters added, it did not.
        base: TrainingBase::Accumulated,
        // With all of attention, later concepts changed earlier ones: identity 0.91 when just learnt and 0.52
        // at the end, against 0.82 and 0.80 (seed 0, 150 minibatches, SeqLoRA).
        sites: SiteSelection::CrossAttentionKv,
        // With 2e-2, later concepts changed earlier ones; with 5e-3, less was learnt.
        lr_unet: 1e-2,
        // A token embedding of this text encoder has a standard deviation of 0.05. With 2e-2 less was
        // learnt, with 8e-2 no more.
        lr_token: 4e-2,
        token_std: 0.05,
        // Later concepts change earlier ones less (docs/decisions/0009).
        protected_directions: 16,
        common_prompts: captions(),
        // The limit belongs to the length of SD1.5's embeddings.
        token_norm_limit: 100.0,
        // The references have the model's size, and their captions say where things are.
        transform: Transform::CenterCrop,
        // With masks, nothing keeps an object from growing.
        masked_loss: false,
        crops: 1,
        ..TrainConfig::default()
    }
}

/// Captions of random scenes of the toy world.
fn captions() -> Vec<String> {
    let seed = Seed::new(0).fork("shared prompts");
    let caption = |number| {
        let scene = Scene::random(&seed, number, &SceneOptions::default());
        scene.caption(&mut seed.fork("caption").at(number))
    };
    (0..PROMPTS).map(caption).collect()
}
