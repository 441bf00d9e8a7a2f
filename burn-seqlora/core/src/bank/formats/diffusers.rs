//! diffusers' `pytorch_lora_weights.safetensors` (before that, `.bin`), in the dialects that its versions wrote.
//!
//! ```text
//! unet.….attn1.to_q.lora.down.weight                       what its scripts write today; so do we
//! text_encoder.….q_proj.lora_linear_layer.down.weight      the same for the text encoder
//! unet.….attn1.to_q.lora_A.weight                          PEFT's names
//! unet.….attn1.processor.to_q_lora.down.weight             versions 0.18 to 0.20
//! text_encoder.….self_attn.to_q_lora.down.weight           the same for the text encoder
//! down_blocks.….attn1.processor.to_q_lora.down.weight      `save_attn_procs` of the UNet alone
//! ```
//!
//! The scale is in the metadata `lora_adapter_metadata` (a JSON object with PEFT's settings of each
//! component), or in tensors `.alpha`, or 1 (diffusers 58eb52c0, loaders/lora_pipeline.py).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::modules::{Piece, read_modules};
use super::peft::{COMPONENTS, Config, TEXT_MODEL, both_versions, missing_modules};
use super::source::file_in;
use super::{AdapterCard, AdapterFormat, ForeignAdapter, Module, Source};
use crate::bank::tensors::write_arrays;
use crate::error::{Error, Result};
use crate::lora::{StoredAdapter, StoredFactors};

/// The name that diffusers looks for in a folder, and that of older versions, a pickle, of which nothing is
/// executed.
const FILE: &str = "pytorch_lora_weights.safetensors";
const FILES: [&str; 2] = [FILE, "pytorch_lora_weights.bin"];

/// The key of the metadata with the settings.
const SETTINGS: &str = "lora_adapter_metadata";

/// The ends of keys, from the current dialect to the oldest.
const PIECES: [(&str, Piece); 8] = [
    (".lora.down.weight", Piece::Down),
    (".lora.up.weight", Piece::Up),
    (".lora_linear_layer.down.weight", Piece::Down),
    (".lora_linear_layer.up.weight", Piece::Up),
    (".lora_A.weight", Piece::Down),
    (".lora_B.weight", Piece::Up),
    ("_lora.down.weight", Piece::Down),
    ("_lora.up.weight", Piece::Up),
];

/// A module in the oldest dialect, and today.
const OLDER: [(&str, &str); 2] = [(".processor.to_out", ".to_out.0"), (".processor.", ".")];

/// The same of the text encoder.
const OLDER_TEXT: [(&str, &str); 4] = [
    (".self_attn.to_q", ".self_attn.q_proj"),
    (".self_attn.to_k", ".self_attn.k_proj"),
    (".self_attn.to_v", ".self_attn.v_proj"),
    (".self_attn.to_out", ".self_attn.out_proj"),
];

/// diffusers' LoRA file.
#[derive(Debug, Clone, Copy)]
pub struct Diffusers;

