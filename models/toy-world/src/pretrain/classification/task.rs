//! The training task of the classifier.

use std::ops::Range;

use burn::tensor::Tensor;
use rand::RngExt;
use seqlora_core::error::Result;
use seqlora_core::rng::Seed;
use seqlora_kernels::TrainBackend;

use super::augment::Augmentation;
use super::loss::classifier_loss;
use crate::classifier::ClassifierModel;
use crate::pixels::to_pixels;
use crate::pretrain::train::Task;
use crate::world::{Class, Description, Individual, ObjectDescription, Scene, Truth};

/// The task of predicting attributes and identities of augmented images of random scenes.
#[derive(Debug)]
pub struct Classification<'a> {
    /// The augmentation of the images.
    pub augmentation: &'a Augmentation,
    /// Width and height of the images, in pixels.
    pub side: usize,
    /// The seed of scenes and augmentation.
    pub seed: Seed,
}

/// The scene of an index: one or two objects, each an individual with probability 1/2.
///
/// Unlike [`Scene::random`] it includes held-out combinations: a classifier that measures
/// compositional generalisation must know all combinations.
pub fn scene(seed: &Seed, index: u64) -> Scene {
    let mut rng = seed.fork("objects").at(index);
    let mut object = || match rng.random_bool(0.5) {
        true => ObjectDescription::any(Class::ALL[rng.random_range(0..Class::ALL.len())]),
        false => {
            ObjectDescription::individual(Individual::of(rng.random_range(0..Individual::COUNT)))
        }
    };
    let mut objects = vec![object(), object()];
    objects.truncate(rng.random_range(1..=2));
    Description { objects, ..Description::default() }.scene(seed, index)
}

impl<B: TrainBackend> Task<B> for Classification<'_> {
    type Module = ClassifierModel<B>;

    fn loss(&self, model: &ClassifierModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
        let device = model.device();
        let scenes: Vec<Scene> = samples.clone().map(|index| scene(&self.seed, index)).collect();
        let truths: Vec<Truth> = scenes.iter().map(Scene::truth).collect();
        let pixels = to_pixels(&scenes, self.side, &device);
        let pixels = self.augmentation.apply(pixels, samples, &self.seed);
        Ok(classifier_loss(model, pixels, &truths))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::{Classifier, ClassifierConfig, Prediction};
    use crate::pretrain::config::TaskConfig;
    use crate::pretrain::initial::initialised;
    use crate::pretrain::train::train;
    use crate::world::Split;
    use burn::backend::Autodiff;
    use burn::module::AutodiffModule;
    use seqlora_core::train::Flow;
    use seqlora_kernels::Flex;
    use seqlora_models::vit::VitConfig;
    use seqlora_models::weights::{KeyTable, Stored, save_weights};

    type B = Autodiff<Flex>;

    const NO_AUGMENTATION: Augmentation =
        Augmentation { brightness: 0.0, contrast: 0.0, blur: 0, noise: 0.0 };

    fn task() -> Classification<'static> {
        Classification { augmentation: &NO_AUGMENTATION, side: 16, seed: Seed::new(0) }
    }

    /// A task that repeats the same eight images.
    struct Fixed(Classification<'static>);

    impl Task<B> for Fixed {
        type Module = ClassifierModel<B>;

        fn loss(&self, model: &ClassifierModel<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
            self.0.loss(model, samples.start % 8..samples.start % 8 + samples.end - samples.start)
        }
    }

    /// A classifier for images of 16 × 16 pixels.
    fn small() -> ClassifierConfig {
        let vision_config = VitConfig {
            hidden_size: 32,
            num_hidden_layers: 2,
            intermediate_size: 64,
            image_size: 8,
            patch_size: 1,
            ..ClassifierConfig::default().vision_config
        };
        ClassifierConfig {
            stem: vec![16],
            vision_config,
            projection_dim: 16,
            ..ClassifierConfig::default()
        }
    }

    fn trained(config: &ClassifierConfig, steps: usize) -> ClassifierModel<B> {
        let settings =
            TaskConfig { steps, batch: 8, warmup: 20, lr: 3e-3, ..TaskConfig::default() };
        let folder = tempfile::tempdir().unwrap();
        let device = Default::default();
        let model = initialised(config.init::<B>(&device), &task().seed, &device);
        let model = train(&Fixed(task()), model, &settings, folder.path(), |_| Flow::Continue);
        model.unwrap().unwrap()
    }

    #[test]
    fn a_classifier_learns_images_and_is_the_same_after_loading() {
        let config = small();
        let model = trained(&config, 300);
        let scenes: Vec<Scene> = (0..8).map(|index| scene(&task().seed, index)).collect();
        let pixels = to_pixels(&scenes, 16, &Default::default());
        let predictions = Classifier::new(model.valid(), 16).classify(pixels.clone());
        let agrees = |(prediction, scene): (&Prediction, &Scene)| {
            let agreement = prediction.agreement(&scene.description());
            agreement.class == Some(true) && agreement.background == Some(true)
        };
        let correct = predictions.iter().zip(&scenes).filter(|pair| agrees(*pair)).count();
        assert!(correct >= 7, "{correct} of 8");

        let folder = tempfile::tempdir().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        let file = folder.path().join("model.safetensors");
        save_weights(&model, KeyTable::VIT, Stored::F16, &file).unwrap();
        let stored = Classifier::<Flex>::load(folder.path(), &Default::default()).unwrap();
        let difference =
            stored.embed(pixels.clone()) - Classifier::new(model.valid(), 16).embed(pixels);
        assert!(difference.abs().max().into_scalar() < 5e-3);
        assert_eq!(stored.side(), 16);
    }

    #[test]
    fn half_of_the_objects_are_individuals_and_no_combination_is_held_out() {
        let seed = Seed::new(0);
        let scenes: Vec<Scene> = (0..2000).map(|index| scene(&seed, index)).collect();
        let objects: Vec<_> = scenes.iter().flat_map(|scene| scene.truth().objects).collect();
        let individuals: Vec<usize> = objects.iter().filter_map(|o| o.individual).collect();
        assert!((0.45..0.55).contains(&(individuals.len() as f64 / objects.len() as f64)));
        assert!((0..Individual::COUNT).all(|index| individuals.contains(&index)));
        assert!((2700..3300).contains(&objects.len()));
        let held_out = scenes.iter().filter(|s| Split::of(&s.description()) == Split::HeldOut);
        assert!(held_out.count() > 100);
    }
}
