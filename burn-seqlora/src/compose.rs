//! Several concepts at once: `W = W₀ + Σ λ_i A_i B_iᵀ`, without any fusion.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::adapter::{AdapterSet, Factors};
use crate::bank::{Bank, read_tensors};
use crate::error::{Error, Result};
use crate::text::Vocabulary;

/// One concept of a composition.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The concept.
    pub id: String,
    /// λ; 1 is the trained strength.
    pub scale: f64,
}

/// A composition on a device: factors stacked side by side, token rows one after the other.
#[derive(Debug, Clone)]
pub struct Composition<B: Backend> {
    /// `[λ₁A₁ … λ_N A_N]` and `[B₁ … B_N]` per site: N adapters cost what N small adapters weigh.
    pub adapters: AdapterSet<B>,
    /// All rows `[rows, width]`; `None` without concepts.
    pub rows: Option<Tensor<B, 2>>,
    /// Which rows belong to which word.
    pub vocabulary: Vocabulary,
}

impl<B: Backend> Composition<B> {
    /// The base model alone.
    pub fn none(sites: usize) -> Self {
        Self { adapters: AdapterSet::empty(sites), rows: None, vocabulary: Vocabulary::default() }
    }

    /// Reads the members' adapters and token rows.
    ///
    /// # Errors
    /// If a member is not in the bank or is there twice, or a file is damaged.
    pub fn load(bank: &Bank, members: &[Member], device: &B::Device) -> Result<Self> {
        let sites = bank.sites().len();
        let mut up: Vec<Vec<Tensor<B, 2>>> = vec![Vec::new(); sites];
        let mut down = up.clone();
        let mut rows = Vec::new();
        let mut vocabulary = Vocabulary::default();
        for (number, Member { id, scale }) in members.iter().enumerate() {
            if members[..number].iter().any(|earlier| earlier.id == *id) {
                return Err(Error::Invalid(format!("concept `{id}` is given twice")));
            }
            let record = bank.concept(id)?;
            for (site, factors) in bank.adapter(id)?.sites.iter().enumerate() {
                let Some(factors) = factors else { continue };
                let (a, b) = factors.to_tensors(device);
                up[site].push(a.mul_scalar(*scale));
                down[site].push(b);
            }
            rows.push(read_rows(bank, id, record.words * record.rows_per_word, device)?);
            vocabulary.push(id, record.words, record.rows_per_word);
        }
        let stack = |matrices: Vec<Vec<Tensor<B, 2>>>| {
            let join = |m: Vec<_>| (!m.is_empty()).then(|| Tensor::cat(m, 1));
            Factors::new(matrices.into_iter().map(join).collect())
        };
        Ok(Self {
            adapters: AdapterSet { up: stack(up), down: stack(down) },
            rows: (!rows.is_empty()).then(|| Tensor::cat(rows, 0)),
            vocabulary,
        })
    }
}

fn read_rows<B: Backend>(
    bank: &Bank,
    id: &str,
    expected: usize,
    device: &B::Device,
) -> Result<Tensor<B, 2>> {
    let path = bank.concept_folder(id).join("tokens.safetensors");
    let (shape, values) = read_tensors(&path)?
        .remove("rows")
        .ok_or_else(|| Error::Damaged { path: path.clone(), reason: "`rows` is missing".into() })?;
    if shape != [expected, bank.base().token_width] {
        let width = bank.base().token_width;
        let reason = format!("`rows` has shape {shape:?}, expected [{expected}, {width}]");
        return Err(Error::Damaged { path, reason });
    }
    Ok(Tensor::from_data(TensorData::new(values, shape), device))
}
