//! Models of strangers: whatever their files say, the program ends with a sentence that names the file
//! and what is wrong, without panic, without Rust's names for things, and within little memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use crate::files::Files;
use crate::harness::{Project, fixture};
use crate::run::Run;
use crate::single_file;
use crate::weights;
use crate::weights::Weights;

/// What is changed in a model.
enum Change {
    /// A key of a JSON file has this value; the path has slashes.
    Key(&'static str, &'static str, Value),
    /// A file has this text.
    Text(&'static str, String),
    /// A file has these bytes.
    Bytes(&'static str, Vec<u8>),
    /// The tensors of a file are changed.
    Tensors(&'static str, fn(&mut Weights)),
    /// A pipe without a writer stands in the place of a file.
    #[cfg(unix)]
    Pipe(&'static str),
    /// A link to a device that never ends.
    #[cfg(unix)]
    Endless(&'static str),
}
use Change::{Bytes, Key, Tensors, Text};

impl Change {
    fn file(&self) -> &'static str {
        match self {
            Key(file, ..) | Text(file, _) | Bytes(file, _) | Tensors(file, _) => file,
            #[cfg(unix)]
            Self::Pipe(file) | Self::Endless(file) => file,
        }
    }

    /// Makes the change in the model's folder.
    fn make(&self, folder: &Path) {
        let path = folder.join(self.file());
        match self {
            Key(_, key, value) => {
                let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                let pointer = format!("/{key}");
                match json.pointer_mut(&pointer) {
                    Some(place) => *place = value.clone(),
                    None => json[*key] = value.clone(),
                }
                fs::write(path, json.to_string()).unwrap();
            }
            Text(_, text) => fs::write(path, text).unwrap(),
            Bytes(_, bytes) => fs::write(path, bytes).unwrap(),
            Tensors(_, change) => {
                let mut tensors = weights::read(&path);
                change(&mut tensors);
                weights::write(&path, &tensors);
            }
            #[cfg(unix)]
            Self::Pipe(_) => {
                fs::remove_file(&path).unwrap();
                assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            }
            #[cfg(unix)]
            Self::Endless(_) => {
                fs::remove_file(&path).unwrap();
                std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            }
        }
    }
}

/// Words that only programmers of Rust understand.
pub const JARGON: [&str; 10] =
    ["usize", "u32", "u64", "i128", "f64", "struct ", "untagged", "Some(", "Error(", "Error {"];

/// Runs the program within 4 GiB of address space, more than it takes for the tiny models.
fn run_in_little_memory(command: &Command) -> Run {
    if cfg!(not(target_os = "linux")) {
        let mut same = Command::new(command.get_program());
        same.args(command.get_args()).current_dir(command.get_current_dir().unwrap());
        return Run::of(same);
    }
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -v 4194304 && exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().expect("that of the project"));
    Run::of(limited)
}

/// Makes each change alone, and checks that the model is refused with these words.
fn assert_refused(project: &Project, model: &Path, cases: Vec<(Change, &[&str])>) {
    let folder = if model.is_dir() { model } else { model.parent().expect("a folder") };
    let whole = Files::read(folder);
    run_in_little_memory(&project.generate_command("a mug", "")).succeeds();
    for (change, expected) in cases {
        let file = folder.join(change.file());
        change.make(folder);
        let run = run_in_little_memory(&project.generate_command("a mug", ""));
        let run = run.fails(1, expected);
        println!("{}", run.stderr.trim_end());
        let jargon = JARGON.iter().find(|word| run.stderr.contains(**word));
        assert!(jargon.is_none(), "{jargon:?} in:\n{}", run.stderr);
        assert!(!run.stderr.contains('\u{1b}'), "an escape sequence in:\n{}", run.stderr);
        fs::remove_file(&file).unwrap();
        if let Some(bytes) = whole.get(change.file()) {
            fs::write(file, bytes).unwrap();
        }
    }
}

/// A project with a copy of a fixture.
fn project(label: &str) -> (Project, PathBuf) {
    let project = Project::new(&[]);
    let model = project.path("model");
    Files::read(&fixture(&format!("tiny-{label}"))).write(&model);
    (project.with_model("model"), model)
}

/// A safetensors file with this header and this many bytes of content.
fn safetensors(header: &str, content: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), &vec![0; content]].concat()
}

const UNET: &str = "unet/config.json";
const CLIP: &str = "text_encoder/config.json";
const VAE: &str = "vae/config.json";
const SCHEDULER: &str = "scheduler/scheduler_config.json";
const UNET_WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

#[test]
fn no_number_of_a_config_is_taken_on_its_word() {
    let huge = 1u64 << 60;
    let cases: Vec<(Change, &[&str])> = vec![
        (
            Key(UNET, "sample_size", json!(10_000_000)),
            &[UNET, "`sample_size` is 10000000; expected 1"],
        ),
        (Key(UNET, "block_out_channels", json!([])), &["`block_out_channels` has 0 entries"]),
        (
            Key(UNET, "block_out_channels", json!([huge, huge])),
            &["`block_out_channels` is 11529215"],
        ),
        (Key(UNET, "block_out_channels/0", json!(25)), &["`norm_num_groups`", "25"]),
        (Key(UNET, "layers_per_block", json!(1_000_000)), &["`layers_per_block` is 1000000"]),
        (
            Key(UNET, "transformer_layers_per_block", json!(1_000_000)),
            &["`transformer_layers_per_block` is 1000000; expected 1 to 32"],
        ),
        (
            Key(UNET, "attention_head_dim", json!("x")),
            &["`attention_head_dim`", "a whole number, or"],
        ),
        (Key(UNET, "attention_head_dim", json!(0)), &["`attention_head_dim` is 0"]),
        (Key(UNET, "in_channels", json!(-1)), &["`in_channels`", "-1", "a whole number"]),
        (Key(UNET, "in_channels", json!(9)), &["`in_channels` is 9, but the VAE's"]),
        (
            Key(UNET, "norm_eps", json!(0)),
            &["`norm_eps` is 0.0; expected a number between 0 and 1"],
        ),
        (Key(UNET, "freq_shift", json!(1e300)), &["`freq_shift`"]),
        (
            Key(UNET, "down_block_types/0", json!("\u{1b}[2J")),
            &["`down_block_types`", "\\u{1b}[2J"],
        ),
        (Key(UNET, "up_block_types", json!(["UpBlock2D"])), &["`up_block_types` has 1 entries"]),
        (Text(UNET, "[]".into()), &[UNET, "an object"]),
        (Text(UNET, "{\"a\":".repeat(100_000)), &[UNET, "recursion limit"]),
        (Text(UNET, " ".repeat(2 << 20)), &[UNET, "has more than 1 MiB"]),
        (Bytes(UNET, b"{\"\xff\": 1}".to_vec()), &[UNET, "not UTF-8"]),
        (
            Key(CLIP, "num_hidden_layers", json!(1_000_000)),
            &[CLIP, "`num_hidden_layers` is 1000000"],
        ),
        (Key(CLIP, "num_hidden_layers", json!(65_536)), &["`num_hidden_layers` is 65536"]),
        (Key(CLIP, "vocab_size", json!(huge)), &["`vocab_size` is 1152921504606846976"]),
        (
            Key(CLIP, "vocab_size", json!(100)),
            &["model/tokenizer", "`<|endoftext|>` the id 698", "100 embeddings", "that belongs to"],
        ),
        (Key(CLIP, "max_position_embeddings", json!(1)), &["`max_position_embeddings` is 1"]),
        (Key(CLIP, "hidden_act", json!("relu")), &["`hidden_act`", "`relu`"]),
        (Key(VAE, "block_out_channels", json!([])), &[VAE, "`block_out_channels` has 0 entries"]),
        (Key(VAE, "down_block_types", json!([])), &[VAE, "`down_block_types` has 0 entries"]),
        (Key(VAE, "in_channels", json!(4)), &[VAE, "`in_channels` is 4; expected 3"]),
        (Key(VAE, "scaling_factor", json!(0)), &[VAE, "`scaling_factor` is 0"]),
        (
            Key(SCHEDULER, "num_train_timesteps", json!(huge)),
            &[SCHEDULER, "`num_train_timesteps` = 1152921504606846976", "expected 1 to 100000"],
        ),
        (Key(SCHEDULER, "num_train_timesteps", json!(1_000_000_000)), &["expected 1 to 100000"]),
        (Key(SCHEDULER, "beta_start", json!(2)), &["`beta_start` = 2 is invalid"]),
        (Key(SCHEDULER, "beta_start", json!("low")), &[SCHEDULER, "`beta_start`", "a number"]),
        (Key(SCHEDULER, "trained_betas", json!([0.1])), &["`trained_betas` = 1 numbers"]),
        (Key(SCHEDULER, "prediction_type", json!("flow")), &["`prediction_type` = \"flow\""]),
    ];
    let (project, model) = project("sd1");
    assert_refused(&project, &model, cases);
}

/// Weights are compared with the configs by the headers of their files, before any is read.
#[test]
fn weights_that_do_not_fit_are_refused_by_their_headers() {
    let large =
        r#"{"a": {"dtype": "F32", "shape": [1152921504606846976], "data_offsets": [0, 0]}}"#;
    let cases: Vec<(Change, &[&str])> = vec![
        // 8192 channels are allowed, but 2.4 GB for a single convolution are not in the file.
        (
            Key(UNET, "block_out_channels", json!([8192, 8192])),
            &[UNET_WEIGHTS, "`conv_in.weight` has shape [24, 4, 3, 3], expected [8192, 4, 3, 3]"],
        ),
        (
            Tensors(UNET_WEIGHTS, |w| w.get_mut("conv_in.bias").unwrap().0 = Dtype::I32),
            &[UNET_WEIGHTS, "`conv_in.bias` holds I32 numbers; F64, F32, F16 or BF16 are read"],
        ),
        (
            Tensors(UNET_WEIGHTS, |w| w.get_mut("conv_in.bias").unwrap().2[..4].fill(0xff)),
            &[UNET_WEIGHTS, "`conv_in.bias`: element 0 is NaN; the model in the file is broken"],
        ),
        (
            Tensors("vae/diffusion_pytorch_model.safetensors", |w| {
                let old = w["decoder.conv_in.bias"].clone();
                for name in ["query", "to_q"] {
                    w.insert(format!("decoder.mid_block.attentions.0.{name}.bias"), old.clone());
                }
            }),
            &["vae/", "query.bias` and", "to_q.bias` are the same weight"],
        ),
        (Bytes(UNET_WEIGHTS, safetensors(large, 0)), &[UNET_WEIGHTS, "is damaged", "overflow"]),
        (
            Bytes(UNET_WEIGHTS, u64::MAX.to_le_bytes().to_vec()),
            &["header would be 18446744073709551615"],
        ),
        (Bytes(UNET_WEIGHTS, safetensors("{}", 1 << 20)), &["has 1048586 bytes instead of 10"]),
        (Bytes(UNET_WEIGHTS, Vec::new()), &[UNET_WEIGHTS, "is damaged"]),
    ];
    let (project, model) = project("sd1");
    assert_refused(&project, &model, cases);
}

#[test]
fn tokenizers_and_shards_that_lead_astray_are_refused() {
    const TOKENIZER: &str = "tokenizer/tokenizer.json";
    const INDEX: &str = "unet/diffusion_pytorch_model.safetensors.index.json";
    const MERGES: &str = "tokenizer/merges.txt";
    let token = |id: u32| json!([{"id": id, "content": "<sks>"}]);
    let cases: Vec<(Change, &[&str])> = vec![
        (
            Key(TOKENIZER, "added_tokens", token(49_408)),
            &["model/tokenizer", "`<sks>` the id 49408", "699 embeddings"],
        ),
        (Key(TOKENIZER, "added_tokens", token(u32::MAX)), &["`<sks>` the id 4294967295"]),
        (Key(TOKENIZER, "added_tokens", json!("x")), &[TOKENIZER, "`added_tokens`"]),
        (Key(TOKENIZER, "model/vocab/!", json!(1)), &[TOKENIZER, "both have the id 1"]),
        (Key(TOKENIZER, "model/vocab/!", json!(-1)), &[TOKENIZER, "-1"]),
        (Key(TOKENIZER, "model/merges", json!([])), &[TOKENIZER, "holds no merges"]),
        (Key(TOKENIZER, "model/merges/0", json!(3)), &[TOKENIZER, "merges, each as"]),
        (
            Key("tokenizer/tokenizer_config.json", "bos_token", json!(["\u{1b}"])),
            &["tokenizer_config.json", "`bos_token`", "a token: its text, or"],
        ),
    ];
    let (first, model) = project("sd1");
    assert_refused(&first, &model, cases);

    let shard = |name: &str| Text(INDEX, json!({"weight_map": {"conv_in.bias": name}}).to_string());
    let cases: Vec<(Change, &[&str])> = vec![
        (shard("../vae/diffusion_pytorch_model.safetensors"), &[INDEX, "`../vae/", "beside it"]),
        (shard("\\..\\a.safetensors"), &[INDEX, "`\\..\\a.safetensors`", "beside it"]),
        (shard("/etc/passwd"), &[INDEX, "`/etc/passwd`", "beside it"]),
        (shard("gone.safetensors"), &[INDEX, "gone.safetensors, which is not there"]),
        (Text(INDEX, r#"{"weight_map": {"a": 3}}"#.into()), &[INDEX, "`weight_map`"]),
        (Text(INDEX, "{}".into()), &[INDEX, "`weight_map` is missing or empty"]),
        (Text(MERGES, String::new()), &[MERGES, "holds no merges, but", "copy the file again"]),
        (Text(MERGES, "#version: 0.2\na b c\n".into()), &[MERGES, "line 2", "`a b c`"]),
        (
            Text(MERGES, "a \u{1b}\n".into()),
            &[MERGES, "line 1", "`\\u{1b}`", "not in the vocabulary"],
        ),
        (Key("tokenizer/vocab.json", "!", json!(1)), &["vocab.json", "`!` and `"]),
        (Text("tokenizer/added_tokens.json", r#"{"<sks>": 699}"#.into()), &["`<sks>` the id 699"]),
    ];
    let (second, model) = project("sd2");
    assert_refused(&second, &model, cases);
}

/// Nothing is waited for, and nothing read without end.
#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_model_files() {
    use Change::{Endless, Pipe};
    const REGULAR: &str = "is not a regular file";
    let cases: Vec<(Change, &[&str])> = vec![
        (Pipe(UNET), &[UNET, REGULAR]),
        (Endless(SCHEDULER), &[SCHEDULER, REGULAR]),
        (Pipe("tokenizer/tokenizer.json"), &["tokenizer.json", REGULAR]),
        (Endless("tokenizer/tokenizer_config.json"), &["tokenizer_config.json", REGULAR]),
        (Endless(UNET_WEIGHTS), &["model/unet holds no weights"]),
    ];
    let (first, model) = project("sd1");
    assert_refused(&first, &model, cases);
}

#[test]
fn hostile_single_files_are_refused() {
    const FILE: &str = "model.safetensors";
    const SIDECAR: &str = "model.config.json";
    fn set(weights: &mut Weights, key: &str, shape: Vec<usize>) {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        weights.insert(key.into(), (Dtype::F32, shape, bytes));
    }
    let cases: Vec<(Change, &[&str])> = vec![
        (
            Tensors(FILE, |w| set(w, "cond_stage_model.transformer.in_proj_weight", vec![])),
            &[FILE, "in_proj_weight` has shape [], which has no 3 equal parts"],
        ),
        (
            Tensors(FILE, |w| set(w, "cond_stage_model.transformer.in_proj_bias", vec![4])),
            &[FILE, "in_proj_bias` has shape [4], which has no 3 equal parts"],
        ),
        (
            Tensors(FILE, |w| set(w, "model.diffusion_model.input_blocks.0.0.weight", vec![])),
            &["input_blocks.0.0.weight` is missing or has no dimension 1"],
        ),
        (
            Tensors(FILE, |w| {
                set(w, "model.diffusion_model.input_blocks.0.0.weight", vec![0, 1 << 40]);
            }),
            &[FILE, "input_blocks.0.0.weight` has shape [0, 1099511627776], expected"],
        ),
        (Bytes(FILE, u64::MAX.to_le_bytes().to_vec()), &[FILE, "is damaged"]),
        (Bytes(FILE, safetensors("{", 0)), &[FILE, "is damaged"]),
        (Key(SIDECAR, "unet/sample_size", json!(1u64 << 60)), &[FILE, SIDECAR, "`sample_size`"]),
        (Key(SIDECAR, "vae", json!([])), &[SIDECAR, "`vae`"]),
        (Key(SIDECAR, "decoder", json!({})), &[SIDECAR, "`decoder`"]),
    ];
    let project = single_file::project("sd1", |_| ());
    assert_refused(&project, &project.path("one/model.safetensors"), cases);
}

/// A folder's name is its model's, and banks hold none that steers a terminal.
#[cfg(unix)]
#[test]
fn a_model_may_lie_in_a_folder_of_any_name() {
    let mut project = Project::new(&["cat"]).with_own_model();
    let folder = project.path("\u{1b}[2Jmodel");
    fs::rename(&project.model, &folder).unwrap();
    project.model = folder;
    let run = project.learn("photos", "--steps 1").succeeds();
    assert!(!run.stderr.contains('\u{1b}'), "{}", run.stderr);
    assert_eq!(project.inspect()["base"]["name"], "\\u{1b}[2Jmodel");
}
