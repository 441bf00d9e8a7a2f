//! Models of other versions and other tools: what is done about what their files leave open, and that
//! the user is told.

use std::fs;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::single_file::{project, sidecar, single_file};
use crate::weights;
use crate::weights::Weights;

/// The pixels of a run's image, and its messages.
#[track_caller]
fn generate(project: &Project, options: &str) -> (Vec<u8>, String) {
    let run = project.generate("a photo of a mug", options).succeeds();
    (project.pixels(), run.stderr)
}

/// Old schedulers' files sample as in diffusers' pipeline, which puts 1 in the place of every other
/// offset and does not clip.
#[test]
fn old_schedulers_sample_as_in_diffusers_pipeline() {
    let project = Project::new(&[]).with_own_model();
    let file = "model/scheduler/scheduler_config.json";
    let given: Value = serde_json::from_slice(&fs::read(project.path(file)).unwrap()).unwrap();
    let (expected, messages) = generate(&project, "--sampler ddim");
    assert!(!messages.contains("note"), "{messages}");
    for (offset, clip, notes) in [
        (json!(0), json!(false), &["`steps_offset` is 0; 1 is used"][..]),
        (json!(1_152_921_504_606_846_976_u64), json!(false), &["1 is used"]),
        (json!(1), json!(true), &["`clip_sample` is true; false is used"]),
        (Value::Null, Value::Null, &["`steps_offset` is missing", "`clip_sample` is missing"]),
    ] {
        let mut changed = given.clone();
        changed["steps_offset"] = offset;
        changed["clip_sample"] = clip;
        project.write(file, changed.to_string());
        let (image, messages) = generate(&project, "--sampler ddim");
        assert!(image == expected, "{changed}: another image");
        for note in notes {
            assert!(messages.contains(note) && messages.contains(file), "{messages}");
        }
    }
}

/// The tokenizer of another model may have tokens for which this one has no embeddings.
#[test]
fn other_tokenizers_must_fit_the_embeddings() {
    let project = Project::new(&[]);
    Files::read(&fixture("tiny-sd1/tokenizer")).write(&project.path("words"));
    let generate = || project.generate("a mug", "--tokenizer words");
    generate().succeeds();
    let file = "words/tokenizer.json";
    let whole: Value = serde_json::from_slice(&fs::read(project.path(file)).unwrap()).unwrap();
    let mut added = whole.clone();
    let tokens = added["added_tokens"].as_array_mut().expect("a list");
    tokens.push(json!({"id": 699, "content": "<sks>"}));
    let mut longer = whole;
    longer["model"]["vocab"]["sks</w>"] = json!(699);
    for (tokenizer, token) in [(added, "`<sks>`"), (longer, "`sks</w>`")] {
        project.write(file, tokenizer.to_string());
        let text = format!("words gives the token {token} the id 699, but the model's");
        generate().fails(1, &[&text, "699 embeddings", "the tokenizer that belongs to the model"]);
        assert!(!project.path("out").exists());
    }
}

/// Half-precision weights are used if asked for, or if there are no others; shards are found too.
#[test]
fn a_folder_may_have_variants() {
    let project = Project::new(&[]).with_own_model();
    let (full, _) = generate(&project, "");
    let missing = project.generate("a mug", "--variant fp16");
    missing.fails(1, &["no weights", "diffusion_pytorch_model.fp16.safetensors", "full precision"]);
    for component in ["unet", "text_encoder", "vae"] {
        let file = project.weight_file(component);
        let mut halves = Weights::new();
        for (name, (_, shape, bytes)) in weights::read(&file) {
            let numbers = bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
            // The sign and the exponent only: any number will do, if it is finite.
            let half = |x: f32| if x < 0.0 { [0, 0xa8] } else { [0, 0x28] };
            halves.insert(name, (Dtype::F16, shape, numbers.flat_map(half).collect()));
        }
        weights::write(&file.with_extension("fp16.safetensors"), &halves);
    }
    assert!(generate(&project, "").0 == full, "full precision comes first");
    let (half, _) = generate(&project, "--variant fp16");
    assert!(half != full, "the variant is not used");
    project.generate("a mug", "--variant bf16").fails(2, &["`bf16` is not fp16"]);

    // As diffusers writes the list of shards.
    let whole = project.weight_file("unet").with_extension("fp16.safetensors");
    let (first, second): (Weights, Weights) =
        weights::read(&whole).into_iter().partition(|(name, _)| name < &"mid".to_string());
    let mut map = serde_json::Map::new();
    for (number, shard) in [(1, first), (2, second)] {
        let name = format!("diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors");
        weights::write(&whole.with_file_name(&name), &shard);
        map.extend(shard.into_keys().map(|key| (key, json!(name))));
    }
    fs::remove_file(&whole).unwrap();
    let index = whole.with_file_name("diffusion_pytorch_model.safetensors.index.fp16.json");
    fs::write(index, json!({ "weight_map": map }).to_string()).unwrap();
    assert!(generate(&project, "--variant fp16").0 == half, "another image from shards");
}

