//! From images to the bank on the tiny model: which noise each evaluation sees.

use burn_seqlora::kernels::matmul::Times;
use std::path::{Path, PathBuf};

use burn::backend::Autodiff;
use burn::tensor::{ElementConversion, Tensor};
use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::data::{ConceptData, ConceptKind, ConceptSource, ImageSource};
use burn_seqlora::diffusion::{DenoisingLoss, DenoisingSample, TrainingLoss};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::{Bases, DualAdapters, Feasible, Site, StoredAdapter, finish_adapter};
use burn_seqlora::methods::{Constraint, NAMES, TrainState};
use burn_seqlora::model::{Denoiser, DiffusionModel, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::{LrSchedule, NoiseReuse, TrainConfig, TrainingBase};
use burn_seqlora::text::{Piece, TextBatch, TokenScheme, Vocabulary};
use burn_seqlora::train::{
    EncodedConcept, Event, Flow, LearnPlan, Minibatch, PlanOptions, Trainer, learn, plan,
    plan_ranks,
};
use image::{Rgb, RgbImage};
use tempfile::TempDir;

use crate::fixtures;
use crate::toy::training::method;

type Model<B> = StableDiffusion<Autodiff<B>>;

/// The tiny model with a concept of two images.
pub(super) struct Problem<B: KernelBackend> {
    pub(super) model: Model<B>,
    pub(super) source: ConceptSource,
    pub(super) folder: TempDir,
}

impl<B: KernelBackend> Problem<B> {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let images = (0..2).map(|number| ImageSource {
            path: image(folder.path(), number),
            caption: None,
            mask: None,
        });
        let source = ConceptSource {
            id: "thing".into(),
            class_word: "dog".into(),
            kind: ConceptKind::Object,
            images: images.collect(),
            class_images: None,
            templates: vec![],
            steps: None,
            repeats: 1,
            prompts: None,
        };
        let model = StableDiffusion::load(&fixtures::path("tiny-sd1"), &B::Device::default());
        Self { model: model.unwrap(), source, folder }
    }

    /// Those of minibatches in one part.
    pub(super) fn samples(
        &self,
        config: &TrainConfig,
        step: usize,
    ) -> Vec<DenoisingSample<Autodiff<B>>> {
        self.minibatches(config, step).into_iter().map(only).collect()
    }

    pub(super) fn minibatches(
        &self,
        config: &TrainConfig,
        step: usize,
    ) -> Vec<Minibatch<Autodiff<B>>> {
        let seed = Seed::new(config.seed).fork(&self.source.id);
        EncodedConcept::new(&self.model, &self.source, config, &seed)
            .unwrap()
            .samples(step)
            .unwrap()
    }

    fn denoising(&self) -> DenoisingLoss<'_, Model<B>> {
        DenoisingLoss {
            model: &self.model,
            schedule: self.model.noise_schedule(),
            min_snr_gamma: None,
        }
    }

    /// What `learn` leaves in a new bank.
    fn learn(&self, config: &TrainConfig, name: &str) -> StoredAdapter {
        self.learn_as(&[&self.source.id], config, name).remove(0)
    }

    /// What `learn` leaves in a new bank of the same images, again under each of these ids.
    fn learn_as(&self, ids: &[&str], config: &TrainConfig, name: &str) -> Vec<StoredAdapter> {
        let mut bank = self.bank(name);
        self.learn_into(&mut bank, ids, config);
        ids.iter().map(|id| bank.adapter(id).unwrap()).collect()
    }

    /// A new bank.
    pub(super) fn bank(&self, name: &str) -> Bank {
        let base = BaseModel {
            fingerprint: "tiny".into(),
            tokenizer: None,
            prediction: None,
            name: "tiny".into(),
            cross_attention_layers: self.model.cross_attention_layers(),
            token_width: self.model.token_width(),
        };
        let path = self.folder.path().join(name);
        Bank::open_or_create(&path, &base, self.model.sites()).unwrap()
    }

    /// Learns the images under each of these ids; returns the overlap after each step.
    pub(super) fn learn_into(
        &self,
        bank: &mut Bank,
        ids: &[&str],
        config: &TrainConfig,
    ) -> Vec<f64> {
        let named = |id: &&str| ConceptSource { id: id.to_string(), ..self.source.clone() };
        let concepts: Vec<ConceptSource> = ids.iter().map(named).collect();
        let plan = self.plan(bank, &concepts, config).unwrap();
        let mut overlaps = Vec::new();
        let watch = |event: Event| {
            if let Event::Step(report) = event {
                overlaps.push(report.overlap);
            }
            Flow::Continue
        };
        let method = method::<Autodiff<B>>(config);
        assert!(learn(&self.model, bank, method, &plan, watch).unwrap());
        overlaps
    }

    fn plan<'a>(
        &self,
        bank: &Bank,
        concepts: &'a [ConceptSource],
        config: &TrainConfig,
    ) -> burn_seqlora::Result<LearnPlan<'a>> {
        let data = concepts.iter().map(|concept| concept as &dyn ConceptData);
        let method = method::<Autodiff<B>>(config);
        let options = PlanOptions::default();
        plan(bank, method, data, self.model.sites(), config, options, |_| Flow::Continue)
    }

    /// The same, one `Trainer::step` after the other: evaluation t of outer iteration k takes
    /// sample k (T + 1) + t.
    fn train_by_hand(&self, config: &TrainConfig) -> StoredAdapter {
        let sites = self.model.sites();
        let objective = self.denoising();
        let basis = Bases::<B>::default();
        let bilevel = Trainer {
            objective: &objective,
            method: method(config),
            settings: config,
            sites,
            basis: &basis,
        };
        let feasible = vec![Feasible::default(); sites.len()];
        let ranks =
            plan_ranks(sites, &vec![0; sites.len()], config, Constraint::EarlierConcepts).ranks;
        let word: Tensor<B, 1> =
            self.model.word_embedding(&self.source.class_word).unwrap().inner();
        let seed = Seed::new(config.seed).fork(&self.source.id);
        let embeddings = word.unsqueeze::<2>();
        let mut state = TrainState::new(
            method::<Autodiff<B>>(config),
            config,
            sites,
            &ranks,
            &feasible,
            embeddings,
            &seed,
        );
        for step in 0..config.steps {
            let samples = self.samples(config, step);
            bilevel.step(&mut state, |k, t| &samples[k * (config.inner + 1) + t]);
        }
        finish_adapter(&state.parameters.adapters, sites, &feasible)
    }
}

