//! Where B may lie at each site, on a device.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::matmul::Times;
use seqlora_kernels::{KernelBackend, ops};

use super::Feasible;
use super::directions::{Columns, from_columns};

/// What B is kept to at each site: matrices `[inputs, directions]` with orthonormal columns; `None` where there are no
/// directions.
#[derive(Debug, Clone)]
pub struct Bases<B: Backend> {
    /// Q, which B is orthogonal to.
    avoided: Vec<Option<Tensor<B, 2>>>,
    /// U, whose span B lies in and which spans the avoided directions, too; `None` for the whole space.
    blocks: Vec<Option<Tensor<B, 2>>>,
}

impl<B: Backend> Default for Bases<B> {
    /// No directions anywhere.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl<B: Backend> Bases<B> {
    /// Q at each site, in the order of the sites' numbers, in the whole space.
    pub fn new(avoided: Vec<Option<Tensor<B, 2>>>) -> Self {
        Self { avoided, blocks: Vec::new() }
    }

    /// With U at each site, in whose span the avoided directions lie.
    pub fn with_blocks(self, blocks: Vec<Option<Tensor<B, 2>>>) -> Self {
        Self { blocks, ..self }
    }

    /// The feasible directions of each site on a device.
    pub fn of(feasible: &[Feasible], device: &B::Device) -> Self {
        let matrix = |columns: &Columns| {
            let (rows, count) = (columns.first()?.len(), columns.len());
            let data = TensorData::new(from_columns(columns), [rows, count]);
            Some(Tensor::from_data(data, device))
        };
        // Sites of one size share their block.
        let mut known = BTreeMap::new();
        let mut block = |site: &Feasible| {
            let columns = site.block()?;
            known.entry(Arc::as_ptr(columns)).or_insert_with(|| matrix(columns)).clone()
        };
        let avoided = feasible.iter().map(|site| matrix(&site.avoided())).collect();
        Self::new(avoided).with_blocks(feasible.iter().map(&mut block).collect())
    }

    /// Whether B may lie everywhere.
    pub fn is_everything(&self) -> bool {
        self.avoided.iter().chain(&self.blocks).all(Option::is_none)
    }

    /// Q at a site, if there are directions.
    pub fn get(&self, site: usize) -> Option<&Tensor<B, 2>> {
        self.avoided.get(site)?.as_ref()
    }
}

impl<B: KernelBackend> Bases<B> {
    /// The nearest feasible B at a site: `(I − Q Qᵀ) U Uᵀ B`.
    pub fn project(&self, site: usize, down: Tensor<B, 2>) -> Tensor<B, 2> {
        let block = self.blocks.get(site).and_then(Option::as_ref);
        let down = match block {
            Some(block) => block.clone().times(block.clone().transpose().times(down)),
            None => down,
        };
        match self.get(site) {
            Some(avoided) => ops::project(down, avoided.clone()),
            None => down,
        }
    }
}