impl AdapterFormat for Diffusers {
    fn name(&self) -> &'static str {
        "diffusers"
    }

    fn detect(&self, source: &Source) -> bool {
        match source {
            Source::Folder(folder) => file_in(folder, &FILES).is_file(),
            Source::File(header) => {
                source.is_file_of(|key| qualified(key).is_some())
                    && header.tensors().keys().any(|key| split(key).is_some())
            }
        }
    }

    fn read(&self, source: Source) -> Result<ForeignAdapter> {
        let header = source.header(&FILES)?;
        let settings = Settings::read(header.path(), header.metadata())?;
        let scaled = |(name, module): (String, Module)| {
            let module = settings.scaled(&name, module);
            (name, module)
        };
        let modules = read_modules(&header, split)?;
        let missing = settings.missing(&modules);
        let modules = modules.into_iter().map(scaled).collect();
        Ok(ForeignAdapter { missing, ..ForeignAdapter::new(&header, modules) })
    }

    /// What is written has the older name, which newer versions read too.
    fn module_names(&self, site: &str) -> Vec<String> {
        both_versions(site)
    }

    fn file_name(&self, _: &str) -> Option<String> {
        Some(FILE.into())
    }

    /// All modules have the largest rank, with zeros where theirs is smaller: versions that do not read
    /// the metadata divide a single alpha by each module's own rank (huggingface/diffusers#14409).
    fn write(&self, folder: &Path, adapter: &StoredAdapter, _: &AdapterCard) -> Result<()> {
        let file = folder.join(FILE);
        let rank = adapter.0.values().map(|f| f.rank).max().unwrap_or(0);
        let mut tensors = BTreeMap::new();
        for (site, factors) in &adapter.0 {
            let ends = match component(site) {
                Some("unet") => [PIECES[0].0, PIECES[1].0],
                Some(_) => [PIECES[2].0, PIECES[3].0],
                None => {
                    let reason = format!("diffusers has no place for `{site}`");
                    return Err(Error::damaged(&file, reason));
                }
            };
            let StoredFactors { up, down, .. } = with_rank(factors, rank);
            let shapes = [vec![rank, factors.inputs()], vec![factors.outputs(), rank]];
            for ((end, shape), values) in ends.iter().zip(shapes).zip([down, up]) {
                tensors.insert(format!("{site}{end}"), (shape, values));
            }
        }
        let metadata = [("format", "pt".to_string()), (SETTINGS, settings(adapter, rank))];
        let metadata = metadata.map(|(key, text)| (key.to_string(), text));
        write_arrays(&file, &tensors, metadata.into())
    }
}

/// The component that a key begins with.
fn component(key: &str) -> Option<&'static str> {
    COMPONENTS
        .into_iter()
        .find(|component| key.strip_prefix(component).is_some_and(|rest| rest.starts_with('.')))
}

/// A key's component, and the key with it: the UNet's attention saved alone has keys without.
fn qualified(key: &str) -> Option<(&'static str, Cow<'_, str>)> {
    let is_in_unet =
        ["down_blocks.", "mid_block.", "up_blocks."].iter().any(|b| key.starts_with(b));
    match component(key) {
        None => is_in_unet.then(|| ("unet", format!("unet.{key}").into())),
        Some(component) => Some((component, key.into())),
    }
}

/// A module's name today, and which of its tensors it is.
fn split(key: &str) -> Option<(String, Piece)> {
    let (component, key) = qualified(key)?;
    if let Some(name) = key.strip_suffix(".alpha") {
        return Some((name.to_string(), Piece::Alpha));
    }
    let (end, piece) = PIECES.into_iter().find(|(end, _)| key.ends_with(end))?;
    let name = key.strip_suffix(end)?;
    if !end.starts_with('_') {
        return Some((name.to_string(), piece));
    }
    let older = if component == "unet" { &OLDER[..] } else { &OLDER_TEXT[..] };
    let (theirs, today) = older.iter().find(|(theirs, _)| name.contains(theirs))?;
    Some((name.replacen(theirs, today, 1), piece))
}

/// Factors with zeros up to a rank.
fn with_rank(factors: &StoredFactors, rank: usize) -> StoredFactors {
    let mut down = factors.down.clone();
    down.resize(rank * factors.inputs(), 0.0);
    let padded = |row: &[f32]| {
        let zeros = std::iter::repeat_n(0.0, rank - factors.rank);
        row.iter().copied().chain(zeros).collect::<Vec<f32>>()
    };
    let up = factors.up.chunks(factors.rank).flat_map(padded).collect();
    StoredFactors { rank, up, down }
}

