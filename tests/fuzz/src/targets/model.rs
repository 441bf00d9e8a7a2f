//! Models: configs, schedulers, weight files, tokenizers.

use std::fs;
use std::path::{Path, PathBuf};

use seqlora_core::diffusion::{NoiseSchedule, SamplerKind, SamplerPlan, SchedulerConfig};
use seqlora_core::text::Piece;
use seqlora_models::tokenizer::ClipTokenizer;
use seqlora_models::vit::VitConfig;
use seqlora_models::weights::encoders::{FoundTextTower, FoundVit};
use seqlora_models::weights::{Variant, WeightFiles, needed_files};
use seqlora_models::{ModelSource, SourceOptions, StableDiffusionConfig};
use serde_json::{Value, json};

use crate::target::{Target, files_of, holds};

/// The configs of a diffusers folder, and a ViT's.
pub const MODEL_CONFIG: Target = Target {
    name: "model_config",
    files: || {
        let mut files = files_of(&fixture("tiny-sd2"), "unet/config.json");
        files.retain(|(name, _)| name.ends_with("config.json") && !name.contains("tokenizer"));
        files.extend(
            files_of(&fixture("tiny-vit"), "")
                .into_iter()
                .filter(|(name, _)| name == "config.json"),
        );
        files
    },
    read: |folder| {
        let file = folder.join("config.json");
        let vit = VitConfig::parse(&text(&file), &file);
        holds(vit.as_ref().is_ok_and(|vit| vit.grid() > 0) || vit.is_err(), "an image has patches");
        let config = StableDiffusionConfig::read(folder).map(|config| use_config(&config));
        config.and(vit).is_ok()
    },
};

/// The config of an image encoder beside its weights, and weights in an archive of PyTorch's.
pub const ENCODER: Target = Target {
    name: "encoder",
    files: || {
        let read = |name: &str| fs::read(fixture("metrics").join(name)).expect("a fixture");
        vec![
            ("config.json".into(), read("dinov3/config.json")),
            ("weights.pth".into(), read("dreamsim/clip_vitb16_pretrain.pth.tar")),
            ("model.safetensors".into(), b"\x02\0\0\0\0\0\0\0{}".to_vec()),
        ]
    },
    read: |folder| {
        let archive = folder.join("weights.pth");
        let _ = [folder, &archive].map(|path| FoundTextTower::find(path).is_ok());
        let found = [folder, &archive].map(|path| match FoundVit::find(path) {
            Ok(found) => {
                holds(found.config.check().is_ok(), "sizes fit each other");
                true
            }
            Err(_) => false,
        });
        found == [true; 2]
    },
};

/// `scheduler_config.json`, for every sampler.
pub const SCHEDULER: Target = Target {
    name: "scheduler",
    files: || {
        let file = fixture("tiny-sd1").join("scheduler/scheduler_config.json");
        vec![("scheduler_config.json".into(), fs::read(file).expect("a fixture"))]
    },
    read: |folder| {
        let Ok(config) = SchedulerConfig::from_json(&text(&folder.join("scheduler_config.json")))
        else {
            return false;
        };
        let plans = SamplerKind::ALL
            .into_iter()
            .flat_map(|kind| [1, 7, 30].map(|steps| SamplerPlan::new(kind, &config, steps).ok()));
        let mut accepted = false;
        for plan in plans.flatten() {
            let finite = plan.steps.iter().all(|step| step.timestep.is_finite());
            holds(finite && plan.init_noise_sigma.is_finite(), "timesteps are finite");
            accepted = true;
        }
        accepted
    },
};

/// The index of a model in several weight files, beside two of them.
pub const SHARDS: Target = Target {
    name: "shards",
    files: || {
        let [first, second] =
            [1, 2].map(|number| format!("model-0000{number}-of-00002.safetensors"));
        let index = json!({"metadata": {"total_size": 8}, "weight_map": {"a": first, "b": second}});
        let index =
            ("unet/model.safetensors.index.json".to_string(), index.to_string().into_bytes());
        let shard = |name: String| (format!("unet/{name}"), b"\x02\0\0\0\0\0\0\0{}".to_vec());
        vec![index, shard(first), shard(second), ("secret".into(), Vec::new())]
    },
    read: |folder| {
        let component = folder.join("unet");
        // The same bytes as a listing of the hub.
        let listing = text(&component.join("model.safetensors.index.json"));
        let listing: Vec<&str> = listing.lines().collect();
        let _ = [Variant::Any, Variant::Fp16].map(|variant| needed_files(&listing, variant));
        let Ok(found) = WeightFiles::find(&component) else { return false };
        let inside = |shard: &PathBuf| shard.parent() == Some(&component);
        holds(found.shards.iter().all(inside), "shards lie beside their index");
        true
    },
};

/// The header of a single file, as text: its length and the numbers are put around it. Beside it the file
/// that overrides its configs, and a whole file as bytes.
pub const SINGLE_FILE: Target = Target {
    name: "single_file",
    files: || {
        let header = serde_json::to_vec(&header()).expect("JSON");
        let groups = json!({"norm_num_groups": 8});
        let unet = json!({"norm_num_groups": 8, "attention_head_dim": 4});
        let sidecar =
            json!({"unet": unet, "vae": groups, "scheduler": {"prediction_type": "epsilon"}});
        vec![
            ("header.json".into(), header),
            ("model.config.json".into(), sidecar.to_string().into_bytes()),
            ("bytes.safetensors".into(), b"\x02\0\0\0\0\0\0\0{}".to_vec()),
        ]
    },
    read: |folder| {
        write_weights(folder);
        let tokenizer = Some(folder.to_path_buf());
        let options = SourceOptions { tokenizer, ..SourceOptions::default() };
        let open = |name: &str| {
            let source = ModelSource::open(&folder.join(name), &options);
            source.map(|source| use_config(&source.config)).is_ok()
        };
        let _ = open("bytes.safetensors");
        open("model.safetensors")
    },
};

