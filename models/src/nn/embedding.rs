//! An embedding table.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, backend::Backend};

use super::frozen;

/// A frozen embedding table.
#[derive(Module, Debug)]
pub struct Embedding<B: Backend> {
    /// `[entries, width]`
    pub weight: Param<Tensor<B, 2>>,
}

impl<B: Backend> Embedding<B> {
    /// A table without weights.
    pub fn new(entries: usize, width: usize, device: &B::Device) -> Self {
        Self { weight: frozen([entries, width], device) }
    }

    /// The embeddings of some entries.
    ///
    /// # Shapes
    /// - ids: `[n]`, output: `[n, width]`
    pub fn forward(&self, ids: Tensor<B, 1, Int>) -> Tensor<B, 2> {
        self.weight.val().select(0, ids)
    }
}
