//! The names and shapes of the tensors in a safetensors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorInfo;
use serde::Deserialize;

use crate::weights::ModelError;

/// The header of a safetensors file: its metadata, and the names and shapes of its tensors.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
    content: Content,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(rename = "__metadata__", default)]
    metadata: BTreeMap<String, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, TensorInfo>,
}

impl Header {
    /// Reads the header of a file, and checks that the file has the size that the header gives.
    ///
    /// # Errors
    /// If the file cannot be read, is truncated, or is not a safetensors file.
    pub fn read(path: &Path) -> Result<Self, ModelError> {
        let damaged = |reason: String| ModelError::Damaged { path: path.into(), reason };
        let mut file = File::open(path).map_err(ModelError::io(path))?;
        let size = file.metadata().map_err(ModelError::io(path))?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|e| damaged(e.to_string()))?;
        let length = u64::from_le_bytes(length);
        if length > size {
            return Err(damaged(format!("its header would be {length} bytes long")));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(|e| damaged(e.to_string()))?;
        let content: Content = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        let ends = content.tensors.values().map(|tensor| tensor.data_offsets.1);
        let whole = 8 + length + ends.max().unwrap_or(0) as u64;
        if size != whole {
            return Err(damaged(format!("it has {size} bytes instead of {whole}")));
        }
        Ok(Self { path: path.into(), content })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An entry of the file's own metadata.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.content.metadata.get(key).map(String::as_str)
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.content.tensors
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.content.tensors.get(key).map(|tensor| tensor.shape.as_slice())
    }

    /// Whether a tensor is there.
    pub fn has(&self, key: &str) -> bool {
        self.content.tensors.contains_key(key)
    }

    /// Whether any key starts with `prefix`.
    pub fn has_under(&self, prefix: &str) -> bool {
        let mut from = self.content.tensors.range(prefix.to_string()..);
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// The size of one dimension of a tensor.
    ///
    /// # Errors
    /// If there is no such tensor, or it has fewer dimensions.
    pub fn size(&self, key: &str, dimension: usize) -> Result<usize, ModelError> {
        let size = self.shape(key).and_then(|shape| shape.get(dimension)).copied();
        size.ok_or_else(|| {
            let reason = format!("`{key}` is missing or has no dimension {dimension}");
            ModelError::NotLdm { path: self.path.clone(), reason, hint: self.hint() }
        })
    }

    /// What the file seems to be instead of a whole model; empty if unknown.
    fn hint(&self) -> &'static str {
        if self.has_under("conditioner.embedders.") {
            "; it is a Stable Diffusion XL model, which is not supported"
        } else if self.content.tensors.keys().any(|key| key.contains("lora")) {
            "; it is an adapter, not a whole model"
        } else if self.has("conv_in.weight") {
            "; it is one part of a diffusers model: use the model's folder instead"
        } else {
            ""
        }
    }

    #[cfg(test)]
    pub(super) fn of(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let (dtype, data_offsets) = (safetensors::Dtype::F32, (0, 0));
        let info = |shape| TensorInfo { dtype, shape, data_offsets };
        let tensors = tensors.into_iter().map(|(key, shape)| (key, info(shape))).collect();
        let content = Content { metadata: BTreeMap::new(), tensors };
        Self { path: "model.safetensors".into(), content }
    }
}
