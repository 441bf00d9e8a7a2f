//! DreamSim's adapter: a LoRA on the fused query, key and value projections of three encoders.

use std::path::Path;
use std::rc::Rc;

use burn::tensor::TensorData;
use seqlora_core::precision::Precision;
use seqlora_files::parse_object;
use serde::Deserialize;

use crate::weights::stored::StoredWeight;
use crate::weights::{Header, ModelError, read_config, require_defaults};

/// `adapter_config.json`, as far as it matters: the rest says how the adapter was trained.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct AdapterConfig {
    r: usize,
    lora_alpha: f64,
}

impl Default for AdapterConfig {
    /// PEFT's defaults.
    fn default() -> Self {
        Self { r: 8, lora_alpha: 8.0 }
    }
}

/// The change of one layer's fused projections.
#[derive(Debug, Clone)]
pub struct LoraDelta {
    /// The layer.
    pub layer: usize,
    /// `(α / r) B A`: `[3 · width, width]`, f32.
    pub delta: TensorData,
}

/// The adapter of DreamSim's ensemble, or of one of its models.
#[derive(Debug)]
pub struct DreamSimAdapter {
    header: Rc<Header>,
    scale: f64,
    rank: usize,
}

/// The largest rank that is read; DreamSim's is 16.
const LARGEST_RANK: usize = 1024;

impl DreamSimAdapter {
    /// Opens the folder that PEFT wrote: `adapter_config.json`, and `adapter_model.safetensors` or
    /// `adapter_model.bin`.
    ///
    /// # Errors
    /// If a file is missing or damaged, or the adapter is of another kind.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let file = folder.join("adapter_config.json");
        let text = read_config(&file)?;
        let fixed = [("peft_type", "\"LORA\""), ("use_rslora", "false"), ("use_dora", "false")];
        require_defaults(&text, &file, &fixed)?;
        let config: AdapterConfig =
            parse_object(&text).map_err(|reason| ModelError::config(&file, reason))?;
        if !(1..=LARGEST_RANK).contains(&config.r) || !config.lora_alpha.is_finite() {
            let AdapterConfig { r, lora_alpha } = config;
            let reason = format!(
                "`r` is {r} and `lora_alpha` {lora_alpha}; expected 1 to {LARGEST_RANK} and a number"
            );
            return Err(ModelError::config(&file, reason));
        }
        let weights =
            ["adapter_model.safetensors", "adapter_model.bin"].map(|name| folder.join(name));
        let weights = weights.iter().find(|file| file.is_file()).unwrap_or(&weights[0]);
        let header = Rc::new(Header::read(weights)?);
        Ok(Self { header, scale: config.lora_alpha / config.r as f64, rank: config.r })
    }

    /// The changes of the encoder number `branch`, which has `layers` layers of this width.
    ///
    /// # Errors
    /// If a tensor is missing, of another shape, or not finite.
    pub fn deltas(
        &self,
        branch: usize,
        layers: usize,
        width: usize,
    ) -> Result<Vec<LoraDelta>, ModelError> {
        let wrong = |problem| ModelError::Weights {
            path: self.header.path().into(),
            problems: vec![problem],
        };
        let delta = |layer: usize| {
            let start = format!(
                "base_model.model.extractor_list.{branch}.model.blocks.{layer}.attn.qkv.lora_"
            );
            let a = self.matrix(&format!("{start}A.weight"), [self.rank, width])?;
            let b = self.matrix(&format!("{start}B.weight"), [3 * width, self.rank])?;
            Ok(LoraDelta { layer, delta: self.product(&b, &a, width) })
        };
        (0..layers).map(delta).collect::<Result<_, String>>().map_err(wrong)
    }

    /// The number of encoders that have changes.
    pub fn branches(&self) -> usize {
        let has = |branch: &usize| {
            self.header.has_under(&format!("base_model.model.extractor_list.{branch}."))
        };
        (0..8).take_while(has).count()
    }

    fn matrix(&self, key: &str, expected: [usize; 2]) -> Result<Vec<f32>, String> {
        let Some(shape) = self.header.shape(key) else { return Err(format!("`{key}` is missing")) };
        if shape != expected {
            return Err(format!("`{key}` has shape {shape:?}, expected {expected:?}"));
        }
        let weight = StoredWeight::new(&self.header, key, None, false, key)?;
        Ok(weight.read(Precision::F32)?.iter::<f32>().collect())
    }

    /// `scale · B A`, summed in f64.
    fn product(&self, b: &[f32], a: &[f32], width: usize) -> TensorData {
        let row = |b: &[f32]| {
            let mut sums = vec![0.0; width];
            for (factor, a) in b.iter().zip(a.chunks(width)) {
                let factor = self.scale * f64::from(*factor);
                sums.iter_mut().zip(a).for_each(|(sum, x)| *sum += factor * f64::from(*x));
            }
            sums.into_iter().map(|sum| sum as f32)
        };
        let values: Vec<f32> = b.chunks(self.rank).flat_map(row).collect();
        TensorData::new(values, [3 * width, width])
    }
}
