//! Weighted, long and partly encoded prompts against their definition in PyTorch, and their laws.

use burn::tensor::Tensor;
use burn_seqlora::Flow;
use burn_seqlora::compose::Composition;
use burn_seqlora::kernels::Flex;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{ImageRequest, Pipeline, SamplingSettings, TextSettings};
use burn_seqlora::text::{Part, PromptSyntax, parse_weights};
use seqlora_tests::fixtures::{self, Fixture, assert_close};
use serde_json::Value;

fn model(name: &str) -> StableDiffusion<Flex> {
    StableDiffusion::load(&fixtures::path(name), &Default::default()).unwrap()
}

fn weighted(clip_skip: usize) -> TextSettings {
    TextSettings { syntax: PromptSyntax::Weighted, clip_skip }
}

/// What cross-attention sees of each prompt, `[prompts, length, width]`.
fn encode(
    model: &StableDiffusion<Flex>,
    prompts: &[&str],
    settings: TextSettings,
) -> Tensor<Flex, 3> {
    let pipeline = Pipeline::new(model, Composition::none(model.sites().len()));
    pipeline.encode(prompts, &settings).unwrap().context.layer(0).primal
}

fn cases() -> Vec<Value> {
    let text = std::fs::read(fixtures::path("weighted_prompts.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn prompts_mean_their_parts() {
    for case in cases() {
        let part = |part: &Value| match part[0].as_str().unwrap() {
            "BREAK" => Part::Break,
            text => Part::Text(text.trim().into(), part[1].as_f64().unwrap()),
        };
        let expected: Vec<Part> = case["parts"].as_array().unwrap().iter().map(part).collect();
        let expected: Vec<Part> = expected.into_iter().filter(|part| !is_empty(part)).collect();
        let trimmed = |part| match part {
            Part::Text(text, weight) => Part::Text(text.trim().into(), weight),
            Part::Break => Part::Break,
        };
        let prompt = case["prompt"].as_str().unwrap();
        let found: Vec<Part> = parse_weights(prompt).unwrap().into_iter().map(trimmed).collect();
        assert_eq!(found, expected, "{prompt}");
    }
}

fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Text(text, _) if text.is_empty())
}

#[test]
fn encoded_prompts_are_those_of_pytorch() {
    let fixture = Fixture::open("weighted_prompts.safetensors");
    let models = ["tiny-sd1", "tiny-sd2"].map(|name| (name, model(name)));
    for case in cases() {
        let name = case["name"].as_str().unwrap();
        let (_, model) = models.iter().find(|(model, _)| case["model"] == *model).unwrap();
        let skip = case["clip_skip"].as_u64().unwrap() as usize;
        let states = encode(model, &[case["prompt"].as_str().unwrap()], weighted(skip));
        assert_eq!(states.dims()[1], 77 * case["chunks"].as_u64().unwrap() as usize, "{name}");
        assert_close(name, &states, &fixture.float::<Flex, 3>(name), 1e-5);
    }
}

/// Weights of 1, written or not, change no bit, and nor does the company of weighted prompts.
#[test]
fn a_weight_of_one_is_none() {
    let model = model("tiny-sd1");
    let plain = encode(&model, &["a red dog on grass"], TextSettings::default()).into_data();
    for prompt in ["a red dog on grass", "a (red:1.0) dog (on:1) grass", "(a red dog on grass:1)"] {
        assert_eq!(encode(&model, &[prompt], weighted(1)).into_data(), plain, "{prompt}");
    }
    let both = encode(&model, &["a red dog on grass", "a (red:1.4) dog on grass"], weighted(1));
    let [alone, changed] = [0, 1].map(|at| both.clone().narrow(0, at, 1).into_data());
    let pair = encode(&model, &["a red dog on grass"; 2], TextSettings::default());
    assert_eq!(alone, pair.narrow(0, 0, 1).into_data());
    assert_ne!(changed, alone);
}

/// The mean of a weighted prompt's states is that of the prompt without weights.
#[test]
fn weights_keep_the_mean() {
    let model = model("tiny-sd1");
    let mean = |prompt| encode(&model, &[prompt], weighted(1)).mean().into_scalar();
    let expected = mean("a red dog");
    for prompt in ["a (red:1.4) dog", "a [red] dog", "(a:0.2) ((red)) dog"] {
        assert!((mean(prompt) / expected - 1.0).abs() < 1e-4, "{prompt}");
    }
}

/// A short prompt next to a long one is filled up by what an empty prompt encodes to.
#[test]
fn short_prompts_are_filled_up() {
    let model = model("tiny-sd1");
    let long = "a red dog and a blue cat ".repeat(20);
    let both = encode(&model, &["a dog", &long], weighted(1));
    assert_eq!(both.dims()[1], 2 * 77);
    let short = both.narrow(0, 0, 1);
    let alone = encode(&model, &["a dog", ""], weighted(1));
    for (chunk, prompt) in [(0, 0), (1, 1)] {
        let expected = alone.clone().narrow(0, prompt, 1);
        assert_close("chunk", &short.clone().narrow(1, 77 * chunk, 77), &expected, 1e-6);
    }
}

/// Images with long prompts, alone or next to another one of their length, and the refusal of others.
#[test]
fn long_prompts_are_sampled() {
    let model = model("tiny-sd1");
    let pipeline = Pipeline::new(&model, Composition::none(model.sites().len()));
    let long = "a red dog and a blue cat ".repeat(20);
    let text = weighted(1);
    let settings = SamplingSettings { steps: 2, text, ..SamplingSettings::default() };
    let [short, first, second] =
        ["a dog", &long, "a dog BREAK on grass"].map(|text| ImageRequest::new(text, 1, 0));
    let counts =
        [&short, &first, &second].map(|request| pipeline.chunks(request, &settings).unwrap());
    assert_eq!(counts, [1, 2, 2]);
    let images = pipeline.sample(&[first.clone(), second], &settings, |_| Flow::Continue);
    let images = images.unwrap().unwrap().images;
    assert_ne!(images[0], images[1]);
    let plain = SamplingSettings { text: TextSettings::default(), ..settings.clone() };
    let [whole, cut] = [&settings, &plain].map(|s| pipeline.generate(&first, s).unwrap());
    assert_ne!(whole, cut, "what is beyond 75 tokens has no effect");
    let unguided = SamplingSettings { guidance: 1.0, ..settings.clone() };
    let long_negative = ImageRequest { negative: long.clone(), ..short.clone() };
    let [with, without] =
        [&long_negative, &short].map(|request| pipeline.generate(request, &unguided).unwrap());
    assert_eq!(with, without, "a negative prompt without guidance has an effect");
    let mixed = pipeline.sample(&[short, first], &settings, |_| Flow::Continue);
    assert!(mixed.unwrap_err().to_string().contains("equally many chunks"));
}

#[test]
fn layers_that_are_not_there_are_refused() {
    let model = model("tiny-sd1");
    let pipeline = Pipeline::new(&model, Composition::none(model.sites().len()));
    for skip in [0, 4] {
        let error = pipeline.encode(&["a dog"], &weighted(skip)).unwrap_err().to_string();
        assert!(error.contains(&format!("clip skip {skip}: the text encoder has 3 layers")));
    }
}
