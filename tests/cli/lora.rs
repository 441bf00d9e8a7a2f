//! `generate --lora`: adapters of other tools in the model's weights.

use std::path::Path;

use burn_seqlora::check::greatest;
use safetensors::tensor::Dtype;

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::resume::unbroken;
use crate::run::Run;
use crate::weights::{self, Weights};

/// Relative to the largest latent: five steps in f32, in another order of sums.
pub const TOLERANCE: f32 = 1e-4;

fn numbers(weights: &Weights, name: &str) -> Vec<f32> {
    let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
    weights[name].2.chunks_exact(4).map(number).collect()
}

/// The largest difference, relative to the largest number of the first; NaN if a number is.
pub fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let scale = greatest(a.iter().map(|x| f64::from(x.abs())));
    (greatest(a.iter().zip(b).map(|(x, y)| f64::from((x - y).abs()))) / scale) as f32
}

/// What the run of the fixture draws with these options, as tests/reference/make_adapters_fixture.py does.
fn draw(project: &Project, options: &[&str]) -> Run {
    let noise = weights::read(&fixture("adapters/latents.safetensors"));
    weights::write_latents(&project.path("noise"), [1, 4, 8, 8], &numbers(&noise, "noise"));
    // Those of an earlier run, if there was one.
    let _ = std::fs::remove_file(project.path("latents"));
    let run = ["generate", "--prompt", "a photo of a red plushie on the table", "--negative"];
    let settings =
        ["lowres, bad anatomy", "--steps", "5", "--sampler", "ddim", "--guidance", "7.5"];
    let files = ["--latents", "noise", "--save-latents", "latents", "--out", "drawn"];
    let mut command = project.command(&[&run[..], &settings, &files, options].concat());
    command.arg("--model").arg(&project.model);
    Run::of(command)
}

/// The latents of that run.
pub fn latents(project: &Project, options: &[&str]) -> Vec<f32> {
    draw(project, options).succeeds();
    numbers(&weights::read(&project.path("latents")), "latents")
}

fn adapter(name: &str) -> String {
    fixture("adapters").join(name).to_str().unwrap().to_string()
}

/// The final latents are those of diffusers, also with convolutions and with layers that no concept adapts.
#[test]
fn adapters_draw_what_they_draw_in_diffusers() {
    let project = Project::new(&[]);
    let expected = weights::read(&fixture("adapters/latents.safetensors"));
    let base = latents(&project, &[]);
    assert!(difference(&numbers(&expected, "base"), &base) < TOLERANCE);
    for (file, name) in [
        ("pytorch_lora_weights.safetensors", "lora"),
        ("edlora.pth", "lora"),
        ("old-diffusers", "lora"),
        ("old-peft", "lora"),
        ("convolutions.safetensors", "convolutions"),
    ] {
        let file = adapter(file);
        let expected = numbers(&expected, name);
        let found = latents(&project, &["--lora", &file]);
        let apart = difference(&expected, &found);
        assert!(apart < TOLERANCE, "{file}: {apart:.1e}");
        assert!(difference(&expected, &base) > 0.1, "{file} changes too little to be seen");
        let without = latents(&project, &["--lora", &format!("{file}=0")]);
        assert!(difference(&base, &without) < 1e-6);
    }
}

/// An adapter without one of its modules draws something else, and says how many modules it has.
#[test]
fn every_module_counts() {
    let project = Project::new(&[]);
    let mut whole = weights::read(&fixture("adapters/pytorch_lora_weights.safetensors"));
    let count = whole.len();
    whole.retain(|key, _| !key.contains("mid_block.attentions.0.transformer_blocks.0.attn1.to_k"));
    assert_eq!(whole.len(), count - 2);
    weights::write(&project.path("less.safetensors"), &whole);
    let run = draw(&project, &["--lora", "less.safetensors"]).succeeds();
    assert!(run.stderr.contains("matched 21/21 modules"), "{}", run.stderr);
    let found = numbers(&weights::read(&project.path("latents")), "latents");
    let expected = weights::read(&fixture("adapters/latents.safetensors"));
    assert!(difference(&numbers(&expected, "lora"), &found) > TOLERANCE);
}

/// What is exported and read again draws what the concept of the bank draws.
/// `reference/check_export.py` draws the same with diffusers from the folder that `SEQLORA_EXPORT_OUT` names.
#[test]
fn an_exported_concept_is_the_concept() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    let export = ["export", "bank", "--out", "out"];
    let formats = ["--format", "kohya", "--format", "diffusers", "--format", "peft"];
    project.run(&[&export[..], &formats].concat()).succeeds();
    let concept = latents(&project, &["--bank", "bank", "--concept", "cat=5"]);
    if let Some(folder) = std::env::var_os("SEQLORA_EXPORT_OUT") {
        let whole = "--pack strong --concept cat=5 --format merged --format single-file --model";
        let mut command = project.command(&export);
        command.args(whole.split(' ')).arg(&project.model);
        Run::of(command).succeeds();
        let drawn = std::fs::read(project.path("latents")).unwrap();
        Files::read(&project.path("out")).write(Path::new(&folder));
        std::fs::write(Path::new(&folder).join("latents.safetensors"), drawn).unwrap();
    }
    let base = latents(&project, &[]);
    assert!(difference(&base, &concept) > 1e-3, "the concept changes too little to be seen");
    for path in ["out/kohya/cat.safetensors", "out/diffusers/cat", "out/peft/cat"] {
        let found = latents(&project, &["--lora", &format!("{path}=5")]);
        let apart = difference(&concept, &found);
        assert!(apart < TOLERANCE, "{path}: {apart:.1e}");
    }
}

