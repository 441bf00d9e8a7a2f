//! The weight files of one component, and how its parameters are named in them.

use std::path::Path;

use burn::module::Module;
use burn::tensor::backend::Backend;
use safetensors::tensor::TensorInfo;

use crate::weights::{CheckedWeights, Header, KeyLayout, ModelError, WeightFiles};

/// The weight files of one component, and how its parameters are named in them.
#[derive(Debug, Clone)]
pub(crate) struct ComponentFiles {
    pub(crate) files: WeightFiles,
    pub(crate) layout: KeyLayout,
}

impl ComponentFiles {
    /// A component in a single file.
    pub(crate) fn in_file(file: &Path, layout: KeyLayout) -> Self {
        Self { files: WeightFiles { folder: file.into(), shards: vec![file.into()] }, layout }
    }

    /// How many numbers its parameters have, by the headers of the files.
    ///
    /// # Errors
    /// If a file cannot be read or is damaged.
    pub(super) fn numbers(&self) -> Result<usize, ModelError> {
        let mut numbers = 0_usize;
        for shard in &self.files.shards {
            let header = Header::read(shard)?;
            let own = header.tensors().iter().filter(|(key, _)| self.layout.ours(key).is_some());
            let of_tensor = |(_, tensor): (_, &TensorInfo)| {
                let (start, end) = tensor.data_offsets;
                8 * (end - start) / tensor.dtype.bitsize()
            };
            numbers = own.map(of_tensor).fold(numbers, usize::saturating_add);
        }
        Ok(numbers)
    }

    /// Compares the files with the parameters of a module.
    ///
    /// # Errors
    /// Those of [`CheckedWeights::of`].
    pub(crate) fn check<B: Backend, M: Module<B>>(
        &self,
        module: &M,
    ) -> Result<CheckedWeights<B, M>, ModelError> {
        CheckedWeights::of(module, &self.files, &self.layout)
    }
}