/// PEFT's settings of the components that an adapter has. Modules of text encoders have the names of transformers 5, which
/// are the ends of the older ones: diffusers shortens keys, but not these, and PEFT compares ends.
fn settings(adapter: &StoredAdapter, rank: usize) -> String {
    let mut settings = Map::new();
    for component in COMPONENTS {
        let prefix = format!("{component}.");
        let modules = adapter.0.keys().filter_map(|site| site.strip_prefix(&prefix));
        let modules: Vec<&str> =
            modules.map(|name| name.strip_prefix(TEXT_MODEL).unwrap_or(name)).collect();
        if modules.is_empty() {
            continue;
        }
        let values = [
            ("peft_type", "LORA".into()),
            ("r", rank.into()),
            ("lora_alpha", rank.into()),
            ("target_modules", modules.into()),
            ("bias", "none".into()),
        ];
        let values: [(&str, Value); 5] = values;
        settings.extend(values.map(|(key, value)| (format!("{prefix}{key}"), value)));
    }
    Value::Object(settings).to_string()
}

/// The settings of each component that has some.
struct Settings(BTreeMap<&'static str, Config>);

impl Settings {
    fn read(file: &Path, metadata: &BTreeMap<String, String>) -> Result<Self> {
        let Some(text) = metadata.get(SETTINGS) else { return Ok(Self(BTreeMap::new())) };
        let damaged = |e: serde_json::Error| Error::damaged(file, format!("`{SETTINGS}`: {e}"));
        let all: Map<String, Value> = serde_json::from_str(text).map_err(damaged)?;
        let mut configs = BTreeMap::new();
        for component in COMPONENTS {
            let prefix = format!("{component}.");
            let own: Map<String, Value> = all
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.into(), value.clone())))
                .collect();
            if !own.is_empty() {
                configs.insert(component, Config::from_value(file, Value::Object(own))?);
            }
        }
        Ok(Self(configs))
    }

    /// The modules that they list and that are not among these.
    fn missing(&self, modules: &BTreeMap<String, Module>) -> Vec<String> {
        let configs = self.0.iter();
        configs.flat_map(|(name, config)| missing_modules(config, name, modules)).collect()
    }

    /// A module with the scale that the settings say, if there are any.
    fn scaled(&self, name: &str, module: Module) -> Module {
        let own = component(name).and_then(|component| {
            let path = name.strip_prefix(component)?.strip_prefix('.')?;
            Some((self.0.get(component)?, path))
        });
        match own {
            Some((config, path)) => {
                let scale = config.scale_at(path, module.rank);
                module.scaled(scale)
            }
            None => module,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{card, factors, read_file, site};
    use super::super::{open, read};
    use super::*;

    const UNET: &str = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0";
    const TEXT: &str = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";

    fn written(ranks: [usize; 2]) -> (tempfile::TempDir, std::path::PathBuf, StoredAdapter) {
        let entries = [UNET, TEXT].iter().zip(ranks);
        let entries = entries.map(|(name, rank)| (name.to_string(), factors(rank)));
        let (folder, adapter) = (tempfile::tempdir().unwrap(), StoredAdapter(entries.collect()));
        Diffusers.write(folder.path(), &adapter, &card("dog6")).unwrap();
        let file = folder.path().join(FILE);
        (folder, file, adapter)
    }

    #[test]
    fn what_is_written_has_one_rank_and_comes_back() {
        let (folder, file, adapter) = written([2, 1]);
        let (tensors, metadata) = read_file(&file);
        assert_eq!(tensors[&format!("{UNET}.lora.up.weight")].0, [2, 2]);
        assert_eq!(tensors[&format!("{TEXT}.lora_linear_layer.down.weight")].0, [2, 3]);
        let settings: Value = serde_json::from_str(&metadata[SETTINGS]).unwrap();
        assert_eq!(
            (&settings["unet.r"], &settings["text_encoder.lora_alpha"]),
            (&2.into(), &2.into())
        );
        assert_eq!(
            settings["text_encoder.target_modules"],
            serde_json::json!(["encoder.layers.0.self_attn.q_proj"])
        );
        assert_eq!(open(folder.path()).unwrap().0.name(), "diffusers", "a folder with the file");
        let found = read(&file, &[UNET, TEXT].map(site)).unwrap();
        assert_eq!(found.get(UNET), adapter.get(UNET));
        let padded = with_rank(adapter.get(TEXT).unwrap(), 2);
        assert_eq!(found.get(TEXT), Some(&padded));
    }

    /// Every dialect is the same adapter; without settings the scale is 1.
    #[test]
    fn older_dialects_are_read() {
        let (_folder, file, adapter) = written([2, 2]);
        let (today, _) = read_file(&file);
        let oldest = |key: &str| {
            key.replace(".to_out.0.lora.", ".processor.to_out_lora.")
                .replace(".q_proj.lora_linear_layer.", ".to_q_lora.")
        };
        let peft = |key: &str| {
            key.replace(".lora_linear_layer.", ".lora.")
                .replace(".lora.down.weight", ".lora_A.weight")
                .replace(".lora.up.weight", ".lora_B.weight")
        };
        let dialects: [&dyn Fn(&str) -> String; 2] = [&oldest, &peft];
        for dialect in dialects {
            let tensors: BTreeMap<_, _> =
                today.iter().map(|(key, tensor)| (dialect(key), tensor.clone())).collect();
            assert!(tensors.keys().all(|key| !today.contains_key(key)), "{tensors:?}");
            write_arrays(&file, &tensors, BTreeMap::new()).unwrap();
            assert_eq!(read(&file, &[UNET, TEXT].map(site)).unwrap(), adapter);
        }
    }

    /// As `UNet2DConditionModel.save_attn_procs` wrote it.
    #[test]
    fn the_unets_attention_alone_is_read() {
        let (_folder, file, adapter) = written([2, 2]);
        let (today, _) = read_file(&file);
        let alone = today.iter().filter_map(|(key, tensor)| {
            let key =
                key.strip_prefix("unet.")?.replace(".to_out.0.lora.", ".processor.to_out_lora.");
            Some((key, tensor.clone()))
        });
        write_arrays(&file, &alone.collect(), BTreeMap::new()).unwrap();
        assert_eq!(read(&file, &[site(UNET)]).unwrap().get(UNET), adapter.get(UNET));
    }

    #[test]
    fn modules_that_are_listed_and_missing_are_told() {
        let (_folder, file, _) = written([2, 2]);
        assert_eq!(open(&file).unwrap().1.missing, [""; 0]);
        let (mut tensors, metadata) = read_file(&file);
        tensors.retain(|key, _| key.starts_with("unet."));
        write_arrays(&file, &tensors, metadata).unwrap();
        let missing = open(&file).unwrap().1.missing;
        assert_eq!(missing, ["text_encoder.encoder.layers.0.self_attn.q_proj"]);
    }

    #[test]
    fn settings_set_the_scale() {
        let (_folder, file, adapter) = written([2, 2]);
        let (tensors, mut metadata) = read_file(&file);
        let mut settings: Value = serde_json::from_str(&metadata[SETTINGS]).unwrap();
        settings["unet.lora_alpha"] = 1.into();
        metadata.insert(SETTINGS.into(), settings.to_string());
        write_arrays(&file, &tensors, metadata.clone()).unwrap();
        let found = read(&file, &[UNET, TEXT].map(site)).unwrap();
        let half: Vec<f32> = adapter.get(UNET).unwrap().up.iter().map(|x| x / 2.0).collect();
        assert_eq!(found.get(UNET).unwrap().up, half);
        assert_eq!(found.get(TEXT), adapter.get(TEXT));

        settings["unet.use_dora"] = true.into();
        metadata.insert(SETTINGS.into(), settings.to_string());
        write_arrays(&file, &tensors, metadata).unwrap();
        let error = open(&file).unwrap_err().to_string();
        assert!(error.contains("`use_dora`"), "{error}");
    }
}