/// Every command that reads an adapter tells what its file lists and lacks, and refuses a part without its settings.
#[test]
fn adapters_that_lost_a_part_are_told() {
    let project = Project::new(&["cat", "dog"]);
    unbroken().write(&project.path("bank"));
    let formats = ["--format", "peft", "--format", "kohya"];
    project.run(&[&["export", "bank", "--out", "out"][..], &formats].concat()).succeeds();
    let lora = |path: &str| draw(&project, &["--lora", path]);
    let inspect = |path: &str| project.run(&["inspect", path]);
    let import = |path: &str| {
        let options = ["--bank", "new", "--id", "new", "--class", "cat", "--trigger", "cat"];
        let mut command = project.command(&[&["import", path][..], &options].concat());
        command.arg("--model").arg(&project.model);
        Run::of(command)
    };
    let whole = inspect("out/peft/cat").succeeds();
    assert!(!whole.stderr.contains("warning"), "{}", whole.stderr);
    let unet = project.path("out/peft/cat/unet");
    let mut less = weights::read(&unet.join("adapter_model.safetensors"));
    let (key, _) = less.pop_last().unwrap();
    less.pop_last().unwrap();
    weights::write(&unet.join("adapter_model.safetensors"), &less);
    let module = key.strip_prefix("base_model.model.").unwrap();
    let module = module.strip_suffix(".lora_B.weight").unwrap();
    let told = format!("out/peft/cat lists `unet.{module}` and has no factors for it");
    for run in [lora("out/peft/cat"), inspect("out/peft/cat"), import("out/peft/cat")] {
        let run = run.succeeds();
        assert_eq!(run.stderr.matches(&told).count(), 1, "{}", run.stderr);
    }
    std::fs::rename(unet.join("adapter_config.json"), unet.join("config.part")).unwrap();
    for run in [lora("out/peft/cat"), inspect("out/peft/cat"), import("out/peft/cat")] {
        run.fails(1, &["unet/adapter_config.json is missing"]);
    }

    // A bit of the last number.
    let file = "out/kohya/cat.safetensors";
    assert!(!inspect(file).succeeds().stderr.contains("changed"));
    let mut bytes = std::fs::read(project.path(file)).unwrap();
    let last = bytes.len() - 3;
    bytes[last] ^= 1;
    std::fs::write(project.path(file), bytes).unwrap();
    for run in [lora(file), inspect(file)] {
        let run = run.succeeds();
        assert!(run.stderr.contains("was changed after it was written"), "{}", run.stderr);
    }
}

#[test]
fn adapters_that_cannot_be_used_are_named() {
    let project = Project::new(&[]);
    let lora = |options: &[&str]| draw(&project, options);
    lora(&["--lora", "nothing.safetensors"]).fails(1, &["nothing.safetensors"]);
    lora(&["--lora", "a.safetensors=inf"]).fails(2, &["strength inf is not finite"]);
    let mut other = weights::read(&fixture("adapters/pytorch_lora_weights.safetensors"));
    let (key, tensor) = other.pop_last().unwrap();
    let (partner, second) = other.pop_last().unwrap();
    for (key, tensor) in [(key, tensor), (partner, second)] {
        other.insert(key.replace("up_blocks.1", "up_blocks.7"), tensor);
    }
    weights::write(&project.path("other.safetensors"), &other);
    lora(&["--lora", "other.safetensors"]).fails(1, &["21 of its 22 modules", "up_blocks.7"]);
    let mut large = weights::read(&fixture("adapters/kohya.safetensors"));
    let module = "lora_te1_text_model_encoder_layers_0_self_attn_q_proj";
    for (end, shape) in [("lora_down", [5000, 32]), ("lora_up", [32, 5000])] {
        let tensor = (Dtype::F16, shape.to_vec(), vec![0; 2 * 5000 * 32]);
        large.insert(format!("{module}.{end}.weight"), tensor);
    }
    weights::write(&project.path("large.safetensors"), &large);
    lora(&["--lora", "large.safetensors"]).fails(1, &[module, "rank above 4096"]);
    let mut narrow = weights::read(&fixture("adapters/kohya.safetensors"));
    for (end, shape) in [("lora_down", [2, 24]), ("lora_up", [32, 2])] {
        let bytes = vec![0; 2 * shape[0] * shape[1]];
        narrow.insert(format!("{module}.{end}.weight"), (Dtype::F16, shape.to_vec(), bytes));
    }
    weights::write(&project.path("narrow.safetensors"), &narrow);
    let import = "import narrow.safetensors --bank bank --class cat --trigger cat --model";
    let mut import = project.command(&import.split(' ').collect::<Vec<_>>());
    import.arg(&project.model);
    for run in [lora(&["--lora", "narrow.safetensors"]), Run::of(import)] {
        let run = run.fails(1, &["narrow.safetensors is an adapter of another model", module]);
        assert!(run.stderr.contains("24 inputs") && !run.stderr.contains("damaged"));
    }
    let mut loha = weights::read(&fixture("adapters/kohya.safetensors"));
    loha.insert(format!("{module}.hada_w1_a"), (Dtype::F16, vec![2, 32], vec![0; 2 * 2 * 32]));
    weights::write(&project.path("loha.safetensors"), &loha);
    let inspect = project.run(&["inspect", "loha.safetensors"]);
    for run in [lora(&["--lora", "loha.safetensors"]), inspect] {
        run.fails(1, &["loha.safetensors: it is a LoHa"]);
    }
    let alone = adapter("old-peft/unet/adapter_model.bin");
    lora(&["--lora", &alone]).fails(1, &["PEFT folder", "give the folder"]);
    let text = ["pytorch_lora_weights.safetensors", "matched 22/22"];
    let run = lora(&["--lora", &adapter(text[0])]).succeeds();
    assert!(text.iter().all(|text| run.stderr.contains(text)), "{}", run.stderr);
}