/// The files of a tokenizer, in both forms.
pub const TOKENIZER: Target = Target {
    name: "tokenizer",
    files: || {
        let folder = |name| files_of(&fixture(name).join("tokenizer"), "vocab.json").into_iter();
        let place = |place: &'static str| move |(name, bytes)| (format!("{place}/{name}"), bytes);
        let added = ("old/added_tokens.json".to_string(), b"{\"<new1>\": 700}".to_vec());
        let files =
            folder("tiny-sd2").map(place("old")).chain(folder("tiny-sd1").map(place("new")));
        files.chain([added]).collect()
    },
    read: |folder| {
        let mut accepted = true;
        for name in ["old", "new"] {
            let Ok(tokenizer) = ClipTokenizer::from_folder(folder.join(name)) else {
                accepted = false;
                continue;
            };
            let size = tokenizer.vocab_size();
            for text in ["a photo of a dog!", "", "\u{1F415} é\u{301} <new1> <|endoftext|>"] {
                let pieces = [Piece::Text(text.into()), Piece::Word(0)];
                if let Ok(tokens) = tokenizer.assemble(&pieces) {
                    let known = tokens.ids.iter().all(|id| (*id as usize) < size);
                    holds(known, "ids are below the vocabulary's size");
                    holds(tokens.ids.len() == tokenizer.context_length(), "prompts are padded");
                }
            }
        }
        accepted
    },
};

pub fn fixture(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures")).join(name)
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).expect("it was written")).into_owned()
}

/// What a model computes from its configs before it reads weights.
fn use_config(config: &StableDiffusionConfig) {
    let levels = config.unet.block_out_channels.len();
    let heads = (0..levels).map(|level| config.unet.heads(level));
    holds(heads.min().is_some_and(|least| least > 0), "every level has heads");
    holds(config.unet.middle_width() > 0 && config.unet.time_width() > 0, "layers have widths");
    holds(config.vae.downscale() > 0, "a latent is at least a pixel");
    let schedule = NoiseSchedule::new(&config.scheduler).expect("it was checked");
    let last = schedule.num_train_timesteps() - 1;
    let (signal, noise) = schedule.add_noise(last);
    holds(
        signal.is_finite() && noise.is_finite() && !schedule.snr(last).is_nan(),
        "noise is finite",
    );
}

/// Those tensors of a small SD1 file that tell its sizes.
fn header() -> Value {
    let unet = |name: &str| format!("model.diffusion_model.{name}");
    let text = |name: &str| format!("cond_stage_model.transformer.text_model.{name}");
    let vae = |name: &str| format!("first_stage_model.{name}");
    let tensors: [(String, &[usize]); 18] = [
        (unet("input_blocks.0.0.weight"), &[24, 4, 3, 3]),
        (unet("input_blocks.1.0.out_layers.3.weight"), &[24, 24, 3, 3]),
        (unet("input_blocks.1.1.norm.weight"), &[24]),
        (unet("input_blocks.2.0.op.weight"), &[24, 24, 3, 3]),
        (unet("input_blocks.3.0.out_layers.3.weight"), &[48, 48, 3, 3]),
        (unet("middle_block.1.proj_in.weight"), &[48, 48, 1, 1]),
        (unet("middle_block.1.transformer_blocks.0.attn2.to_k.weight"), &[48, 32]),
        (unet("out.2.weight"), &[4, 24, 3, 3]),
        (text("embeddings.token_embedding.weight"), &[700, 32]),
        (text("embeddings.position_embedding.weight"), &[77, 32]),
        (text("encoder.layers.0.mlp.fc1.weight"), &[64, 32]),
        (text("encoder.layers.1.mlp.fc1.weight"), &[64, 32]),
        (vae("encoder.conv_in.weight"), &[8, 3, 3, 3]),
        (vae("encoder.down.0.block.0.conv1.weight"), &[32, 8, 3, 3]),
        (vae("encoder.down.1.block.0.conv1.weight"), &[64, 32, 3, 3]),
        (vae("decoder.conv_out.weight"), &[3, 8, 3, 3]),
        (vae("post_quant_conv.weight"), &[4, 4, 1, 1]),
        (text("embeddings.position_ids"), &[1, 77]),
    ];
    let mut end = 0;
    let mut entries: serde_json::Map<String, Value> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let start = end;
            end += 4 * shape.iter().product::<usize>();
            (name, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]}))
        })
        .collect();
    entries.insert("__metadata__".into(), json!({"format": "pt"}));
    entries.into()
}

/// Makes `model.safetensors` of `header.json`, as long as the header says, up to a limit.
fn write_weights(folder: &Path) {
    let header = fs::read(folder.join("header.json")).expect("it was written");
    let json: Value = serde_json::from_slice(&header).unwrap_or_default();
    let ends = json.as_object().into_iter().flat_map(|entries| entries.values());
    let end = ends.filter_map(|entry| entry["data_offsets"][1].as_u64()).max().unwrap_or(0);
    let length = header.len() as u64;
    let file = folder.join("model.safetensors");
    fs::write(&file, [&length.to_le_bytes()[..], &header].concat()).expect("room for it");
    // A hole in the file takes no room.
    let file = fs::File::options().write(true).open(file).expect("it was written");
    file.set_len(8 + length + end.min(1 << 40)).expect("a longer file");
}
