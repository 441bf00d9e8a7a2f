//! Several concepts at once: `W = W₀ + Σ λ_i A_i B_iᵀ`, without any fusion.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use burn_jvp::Dual;
use seqlora_kernels::lora_linear::LoraFactors;

use crate::bank::formats::FactorsFile;
use crate::bank::{Bank, ConceptRecord, Matrix};
use crate::error::{Error, Result};
use crate::lora::{DualAdapters, Site, StoredAdapter};
use crate::text::Vocabulary;

/// One concept of a composition.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// The concept.
    pub id: String,
    /// λ; 1 is the trained strength.
    pub scale: f64,
}

impl Member {
    /// A concept at its trained strength.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), scale: 1.0 }
    }

    /// Its adapter, for a model with these sites.
    pub(crate) fn adapter(&self, bank: &Bank, sites: &[Site]) -> Result<StoredAdapter> {
        let id = bank.find(&self.id)?;
        let adapter = bank.adapter(id).map_err(|error| self.unusable(error))?;
        match adapter.misfit(sites) {
            Some(site) => {
                let reason = format!("the factors of `{site}` fit no layer of the model");
                Err(self.unusable(Error::damaged(bank.concept_folder(id), reason)))
            }
            None => Ok(adapter),
        }
    }

    /// The file of its adapter, for a model with these sites, and its rank at each. All of it is read once and checked.
    pub(crate) fn factors_file(
        &self,
        bank: &Bank,
        sites: &[Site],
    ) -> Result<(FactorsFile, Vec<usize>)> {
        let ranks = self.adapter(bank, sites)?.ranks(sites);
        Ok((bank.factors_file(bank.find(&self.id)?)?, ranks))
    }

    /// All of it, for a model with these sites.
    ///
    /// # Errors
    /// If it is not in the bank, a file is damaged, or the adapter does not fit the model.
    pub fn concept(&self, bank: &Bank, sites: &[Site]) -> Result<HostConcept> {
        let (record, embeddings) = self.words(bank)?;
        let words = [record.words, record.embeddings_per_word];
        Ok(HostConcept {
            id: self.id.clone(),
            words,
            adapter: self.adapter(bank, sites)?,
            embeddings,
        })
    }

    fn record(&self, bank: &Bank) -> Result<ConceptRecord> {
        bank.record(&self.id).map_err(|error| self.unusable(error))
    }

    /// Its record and token embeddings.
    fn words(&self, bank: &Bank) -> Result<(ConceptRecord, Matrix)> {
        let record = self.record(bank)?;
        let embeddings = bank.embeddings(&record).map_err(|error| self.unusable(error))?;
        Ok((record, embeddings))
    }

    /// The error with its files that keeps it from being used.
    fn unusable(&self, error: Error) -> Error {
        match error {
            Error::File(source) => Error::DamagedConcept { id: self.id.clone(), source },
            other => other,
        }
    }
}

/// A concept in memory: what a bank stores of it, or would store of one that is being learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConcept {
    /// Its name in prompts: `<id>`.
    pub id: String,
    /// How many words it has, and how many embeddings each of them.
    pub words: [usize; 2],
    /// Its factors.
    pub adapter: StoredAdapter,
    /// The embeddings of its words, one below the other.
    pub embeddings: Matrix,
}

/// Checks that no concept is given twice.
pub(crate) fn distinct(members: &[Member]) -> Result<()> {
    let twice = |(number, member): &(usize, &Member)| {
        members[..*number].iter().any(|earlier| earlier.id == member.id)
    };
    match members.iter().enumerate().find(twice) {
        Some((_, Member { id, .. })) => {
            Err(Error::Invalid(format!("concept `{id}` is given twice")))
        }
        None => Ok(()),
    }
}

/// Checks that concepts can be composed: each is in the bank with a readable record, none is given
/// twice, and all strengths are finite.
///
/// # Errors
/// Names the first that cannot.
pub fn check_members(bank: &Bank, members: &[Member]) -> Result<()> {
    distinct(members)?;
    for member in members {
        let Member { id, scale } = member;
        if !scale.is_finite() {
            return Err(Error::Invalid(format!("the strength {scale} of `{id}` is not finite")));
        }
        member.record(bank)?;
    }
    Ok(())
}

/// A composition on a device: factors and token embeddings of all members concatenated.
#[derive(Debug, Clone)]
pub struct Composition<B: Backend> {
    /// `[λ₁A₁ … λ_N A_N]` and `[B₁ … B_N]` per site: N adapters cost what N small adapters weigh.
    pub adapters: DualAdapters<B>,
    /// All token embeddings `[embeddings, width]`; `None` without concepts.
    pub embeddings: Option<Tensor<B, 2>>,
    /// Which embeddings belong to which word.
    pub vocabulary: Vocabulary,
}

impl<B: Backend> Composition<B> {
    /// The base model alone.
    pub fn none(sites: usize) -> Self {
        let adapters = DualAdapters::new(vec![None; sites]);
        Self { adapters, embeddings: None, vocabulary: Vocabulary::default() }
    }

    /// Reads the members' adapters and token embeddings, for a model with these sites. Sites are found
    /// by name.
    ///
    /// # Errors
    /// Those of [`check_members`], or if a file is damaged, or an adapter does not fit the model.
    pub fn load(
        bank: &Bank,
        members: &[Member],
        sites: &[Site],
        device: &B::Device,
    ) -> Result<Self> {
        check_members(bank, members)?;
        let concept = |member: &Member| Ok((member.concept(bank, sites)?, member.scale));
        let concepts = members.iter().map(concept).collect::<Result<Vec<_>>>()?;
        Ok(Self::of(&concepts, sites, device))
    }

    /// Puts concepts with their strengths on a device. Factors of sites that the model does not have are left
    /// out.
    ///
    /// # Panics
    /// If factors do not fit their site.
    pub fn of(concepts: &[(HostConcept, f64)], sites: &[Site], device: &B::Device) -> Self {
        let mut up: Vec<Vec<Tensor<B, 2>>> = vec![Vec::new(); sites.len()];
        let mut down = up.clone();
        let mut embeddings = Vec::new();
        let mut vocabulary = Vocabulary::default();
        for (HostConcept { id, words, adapter, embeddings: own }, scale) in concepts {
            for (number, site) in sites.iter().enumerate() {
                let Some(factors) = adapter.get(&site.name) else { continue };
                let (a, b) = factors.to_tensors(device);
                up[number].push(a.mul_scalar(*scale));
                down[number].push(b);
            }
            let (shape, values) = own.clone();
            embeddings.push(Tensor::from_data(TensorData::new(values, shape), device));
            vocabulary.push(id, words[0], words[1]);
        }
        let concat = |matrices| Dual::constant(Tensor::cat(matrices, 1));
        let site = |(up, down): (Vec<_>, Vec<_>)| {
            (!up.is_empty()).then(|| LoraFactors { up: concat(up), down: concat(down) })
        };
        Self {
            adapters: DualAdapters::new(up.into_iter().zip(down).map(site).collect()),
            embeddings: (!embeddings.is_empty()).then(|| Tensor::cat(embeddings, 0)),
            vocabulary,
        }
    }
}
