//! Image-to-image, pixels to latents, against diffusers' pipeline.

use burn::tensor::Tensor;
use burn_seqlora::compose::Composition;
use burn_seqlora::diffusion::{Guidance, SamplerKind, SamplerPlan, sample_from};
use burn_seqlora::kernels::Flex;
use burn_seqlora::lora::DualAdapters;
use burn_seqlora::model::{DiffusionModel, LatentCodec};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{Pipeline, TextSettings};
use seqlora_tests::fixtures::{self, Fixture, assert_close};
use serde_json::Value;

/// That of the fixture's script: 3 of 5 steps.
const STRENGTH: f64 = 0.7;

#[test]
fn images_are_changed_as_by_diffusers() {
    let model =
        StableDiffusion::<Flex>::load(&fixtures::path("tiny-sd1"), &Default::default()).unwrap();
    let text = std::fs::read(fixtures::path("fixtures.json")).unwrap();
    let settings = &serde_json::from_slice::<Value>(&text).unwrap()["text2image"];
    let fixture = Fixture::open("image_to_image_sd1.safetensors");
    let pipeline = Pipeline::new(&model, Composition::none(model.sites().len()));
    let encode = |key: &str| {
        let prompt = settings[key].as_str().unwrap();
        pipeline.encode(&[prompt], &TextSettings::default()).unwrap()
    };
    let guidance = Guidance {
        prompt: encode("prompt"),
        negative: encode("negative_prompt"),
        scale: settings["guidance_scale"].as_f64().unwrap(),
    };
    let posterior = model.encode_image(fixture.float("pixels"));
    let latents = posterior.mean + posterior.std * fixture.float("posterior");
    let steps = settings["num_inference_steps"].as_u64().unwrap() as usize;
    for (kind, key) in [(SamplerKind::Ddim, "ddim"), (SamplerKind::DpmPlusPlus2M, "dpm")] {
        let plan = SamplerPlan::new(kind, model.scheduler(), steps).unwrap();
        let plan = plan.from_image(STRENGTH).unwrap();
        let noise: Tensor<Flex, 4> = fixture.float("noise");
        let first = latents.clone().mul_scalar(plan.init_signal)
            + noise.clone().mul_scalar(plan.init_noise_sigma);
        let none = DualAdapters::none();
        let fresh = |_| noise.clone();
        let end = sample_from(&model, &none, &guidance, &plan, first, fresh, |_| true).unwrap();
        assert_close(key, &end, &fixture.float::<Flex, 4>(&format!("{key}.latents")), 1e-4);
    }
}
