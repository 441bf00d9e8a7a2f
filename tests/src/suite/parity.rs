//! Every part of the model against diffusers and transformers.

use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::Context;
use burn_seqlora::diffusion::{Guidance, SamplerKind, SamplerPlan, sample};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::DualAdapters;
use burn_seqlora::model::{Denoiser, LatentCodec, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::models::tokenizer::ClipTokenizer;
use burn_seqlora::models::vit::VitModel;
use burn_seqlora::text::{Piece, TextBatch, Vocabulary};

use crate::fixtures;
use crate::fixtures::{Fixture, assert_close};

fn model<B: KernelBackend>(name: &str) -> StableDiffusion<B> {
    StableDiffusion::load(&fixtures::path(name), &B::Device::default()).unwrap()
}

fn timesteps<B: Backend>(fixture: &Fixture, name: &str) -> Tensor<B, 1> {
    let steps: Vec<f32> = fixture.integers(name).into_iter().map(|t| t as f32).collect();
    Tensor::from_data(TensorData::from(steps.as_slice()), &B::Device::default())
}

fn unet<B: KernelBackend>(name: &str, fixture: &str, tolerance: f64) {
    let (model, fixture) = (model::<B>(name), Fixture::open(fixture));
    let predict = |context: Context<B>| {
        let noisy = Dual::constant(fixture.float("unet.sample"));
        let steps = timesteps(&fixture, "unet.timesteps");
        model.predict(noisy, steps, &context.into(), &DualAdapters::none()).primal
    };
    let shared = Dual::constant(fixture.float::<B, 3>("unet.encoder_hidden_states"));
    let output = predict(Context::new(shared, 1));
    assert_close("one context", &output, &fixture.float::<B, 4>("unet.output"), tolerance);

    let layers = fixture.float::<B, 4>("unet.ctx_layers");
    let [batch, count, length, width] = layers.dims();
    assert_eq!(count, model.cross_attention_layers());
    let layers = Dual::constant(layers.reshape([batch * count, length, width]));
    let output = predict(Context::new(layers, count));
    let expected = fixture.float::<B, 4>("unet.output_ctx_layers");
    assert_close("a context per layer", &output, &expected, tolerance);
}

/// SD1: convolutions around the transformers, one number of heads.
pub fn unet_sd1<B: KernelBackend>(tolerance: f64) {
    unet::<B>("tiny-sd1", "parity_sd1.safetensors", tolerance);
}

/// SD2: linear layers around the transformers, heads per level, f16 shards.
pub fn unet_sd2<B: KernelBackend>(tolerance: f64) {
    unet::<B>("tiny-sd2", "parity_sd2.safetensors", tolerance);
}

/// Both activations; keys with and without the old prefix.
pub fn text_encoder<B: KernelBackend>(tolerance: f64) {
    for (name, fixture) in
        [("tiny-sd1", "parity_sd1.safetensors"), ("tiny-sd2", "parity_sd2.safetensors")]
    {
        let (model, fixture) = (model::<B>(name), Fixture::open(fixture));
        let ids = fixture.ids("text_encoder.input_ids");
        let batch = TextBatch { ids, gather: None, copies: 1, words: Vec::new() };
        let context = model.encode_text(&batch, None, &DualAdapters::none());
        let expected = fixture.float::<B, 3>("text_encoder.last_hidden_state");
        assert_close(name, &context.context.layer(0).primal, &expected, tolerance);
    }
}

/// Mean, standard deviation and decoding; attention keys old and new, bf16.
pub fn vae<B: KernelBackend>(tolerance: f64) {
    for (name, fixture) in
        [("tiny-sd1", "parity_sd1.safetensors"), ("tiny-sd2", "parity_sd2.safetensors")]
    {
        let (model, fixture) = (model::<B>(name), Fixture::open(fixture));
        let scale = model.config().vae.scaling_factor;
        let posterior = model.encode_image(fixture.float("vae.pixels"));
        let mean = fixture.float::<B, 4>("vae.mean").mul_scalar(scale);
        let std = fixture.float::<B, 4>("vae.logvar").mul_scalar(0.5).exp().mul_scalar(scale);
        assert_close("mean", &posterior.mean, &mean, tolerance);
        assert_close("standard deviation", &posterior.std, &std, tolerance);
        let pixels = model.decode_latents(fixture.float::<B, 4>("vae.latent").mul_scalar(scale));
        assert_close("pixels", &pixels, &fixture.float::<B, 4>("vae.decoded"), tolerance);
    }
}

/// Class token and patches of images of two sizes, the other with resampled positions.
pub fn vit<B: KernelBackend>(tolerance: f64) {
    let model = VitModel::<B>::load(&fixtures::path("tiny-vit"), &B::Device::default()).unwrap();
    let fixture = Fixture::open("parity_vit.safetensors");
    for size in ["", "other_"] {
        let tokens = model.forward(Dual::constant(fixture.float(&format!("{size}pixels"))));
        let class = tokens.class.primal.unsqueeze_dim(1);
        let all = Tensor::cat(vec![class, tokens.patches.primal], 1);
        let expected = fixture.float::<B, 3>(&format!("{size}last_hidden_state"));
        assert_close(&format!("{size}last_hidden_state"), &all, &expected, tolerance);
    }
}

/// Prompt to image from given noise, with guidance: a sampler of each order, and one that draws.
pub fn text_to_image<B: KernelBackend>(tolerance: f64) {
    let settings: serde_json::Value =
        serde_json::from_slice(&std::fs::read(fixtures::path("fixtures.json")).unwrap()).unwrap();
    let settings = &settings["text2image"];
    for name in ["sd1", "sd2"] {
        let model = model::<B>(&format!("tiny-{name}"));
        let fixture = Fixture::open(&format!("text2image_{name}.safetensors"));
        let none = Composition::<B>::none(0);
        let context = |key: &str| {
            let pieces = none.vocabulary.split(settings[key].as_str().unwrap()).unwrap();
            let tokens = model.tokenize(&pieces).unwrap();
            let batch = TextBatch::new(&[tokens], &Vocabulary::default(), 1, &B::Device::default());
            model.encode_text(&batch, None, &DualAdapters::none())
        };
        let guidance = Guidance {
            prompt: context("prompt"),
            negative: context("negative_prompt"),
            scale: settings["guidance_scale"].as_f64().unwrap(),
        };
        let steps = settings["num_inference_steps"].as_u64().unwrap() as usize;
        let fresh = fixture.float::<B, 5>("fresh");
        for (kind, key) in [
            (SamplerKind::Ddim, "ddim"),
            (SamplerKind::DpmPlusPlus2M, "dpm"),
            (SamplerKind::EulerAncestral, "euler_a"),
        ] {
            let plan = SamplerPlan::new(kind, &model.config().scheduler, steps).unwrap();
            let noise = fixture.float("latents");
            let none = DualAdapters::none();
            let fresh = |step| fresh.clone().narrow(0, step, 1).squeeze_dim::<4>(0);
            let latents = sample(&model, &none, &guidance, &plan, noise, fresh, |_| true).unwrap();
            let expected = fixture.float::<B, 4>(&format!("{key}.latents"));
            assert_close(&format!("{name} {key} latents"), &latents, &expected, tolerance);
            let image =
                model.decode_latents(latents).div_scalar(2.0).add_scalar(0.5).clamp(0.0, 1.0);
            let expected = fixture.float::<B, 4>(&format!("{key}.image"));
            assert_close(&format!("{name} {key} image"), &image, &expected, tolerance);
        }
    }
}

/// Token ids, as transformers makes them.
pub fn prompts<B: KernelBackend>(_: f64) {
    let file = std::fs::read(fixtures::path("prompts.json")).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    for name in ["sd1", "sd2"] {
        let folder = fixtures::path(&format!("tiny-{name}")).join("tokenizer");
        let tokenizer = ClipTokenizer::from_folder(&folder).unwrap();
        let prompts = file["prompts"].as_array().unwrap();
        for (prompt, ids) in prompts.iter().zip(file[name]["ids"].as_array().unwrap()) {
            let expected: Vec<u32> =
                ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            let text = Piece::Text(prompt.as_str().unwrap().to_string());
            assert_eq!(tokenizer.assemble(&[text]).unwrap().ids, expected, "{name}: {prompt}");
        }
    }
}