fn only<B: KernelBackend>(parts: Minibatch<Autodiff<B>>) -> DenoisingSample<Autodiff<B>> {
    let [part] = <[_; 1]>::try_from(parts).expect("one part");
    part.sample
}

fn image(folder: &Path, number: u8) -> PathBuf {
    let path = folder.join(format!("{number}.png"));
    let pixel = |x, y| Rgb([x as u8 * 4, y as u8 * 4, 100 * number]);
    RgbImage::from_fn(64, 64, pixel).save(&path).unwrap();
    path
}

pub(super) fn config(noise: NoiseReuse) -> TrainConfig {
    TrainConfig {
        noise,
        steps: 2,
        batch: 1,
        outer: 2,
        inner: 1,
        rank: 2,
        lr_unet: 1e-3,
        lr_schedule: LrSchedule::Constant,
        tokens: TokenScheme::Single,
        resolution: Some(64),
        crops: 1,
        probes: 1,
        ..TrainConfig::default()
    }
}

/// The subject in the middle of the image.
fn mask(folder: &Path) -> PathBuf {
    let path = folder.join("mask.png");
    let inside = |x: u32| (16..48).contains(&x);
    let pixel = |x, y| Rgb([if inside(x) && inside(y) { 255 } else { 0 }; 3]);
    RgbImage::from_fn(64, 64, pixel).save(&path).unwrap();
    path
}

/// With the attention's term samples bring subject masks, whether or not these weight the loss as well, and
/// every method learns something else.
pub fn attention_follows_the_subject_with_every_method<B: KernelBackend>(_: f64) {
    let mut problem = Problem::<B>::new();
    let mask = mask(problem.folder.path());
    problem.source.images.iter_mut().for_each(|image| image.mask = Some(mask.clone()));
    let off = TrainConfig { masked_loss: false, ..config(NoiseReuse::Minibatch) };
    let on = TrainConfig { attention_weight: 0.5, ..off.clone() };
    let sample = |config: &TrainConfig| problem.samples(config, 0).remove(0);
    let masked = sample(&TrainConfig { masked_loss: true, ..off.clone() });
    let (with, without) = (sample(&on), sample(&off));
    assert!(without.subject.is_none());
    let subject = with.subject.expect("a subject mask").to_data();
    assert_eq!(subject, masked.mask.to_data());
    assert_ne!(subject, with.mask.to_data());
    assert_eq!(with.mask.to_data(), without.mask.to_data());
    for name in NAMES {
        let learn = |config: &TrainConfig, folder: &str| {
            let config = TrainConfig { method: name.to_string(), ..config.clone() };
            problem.learn(&config, &format!("{name}-{folder}"))
        };
        let (on, off) = (learn(&on, "on"), learn(&off, "off"));
        assert_eq!(on.ranks(problem.model.sites()), off.ranks(problem.model.sites()));
        assert_ne!(on, off, "{name}");
    }
}