/// What a single file predicts: ComfyUI's marks are obeyed, and what nobody says is told.
#[test]
fn marks_in_single_files_are_obeyed() {
    let mark = |names: &'static [&'static str]| {
        let one = project("sd1", |weights| {
            for name in names {
                weights.insert((*name).into(), (Dtype::F32, vec![0], Vec::new()));
            }
        });
        let mut config = sidecar("sd1");
        config["scheduler"].as_object_mut().unwrap().remove("prediction_type");
        config["scheduler"].as_object_mut().unwrap().remove("timestep_spacing");
        one.write("one/model.config.json", config.to_string());
        one
    };
    let plain = mark(&[]);
    let (epsilon, messages) = generate(&plain, "");
    let note = "does not say what it predicts; epsilon is taken for it";
    assert!(messages.contains("one/model.safetensors") && messages.contains(note), "{messages}");
    let (chosen, messages) = generate(&plain, "--prediction epsilon");
    assert!(chosen == epsilon && !messages.contains(note), "{messages}");
    let (v, _) = generate(&plain, "--prediction v");

    let (marked, messages) = generate(&mark(&["v_pred"]), "");
    assert!(marked == v && v != epsilon && !messages.contains(note), "{messages}");
    let inside = mark(&["model.diffusion_model.v_pred"]);
    assert!(generate(&inside, "").0 == v, "the mark is not seen among the UNet's tensors");

    let both = mark(&["v_pred", "ztsnr"]);
    let shifted = generate(&both, "--sampler ddim").0;
    let mut config = sidecar("sd1");
    config["scheduler"]["prediction_type"] = json!("v_prediction");
    config["scheduler"]["timestep_spacing"] = json!("trailing");
    config["scheduler"]["rescale_betas_zero_snr"] = json!(true);
    plain.write("one/model.config.json", config.to_string());
    assert!(generate(&plain, "--sampler ddim").0 == shifted, "not the schedule that ends in noise");
}

/// What training and other tools leave in a file does no harm.
#[test]
fn other_tensors_in_single_files_do_no_harm() {
    let one = project("sd1", |weights| {
        for name in [
            "cond_stage_model.logit_scale",
            "cond_stage_model.transformer.logit_scale",
            "cond_stage_model.transformer.text_projection.weight",
            "cond_stage_model.transformer.vision_model.embeddings.position_ids",
            "first_stage_model.loss.logvar",
            "first_stage_model.model_ema.decay",
            "model_ema.num_updates",
            "betas",
        ] {
            weights.insert(name.into(), (Dtype::I64, vec![1], vec![0; 8]));
        }
    });
    let folder = Project::new(&[]).with_model_at(fixture("tiny-sd1"));
    assert!(generate(&one, "").0 == generate(&folder, "").0, "another image");
}

/// Another VAE changes the images and not the base model: the bank fits.
#[test]
fn another_vae_decodes() {
    let project = Project::with_bank();
    let drawn = |options: &str| {
        project.image("a photo of a <cat>", options);
        project.pixels()
    };
    let own = drawn("");
    Files::read(&fixture("tiny-sd1/vae")).write(&project.path("vae"));
    assert!(own == drawn("--vae vae"));
    let file = project.path("vae/diffusion_pytorch_model.safetensors");
    let mut weights = weights::read(&file);
    let bias = weights.get_mut("decoder.conv_out.bias").unwrap();
    bias.2 = bias.2.chunks_exact(4).flat_map(|_| 0.5f32.to_le_bytes()).collect();
    weights::write(&file, &weights);
    assert!(own != drawn("--vae vae"));
    project.learn("photos", "--vae vae").fails(2, &["--vae is for images"]);
    project.generate("a cat", "--vae nowhere").fails(1, &["nowhere/config.json"]);
}

/// With half a unit in place of the last bias, by which all images differ from those of the model's own VAE.
fn brightened(mut vae: Weights, prefix: &str) -> Weights {
    let bias = vae.get_mut(&format!("{prefix}decoder.conv_out.bias")).unwrap();
    bias.2 = bias.2.chunks_exact(4).flat_map(|_| 0.5f32.to_le_bytes()).collect();
    vae
}

/// A file has diffusers' names of keys, or the original ones, as a whole model has them or without their prefix.
#[test]
fn a_vae_may_be_one_file() {
    const PREFIX: &str = "first_stage_model.";
    let project = Project::new(&[]);
    let own = generate(&project, "").0;
    let folder = fixture("tiny-sd1/vae");
    Files::read(&folder).write(&project.path("vae"));
    let file = "diffusion_pytorch_model.safetensors";
    let diffusers = brightened(weights::read(&folder.join(file)), "");
    weights::write(&project.path("vae").join(file), &diffusers);
    let expected = generate(&project, "--vae vae").0;
    assert!(own != expected);

    let whole = brightened(single_file("sd1"), PREFIX);
    let original: Weights = whole
        .iter()
        .filter_map(|(key, tensor)| Some((key.strip_prefix(PREFIX)?.to_string(), tensor.clone())))
        .collect();
    for (name, vae) in [("diffusers", &diffusers), ("whole", &whole), ("original", &original)] {
        let name = format!("{name}.safetensors");
        weights::write(&project.path(&name), vae);
        assert!(generate(&project, &format!("--vae {name}")).0 == expected, "{name}");
    }

    let refused = |name: &str, vae: &Weights, texts: &[&str]| {
        weights::write(&project.path(name), vae);
        project.generate("a mug", &format!("--vae {name}")).fails(1, texts);
    };
    let key = "decoder.mid.attn_1.q.bias";
    let mut less = original.clone();
    less.remove(key);
    refused("less.safetensors", &less, &["less.safetensors", &format!("`{key}` is missing")]);
    let unet: Weights =
        whole.into_iter().filter(|(key, _)| key.starts_with("model.diffusion")).collect();
    refused(
        "unet.safetensors",
        &unet,
        &["unet.safetensors", "holds no VAE", "`first_stage_model.`"],
    );
}
