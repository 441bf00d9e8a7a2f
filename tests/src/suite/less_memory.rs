//! Training that takes less memory, on the tiny model: activations that are computed again, and micro-batches.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::diffusion::DenoisingSample;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::StoredFactors;
use burn_seqlora::methods::NAMES;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::models::blueprint::Blueprint;
use burn_seqlora::settings::{Memory, NoiseReuse, TrainConfig, TrainingBase};
use burn_seqlora::text::TokenScheme;
use serde_json::json;

use super::learning::{Problem, config};

impl<B: KernelBackend> Problem<B> {
    /// With random weights in a UNet of three levels.
    fn of_three_levels() -> Self {
        let problem = Self::new();
        let [unet, text_encoder, vae] = [
            json!({
                "_class_name": "UNet2DConditionModel",
                "block_out_channels": [16, 16, 16],
                "down_block_types": vec!["CrossAttnDownBlock2D"; 3],
                "up_block_types": vec!["CrossAttnUpBlock2D"; 3],
                "layers_per_block": 1,
                "attention_head_dim": 2,
                "cross_attention_dim": 32,
                "norm_num_groups": 4,
            }),
            json!({
                "model_type": "clip_text_model",
                "hidden_size": 32,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            }),
            json!({
                "_class_name": "AutoencoderKL",
                "block_out_channels": [8, 8, 8, 8],
                "down_block_types": vec!["DownEncoderBlock2D"; 4],
                "up_block_types": vec!["UpDecoderBlock2D"; 4],
                "norm_num_groups": 4,
            }),
        ];
        let words = Vec::new();
        let blueprint = Blueprint { unet, text_encoder, vae, scheduler: json!({}), words };
        let (folder, device) = (problem.folder.path().join("model"), B::Device::default());
        blueprint.write_with_random_weights::<B>(&folder, 0, &device).unwrap();
        Self { model: StableDiffusion::load(&folder, &device).unwrap(), ..problem }
    }
}

/// With every method, an earlier concept among the frozen weights, and token embeddings of their own for each layer.
pub fn less_memory_changes_nothing<B: KernelBackend>(_: f64) {
    assert_less_memory_changes_nothing(&Problem::<B>::new(), NAMES);
}

/// The same in a UNet with coarse levels, whose activations are kept also in low memory.
pub fn less_memory_changes_nothing_at_coarse_levels<B: KernelBackend>(_: f64) {
    assert_less_memory_changes_nothing(&Problem::<B>::of_three_levels(), &["seqlora"]);
}

fn assert_less_memory_changes_nothing<B: KernelBackend>(problem: &Problem<B>, methods: &[&str]) {
    for name in methods {
        let config = TrainConfig {
            method: name.to_string(),
            base: TrainingBase::Accumulated,
            tokens: TokenScheme::EdLora,
            batch: 3,
            ..config(NoiseReuse::Minibatch)
        };
        let learn = |memory, micro_batch| {
            let mut bank = problem.bank(&format!("{name}-{memory:?}-{micro_batch:?}"));
            let config = TrainConfig { memory, micro_batch, ..config.clone() };
            problem.learn_into(&mut bank, &["earlier", "later"], &config);
            let embeddings = bank.embeddings(&bank.record("later").unwrap()).unwrap().1;
            (bank.adapter("later").unwrap(), embeddings)
        };
        let (kept, kept_words) = learn(Memory::Fast, None);
        for (memory, micro_batch) in [(Memory::Low, None), (Memory::Fast, Some(2))] {
            let (again, again_words) = learn(memory, micro_batch);
            // All sites together: Adam turns rounding of gradients that are almost zero into steps.
            for factors in [|f: &StoredFactors| f.up.clone(), |f: &StoredFactors| f.down.clone()] {
                let [kept, again] =
                    [&kept, &again].map(|a| a.0.values().flat_map(factors).collect());
                let (kept, again): (Vec<f32>, Vec<f32>) = (kept, again);
                assert_near_numbers(name, &again, &kept);
            }
            assert_near_numbers("token embeddings", &again_words, &kept_words);
        }
    }
}

/// Micro-batches are the images of the minibatch, in its order, each with its share; also those of the class.
pub fn micro_batches_are_the_minibatch<B: KernelBackend>(_: f64) {
    let problem = Problem::<B>::new();
    let config = TrainConfig { batch: 3, prior_weight: 1.0, ..config(NoiseReuse::Minibatch) };
    let whole = problem.samples(&config, 0).remove(0);
    let parts = TrainConfig { micro_batch: Some(2), ..config.clone() };
    let parts = problem.minibatches(&parts, 0).remove(0);
    assert_eq!(parts.iter().map(|part| part.share).collect::<Vec<_>>(), [2.0 / 3.0, 1.0 / 3.0]);
    let joined = |of: fn(&DenoisingSample<Autodiff<B>>) -> Tensor<Autodiff<B>, 4>| {
        Tensor::cat(parts.iter().map(|part| of(&part.sample)).collect(), 0).to_data()
    };
    for of in [
        |sample: &DenoisingSample<_>| sample.latents.clone(),
        |sample: &DenoisingSample<_>| sample.noise.clone(),
        |sample: &DenoisingSample<_>| sample.mask.clone(),
        |sample: &DenoisingSample<_>| sample.prior.as_ref().unwrap().input.clone(),
    ] {
        assert_eq!(joined(of), of(&whole).to_data());
    }
    let timesteps: Vec<_> = parts.iter().flat_map(|part| part.sample.timesteps.clone()).collect();
    assert_eq!(timesteps, whole.timesteps);
    let words: Vec<_> = parts.iter().flat_map(|part| part.sample.prompts.words.clone()).collect();
    assert_eq!(words, whole.prompts.words);
    let larger = TrainConfig { micro_batch: Some(4), ..config };
    assert_eq!(problem.minibatches(&larger, 0)[0].len(), 1);
}

fn assert_near_numbers(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let square = |numbers: &mut dyn Iterator<Item = f32>| -> f32 { numbers.map(|x| x * x).sum() };
    let apart = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let error = (apart / square(&mut expected.iter().copied())).sqrt();
    assert!(error < 1e-2, "{what}: {error:.2e}");
}