/// What is kept of the class is what the model predicts without the concept, on the base that the concept is
/// trained on: the term is nothing before the first step, and every method learns something else with it.
pub fn the_class_is_kept_with_every_method<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let off = config(NoiseReuse::Minibatch);
    let on = TrainConfig { prior_weight: 1.0, ..off.clone() };
    assert!(problem.samples(&off, 0).remove(0).prior.is_none());
    let sample = problem.samples(&on, 0).remove(0);
    let loss = |prior_weight, sample| {
        let denoising = problem.denoising();
        let loss = TrainingLoss { denoising, attention: None, prior_weight };
        let embedding = problem.model.word_embedding("dog").unwrap().unsqueeze::<2>();
        let loss = loss.loss(&DualAdapters::none(), Some(&embedding), sample);
        loss.primal.into_scalar().elem::<f64>()
    };
    let (with, without) = (loss(1e3, &sample), loss(0.0, &sample));
    assert!((with - without).abs() <= 1e-6 * without, "{with} {without}");
    for name in NAMES {
        let learn = |config: &TrainConfig, folder: &str| {
            let config = TrainConfig { method: name.to_string(), ..config.clone() };
            problem.learn(&config, &format!("{name}-{folder}"))
        };
        assert_ne!(learn(&on, "on"), learn(&off, "off"), "{name}");
    }
    // With an earlier concept among the frozen weights, they predict something else.
    let mut bank = problem.bank("earlier");
    problem.learn_into(&mut bank, &["earlier"], &off);
    let (sites, device) = (problem.model.sites(), problem.model.device());
    let members = [Member::new("earlier")];
    let earlier =
        Composition::<Autodiff<B>>::load(&bank, &members, sites, &device).unwrap().adapters;
    let seed = Seed::new(on.seed).fork(&problem.source.id);
    let encoded = EncodedConcept::new(&problem.model, &problem.source, &on, &seed).unwrap();
    let accumulated = only(encoded.on(earlier).samples(0).unwrap().remove(0));
    let target = |sample: DenoisingSample<_>| sample.prior.unwrap().target.to_data();
    assert_ne!(target(accumulated), target(sample));
}

/// A minibatch brings one draw of noise, or one for each of its K (T + 1) evaluations; the images
/// are the same, and asking again gives the same draws.
pub fn evaluations_share_noise_or_draw_their_own<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    assert_eq!(problem.samples(&config(NoiseReuse::Minibatch), 0).len(), 1);
    let own = config(NoiseReuse::Evaluation);
    let draws = |step| {
        let samples = problem.samples(&own, step);
        assert_eq!(samples.len(), 4);
        assert!(samples.iter().all(|s| s.mask.to_data() == samples[0].mask.to_data()));
        samples.into_iter().map(|s| s.noise.to_data()).collect::<Vec<_>>()
    };
    let noise = [draws(0), draws(1)].concat();
    for (number, draw) in noise.iter().enumerate() {
        assert!(!noise[..number].contains(draw), "draw {number} is there already");
    }
    assert_eq!(draws(1), noise[4..]);
}

/// Each evaluation of `learn` takes the draw that is its own, bit for bit, and so ends elsewhere
/// than with shared noise.
pub fn learning_takes_each_evaluations_own_noise<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let own = config(NoiseReuse::Evaluation);
    let learnt = problem.learn(&own, "own");
    assert_eq!(learnt, problem.train_by_hand(&own));
    assert_ne!(learnt, problem.learn(&config(NoiseReuse::Minibatch), "shared"));
}

/// With all directions but two reserved for what prompts share, B is where the states' Gram matrix G
/// is least: its span is invariant under G, and sees less of the states than any two directions do
/// on average. Layers that do not read the prompt keep their rank.
pub fn common_prompts_are_left_alone<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let prompt = problem.model.tokenize(&[Piece::Text("a dog in the snow".into())]).unwrap();
    let device = problem.model.device();
    let batch = TextBatch::new(&[prompt], &Vocabulary::default(), 1, &device);
    let states =
        problem.model.encode_text(&batch, None, &DualAdapters::none()).context.layer(0).primal;
    let states = states.inner().squeeze_dim::<2>(0);
    let gram = states.clone().transpose().times(states);
    let [_, width] = gram.dims();
    let trace = |square: Tensor<B, 2>| {
        let eye = Tensor::eye(square.dims()[0], &square.device());
        (square * eye).sum().into_scalar().elem::<f64>()
    };

    let config = protecting(width - 2);
    let learnt = problem.learn(&config, "shared");
    let mut readers = 0;
    for site in problem.model.sites() {
        let Some(factors) = learnt.get(&site.name) else { continue };
        assert_eq!(factors.rank, 2, "{}", site.name);
        if site.reads_prompt() {
            readers += 1;
            let (_, down) = factors.to_tensors::<B>(&device);
            let image = gram.clone().times(down.clone());
            let inside = down.clone().transpose().times(image.clone());
            let outside = image - down.times(inside.clone());
            let outside = fixtures::largest(outside.to_data().iter());
            assert!(outside < 1e-5 * trace(gram.clone()), "{}: {outside}", site.name);
            let seen = trace(inside) / trace(gram.clone());
            assert!(seen < 2.0 / width as f64, "{}: {seen}", site.name);
        }
    }
    assert!(readers > 0);
}

