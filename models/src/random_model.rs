//! A small diffusers folder with random weights: it knows nothing, but everything runs on it.

use std::path::Path;

use burn_seqlora::rng::Seed;
use seqlora_kernels::KernelBackend;
use serde_json::{Value, json};

use crate::StableDiffusionConfig;
use crate::weights::{KeyTable, ModelError, random_weights};

/// Writes a model of SD1.x' architecture, about 1.5 M parameters for pictures of 64², to `folder`.
///
/// The same seed gives the same files.
///
/// # Errors
/// If the folder cannot be written.
pub fn write_random_model<B: KernelBackend>(
    folder: &Path,
    seed: u64,
    device: &B::Device,
) -> Result<(), ModelError> {
    for (name, config) in configs() {
        let file = folder.join(name);
        write_text(&file, &(serde_json::to_string_pretty(&config).expect("JSON") + "\n"))?;
    }
    write_tokenizer(&folder.join("tokenizer"))?;
    let config = StableDiffusionConfig::read(folder)?;
    let (unet, text_encoder, vae, _) = config.init::<B>(device);
    let seed = Seed::new(seed);
    let diffusion = "diffusion_pytorch_model.safetensors";
    let file = |component: &str, name: &str| folder.join(component).join(name);
    random_weights::<B, _>(&unet, KeyTable::UNET, &seed.fork("unet"), &file("unet", diffusion))?;
    random_weights::<B, _>(&vae, KeyTable::VAE, &seed.fork("vae"), &file("vae", diffusion))?;
    let text_seed = seed.fork("text_encoder");
    let text_file = file("text_encoder", "model.safetensors");
    random_weights::<B, _>(&text_encoder, KeyTable::CLIP_TEXT, &text_seed, &text_file)
}

fn configs() -> [(&'static str, Value); 5] {
    let unet = json!({
        "_class_name": "UNet2DConditionModel",
        "sample_size": 8,
        "block_out_channels": [32, 64],
        "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
        "layers_per_block": 1,
        "attention_head_dim": 4,
        "cross_attention_dim": 64,
        "norm_num_groups": 8,
    });
    let text_encoder = json!({
        "model_type": "clip_text_model",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
    });
    let vae = json!({
        "_class_name": "AutoencoderKL",
        "block_out_channels": [8, 16, 16, 32],
        "down_block_types": vec!["DownEncoderBlock2D"; 4],
        "up_block_types": vec!["UpDecoderBlock2D"; 4],
        "norm_num_groups": 8,
    });
    let scheduler = json!({
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "clip_sample": false,
        "set_alpha_to_one": false,
        "steps_offset": 1,
    });
    let index = json!({
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
    });
    [
        ("model_index.json", index),
        ("unet/config.json", unet),
        ("text_encoder/config.json", text_encoder),
        ("vae/config.json", vae),
        ("scheduler/scheduler_config.json", scheduler),
    ]
}

/// Every byte with and without the end of a word, and the two special tokens.
const VOCABULARY: usize = 2 * 256 + 2;

/// CLIP's tokenizer without merges: every character is a token.
fn write_tokenizer(folder: &Path) -> Result<(), ModelError> {
    let letters: Vec<String> = byte_alphabet().map(String::from).collect();
    let ends = letters.iter().map(|letter| format!("{letter}</w>"));
    let specials = ["<|startoftext|>", "<|endoftext|>"].map(String::from);
    let tokens = letters.iter().cloned().chain(ends).chain(specials);
    let vocab: serde_json::Map<String, Value> =
        tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let config = json!({
        "tokenizer_class": "CLIPTokenizer",
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 77,
    });
    write_text(&folder.join("vocab.json"), &Value::Object(vocab).to_string())?;
    write_text(&folder.join("merges.txt"), "#version: 0.2\n")?;
    write_text(&folder.join("tokenizer_config.json"), &config.to_string())
}

/// The printable stand-ins of the 256 bytes in byte-level BPE (GPT-2, CLIP): printable characters
/// stand for themselves, the others for the code points from 256 on.
fn byte_alphabet() -> impl Iterator<Item = char> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let themselves = (0..256).filter(move |byte| printable(*byte));
    let others = (0..256).filter(move |byte| !printable(*byte)).enumerate();
    let moved = others.map(|(number, _)| 256 + number as u32);
    themselves.chain(moved).map(|code| char::from_u32(code).expect("code points below 512"))
}

fn write_text(file: &Path, text: &str) -> Result<(), ModelError> {
    let folder = file.parent().expect("a file in a folder");
    std::fs::create_dir_all(folder).map_err(ModelError::io(folder))?;
    std::fs::write(file, text).map_err(ModelError::io(file))
}
