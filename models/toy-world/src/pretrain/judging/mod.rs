//! Training the judge: pictures to what they show.

pub mod augment;
mod loss;
mod report;
mod targets;

use std::ops::Range;

use burn::tensor::Tensor;
use rand::RngExt;
use seqlora_core::error::Result;
use seqlora_core::rng::Seed;
use seqlora_kernels::TrainBackend;

pub use augment::Augmentation;
pub(super) use loss::cross_entropy;
pub use loss::{AnswersLoss, judge_loss};
pub use report::JudgeReport;
pub use targets::{Targets, covered, covered_by};

use super::scenes::to_pixels;
use super::train::Stage;
use crate::judge::JudgeModel;
use crate::world::{Class, Description, Individual, Scene, Truth, Wanted};

/// The sum of the judge's errors about random scenes.
#[derive(Debug)]
pub struct Judging<'a> {
    /// How pictures are damaged.
    pub augmentation: &'a Augmentation,
    /// Side of the pictures.
    pub side: usize,
    /// Of scenes and damages.
    pub seed: Seed,
}

/// The scene of an index: one or two objects, each an individual half of the time.
///
/// Unlike [`Scene::random`] it holds no combination back: a judge of how well a model puts known
/// words together in new ways must know all of them.
pub fn scene(seed: &Seed, index: u64) -> Scene {
    let mut rng = seed.fork("objects").at(index);
    let classes = Class::ALL.len();
    let first = rng.random_range(0..classes);
    let other = (first + rng.random_range(1..classes)) % classes;
    let mut wanted = |class: usize| match rng.random_bool(0.5) {
        true => Wanted::any(Class::ALL[class]),
        false => {
            let number = rng.random_range(0..Individual::COUNT / classes);
            Wanted::individual(Individual::of(class + classes * number))
        }
    };
    let mut objects = vec![wanted(first), wanted(other)];
    objects.truncate(rng.random_range(1..=2));
    Description { objects, ..Description::default() }.scene(seed, index)
}

impl<B: TrainBackend> Stage<B> for Judging<'_> {
    type Module = JudgeModel<B>;

    fn loss(&self, judge: &JudgeModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let device = judge.device();
        let scenes: Vec<Scene> = samples.clone().map(|index| scene(&self.seed, index)).collect();
        let truths: Vec<Truth> = scenes.iter().map(Scene::truth).collect();
        let pixels = to_pixels(&scenes, self.side, &device);
        let pixels = self.augmentation.apply(pixels, samples, &self.seed);
        Ok(judge_loss(judge, pixels, &truths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Judge, JudgeConfig};
    use crate::pretrain::{StageConfig, initialised, train};
    use crate::world::Split;
    use burn::backend::Autodiff;
    use burn::module::AutodiffModule;
    use seqlora_core::train::Flow;
    use seqlora_kernels::Flex;
    use seqlora_models::vit::VitConfig;
    use seqlora_models::weights::{KeyTable, Stored, save_weights};

    type B = Autodiff<Flex>;

    /// A judge of pictures of 16² that was trained for some steps on the same few.
    fn trained(config: &JudgeConfig, steps: usize) -> (JudgeModel<B>, Judging<'static>) {
        let stage = Judging { augmentation: &NOTHING, side: 16, seed: Seed::new(0) };
        let settings =
            StageConfig { steps, batch: 8, warmup: 20, rate: 3e-3, ..StageConfig::default() };
        let folder = tempfile::tempdir().unwrap();
        let device = Default::default();
        let judge = initialised(config.init::<B>(&device), &stage.seed, &device);
        let fixed = Fixed(&stage);
        let judge = train(&fixed, judge, &settings, folder.path(), |_| Flow::Continue);
        (judge.unwrap().unwrap(), stage)
    }

    const NOTHING: Augmentation =
        Augmentation { brightness: 0.0, contrast: 0.0, blur: 0, noise: 0.0 };

    /// The same samples again and again.
    struct Fixed<'a>(&'a Judging<'static>);

    impl Stage<B> for Fixed<'_> {
        type Module = JudgeModel<B>;

        fn loss(&self, judge: &JudgeModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
            self.0.loss(judge, samples.start % 8..samples.start % 8 + samples.end - samples.start)
        }
    }

    fn small() -> JudgeConfig {
        let vision_config = VitConfig {
            hidden_size: 32,
            num_hidden_layers: 2,
            intermediate_size: 64,
            image_size: 8,
            patch_size: 1,
            ..JudgeConfig::default().vision_config
        };
        JudgeConfig { stem: vec![16], vision_config, projection_dim: 16, ..JudgeConfig::default() }
    }

    #[test]
    fn a_judge_learns_pictures_and_survives_being_stored() {
        let config = small();
        let (judge, stage) = trained(&config, 300);
        let scenes: Vec<Scene> = (0..8).map(|index| scene(&stage.seed, index)).collect();
        let pixels = to_pixels(&scenes, 16, &Default::default());
        let readings = Judge::new(judge.valid(), 16).read(pixels.clone());
        let agrees = |(reading, scene): (&crate::judge::Reading, &Scene)| {
            let agreement = reading.agreement(&scene.description());
            agreement.class == Some(true) && agreement.background == Some(true)
        };
        let right = readings.iter().zip(&scenes).filter(|pair| agrees(*pair)).count();
        assert!(right >= 7, "{right} of 8");

        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let file = folder.path().join("model.safetensors");
        save_weights(&judge, KeyTable::VIT, Stored::F16, &file).unwrap();
        let stored = Judge::<Flex>::load(folder.path(), &Default::default()).unwrap();
        let difference = stored.embed(pixels.clone()) - Judge::new(judge.valid(), 16).embed(pixels);
        assert!(difference.abs().max().into_scalar() < 5e-3);
        assert_eq!(stored.side(), 16);
    }

    #[test]
    fn half_of_the_objects_are_individuals_and_nothing_is_held_back() {
        let seed = Seed::new(0);
        let scenes: Vec<Scene> = (0..2000).map(|index| scene(&seed, index)).collect();
        let objects: Vec<_> = scenes.iter().flat_map(|scene| scene.truth().objects).collect();
        let individuals: Vec<usize> = objects.iter().filter_map(|seen| seen.individual).collect();
        assert!((0.45..0.55).contains(&(individuals.len() as f64 / objects.len() as f64)));
        assert!((0..Individual::COUNT).all(|index| individuals.contains(&index)));
        assert!((2700..3300).contains(&objects.len()));
        let held_out = scenes.iter().filter(|s| Split::of(&s.description()) == Split::HeldOut);
        assert!(held_out.count() > 100);
    }
}