fn protecting(protected_directions: usize) -> TrainConfig {
    let common_prompts = vec!["a dog in the snow".into()];
    TrainConfig { protected_directions, common_prompts, ..config(NoiseReuse::Minibatch) }
}

/// After a concept that was learnt without them, shared directions stand beside its own: B keeps
/// away from both all the time, and has the rank that is left. Plain LoRA heeds neither.
pub fn protected_directions_add_to_earlier_concepts<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let width = problem.model.token_width();
    let mut bank = problem.bank("bank");
    problem.learn_into(&mut bank, &["first"], &config(NoiseReuse::Minibatch));
    let overlaps = problem.learn_into(&mut bank, &["second"], &protecting(width - 3));
    assert!(overlaps.iter().all(|overlap| (0.0..1e-5).contains(overlap)), "{overlaps:?}");
    assert!(overlaps.len() == 2 && overlaps[0] > 0.0, "{overlaps:?}");
    let second = bank.adapter("second").unwrap();
    let selected = |(site, _): &(&Site, usize)| protecting(0).sites.contains(site);
    for (site, rank) in
        problem.model.sites().iter().zip(second.ranks(problem.model.sites())).filter(selected)
    {
        assert_eq!(rank, if site.reads_prompt() { 1 } else { 2 }, "{}", site.name);
    }

    let lora = |shared, name| {
        let config = TrainConfig { method: "lora".into(), ..protecting(shared) };
        problem.learn(&config, name)
    };
    assert_eq!(lora(0, "lora"), lora(width, "lora with"));
}

/// Directions that leave nothing of a layer are refused.
pub fn protected_directions_leave_something<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let concepts = [problem.source.clone()];
    let all = protecting(problem.model.token_width());
    let refusal = problem.plan(&problem.bank("bank"), &concepts, &all).unwrap_err().to_string();
    assert!(
        refusal.contains("`protected_directions` is 32") && refusal.contains("to_k"),
        "{refusal}"
    );
}

/// The first concept has nothing before it, so the base makes no difference to it; the second is
/// trained beside the first or without it.
pub fn only_an_accumulated_base_holds_earlier_concepts<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let learn = |base, name| {
        let config = TrainConfig { base, steps: 1, outer: 1, ..config(NoiseReuse::Minibatch) };
        problem.learn_as(&["first", "second"], &config, name)
    };
    let pretrained = learn(TrainingBase::Pretrained, "pretrained");
    let accumulated = learn(TrainingBase::Accumulated, "accumulated");
    assert_eq!(pretrained[0], accumulated[0]);
    assert_ne!(pretrained[1], accumulated[1]);
    assert_eq!(accumulated, learn(TrainingBase::Accumulated, "again"));
}

/// Images of the class are drawn like those of the concept, with the class word in the concept's place, and
/// their noise is what is to be predicted; another class is kept by other images.
pub fn images_of_the_class_are_kept<B: KernelBackend>(_: f64) {
    let mut problem = Problem::<B>::new();
    let on = TrainConfig { prior_weight: 1.0, batch: 2, ..config(NoiseReuse::Evaluation) };
    let prior = |problem: &Problem<B>| {
        problem.samples(&on, 1).into_iter().map(|sample| sample.prior.unwrap())
    };
    let predicted: Vec<_> = prior(&problem).collect();
    let class = ConceptSource { class_images: None, ..problem.source.clone() };
    problem.source.class_images = Some(Box::new(class));
    let samples = problem.samples(&on, 1);
    assert_eq!(samples.len(), 4);
    for (sample, predicted) in samples.into_iter().zip(predicted) {
        let prior = sample.prior.expect("images of the class");
        // The same images, but drawn by themselves.
        assert_ne!(prior.timesteps, sample.timesteps);
        assert_ne!(prior.target.to_data(), sample.noise.to_data());
        assert_ne!(prior.target.to_data(), predicted.target.to_data());
        assert!(prior.prompts.words.iter().all(Vec::is_empty));
        assert_eq!(prior.mask.dims(), sample.mask.dims());
    }
    let own = problem.learn(&on, "with images");
    problem.source.class_images = None;
    assert_ne!(own, problem.learn(&on, "without"));
}
