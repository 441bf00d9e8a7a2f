//! Image and text encoders as their authors' tools store them.
//!
//! | layout | recognised by | files |
//! |---|---|---|
//! | transformers | `model_type` in `config.json`: vit, dinov2, dinov2_with_registers, dinov3_vit, clip | DINO, DINOv2, DINOv3, CLIP |
//! | timm, and the original code of DINO and DINOv2 | `patch_embed.proj.weight` | `timm/vit_*`, `dino_*_pretrain.pth` |
//! | OpenCLIP | `visual.conv1.weight` | `open_clip_*`, HPSv2 |
//! | DreamSim's copies of CLIP | `pos_drop.weight` | `*_pretrain.pth.tar` |
//!
//! Weights are `.safetensors` files or PyTorch's archives; the latter are recognised by their content.
//! Position embeddings are resampled by transformers' rules in every layout; the rule of the original
//! code is [`Resampling::Hub`](crate::vit::Resampling::Hub) in the config.

mod infer;
mod keys;
mod lora;
mod transformers;

use std::path::{Path, PathBuf};

use seqlora_files::parse_object;
use serde_json::{Map, Value};

use super::{Header, KeyLayout, KeyTable, ModelError, WeightFiles, read_config};
use crate::clip::ClipTextConfig;
use crate::vit::VitConfig;

pub use lora::{DreamSimAdapter, LoraDelta};

use infer::OpenClipConfig;

/// An image encoder that was found: its sizes, its files and their key names.
#[derive(Debug, Clone)]
pub struct FoundVit {
    /// Its sizes and variants.
    pub config: VitConfig,
    /// Its files.
    pub files: WeightFiles,
    /// Their key names.
    pub layout: KeyLayout,
}

/// A text encoder with a projection that was found.
#[derive(Debug, Clone)]
pub struct FoundTextTower {
    /// Its sizes.
    pub config: ClipTextConfig,
    /// The width of its output.
    pub projection: usize,
    /// Its files.
    pub files: WeightFiles,
    /// Their key names.
    pub layout: KeyLayout,
}

impl FoundVit {
    /// Finds the encoder in a folder, or in a file of weights.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the layout is not known.
    pub fn find(path: &Path) -> Result<Self, ModelError> {
        let Place { files, transformers, open_clip } = Place::of(path)?;
        if let Some((text, file)) = transformers {
            let (config, table) = transformers::vision(&text, &file)?;
            return Ok(Self { config, files, layout: table.into() });
        }
        let header = Header::read(&files.shards[0])?;
        let open_clip = || {
            let config = infer::open_clip_vision(&header, &open_clip)?;
            Some(config.map(|config| (config, KeyTable::OPEN_CLIP_VISION)))
        };
        let unknown = |reason: String| ModelError::NoEncoder { path: path.into(), reason };
        let found = infer::timm(&header).or_else(open_clip).ok_or_else(|| {
            unknown(
                "there is neither a transformers `config.json` nor `patch_embed.proj.weight` (timm) or \
                 `visual.conv1.weight` (OpenCLIP)"
                    .into(),
            )
        })?;
        let (config, table) = found.map_err(unknown)?;
        config.check().map_err(unknown)?;
        Ok(Self { config, files, layout: table.into() })
    }
}

impl FoundTextTower {
    /// Finds CLIP's text half in a folder, or in a file of weights.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the layout is not known.
    pub fn find(path: &Path) -> Result<Self, ModelError> {
        let Place { files, transformers, open_clip } = Place::of(path)?;
        if let Some((text, file)) = transformers {
            let (config, projection) = transformers::text_tower(&text, &file)?;
            let layout = KeyTable::CLIP_TEXT_PROJECTED.into();
            return Ok(Self { config, projection, files, layout });
        }
        let header = Header::read(&files.shards[0])?;
        let unknown = |reason: String| ModelError::NoEncoder { path: path.into(), reason };
        let found = infer::open_clip_text(&header, &open_clip).ok_or_else(|| {
            unknown("there is neither a transformers `config.json` nor `text_projection`".into())
        })?;
        let (config, projection) = found.map_err(unknown)?;
        config.require_sizes(path)?;
        Ok(Self { config, projection, files, layout: KeyTable::OPEN_CLIP_TEXT.into() })
    }
}

/// The files of an encoder, and what its configs say.
struct Place {
    files: WeightFiles,
    /// The text of transformers' config, and its file.
    transformers: Option<(String, PathBuf)>,
    open_clip: OpenClipConfig,
}

/// Names of a file with all weights besides those of transformers' safetensors files.
const NAMES: [&str; 4] = [
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
];

impl Place {
    fn of(path: &Path) -> Result<Self, ModelError> {
        let (mut transformers, mut open_clip) = (None, OpenClipConfig::default());
        if path.is_file() {
            let files = WeightFiles { folder: path.into(), shards: vec![path.into()] };
            return Ok(Self { files, transformers, open_clip });
        }
        let file = path.join("open_clip_config.json");
        if file.is_file() {
            let config = parse_object(&read_config(&file)?);
            open_clip = config.map_err(|reason| ModelError::config(&file, reason))?;
        }
        let file = path.join("config.json");
        if file.is_file() {
            let text = read_config(&file)?;
            let object: Map<String, Value> =
                parse_object(&text).map_err(|reason| ModelError::config(&file, reason))?;
            // timm's config names an architecture, and its sizes are in no file.
            if !object.contains_key("architecture") {
                transformers = Some((text, file));
            }
        }
        let mut files = WeightFiles::find(path);
        if let (Err(_), Some(name)) = (&files, NAMES.iter().find(|name| path.join(name).is_file()))
        {
            files = Ok(WeightFiles { folder: path.into(), shards: vec![path.join(name)] });
        }
        Ok(Self { files: files?, transformers, open_clip })
    }
}
