//! Fusing the concepts of a bank, layer by layer.

use burn::tensor::{Tensor, backend::Backend};
use nalgebra::DMatrix;
use rayon::prelude::*;

use super::contract::{Fusion, Layer, LayerMember, Statistics};
use super::statistics::{GramSource, KEPT_ROWS};
use crate::bank::Bank;
use crate::bank::formats::FactorsFile;
use crate::compose::{Member, distinct};
use crate::error::{Error, Result};
use crate::lora::{Site, WeightPatch};
use crate::read;

/// Concepts of a bank that are to be fused.
///
/// Factors and matrices of size m × m or n × m exist for one member at a time, unless the fusion holds more, and for as
/// many layers as are fused at once: one for each core, within 1 GB. So memory does not grow with the members.
#[derive(Debug)]
pub struct FusionRun<'a> {
    fusion: &'a dyn Fusion,
    sites: &'a [Site],
    members: Vec<Adapted<'a>>,
    grams: Option<&'a dyn GramSource>,
    /// Whether a site is to be fused, by its number.
    selected: Vec<bool>,
}

/// A member, and where its factors are.
#[derive(Debug)]
struct Adapted<'a> {
    member: &'a Member,
    file: FactorsFile,
    /// At each site.
    ranks: Vec<usize>,
}

/// An upper bound of the host memory of a fusion in bytes, without the patches that the caller keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FusionMemory {
    /// The largest layer, one member's statistics included.
    pub layer: usize,
    /// The number of layers that are fused at once.
    pub at_once: usize,
}

/// Layers that are fused at once take no more bytes than this, unless one alone does.
const MOST_AT_ONCE: usize = 1 << 30;

impl FusionMemory {
    /// All of it.
    pub fn total(self) -> usize {
        self.at_once * self.layer
    }
}

impl<'a> FusionRun<'a> {
    /// Checks the members' adapters for a model with these sites; `grams` may be missing if the fusion
    /// needs no statistics.
    ///
    /// # Errors
    /// If a member is not in the bank or is there twice, a file is damaged, an adapter does not fit the
    /// model, or statistics are needed and missing.
    pub fn new(
        fusion: &'a dyn Fusion,
        bank: &Bank,
        members: &'a [Member],
        sites: &'a [Site],
        grams: Option<&'a dyn GramSource>,
    ) -> Result<Self> {
        if fusion.needs() != Statistics::None && grams.is_none() {
            let name = fusion.name();
            let reason = format!("the fusion `{name}` needs statistics of each concept's inputs");
            return Err(Error::Invalid(reason));
        }
        distinct(members)?;
        let read = |member: &'a Member| {
            let (file, ranks) = member.factors_file(bank, sites)?;
            Ok(Adapted { member, file, ranks })
        };
        let members = members.iter().map(read).collect::<Result<_>>()?;
        Ok(Self { fusion, sites, members, grams, selected: vec![true; sites.len()] })
    }

    /// Fuses those sites only for which `wanted` is true.
    pub fn only(self, wanted: impl Fn(&Site) -> bool) -> Self {
        Self { selected: self.sites.iter().map(wanted).collect(), ..self }
    }

    /// The memory that [`FusionRun::patches`] takes.
    pub fn memory(&self) -> FusionMemory {
        let layer = |(number, site): (usize, &Site)| {
            // Once as the bytes of the file and once as numbers.
            let gram = 2 * size_of::<f32>() * site.inputs * site.inputs;
            let statistics = match self.fusion.needs() {
                Statistics::None => 0,
                Statistics::Gram => gram,
                Statistics::GramAndInputs => gram + 4 * size_of::<f32>() * KEPT_ROWS * site.inputs,
            };
            statistics + self.fusion.memory(site, &self.ranks(number))
        };
        let layer = self.adapted().map(layer).max().unwrap_or(0);
        let cores = rayon::current_num_threads().min(self.layers()).max(1);
        FusionMemory { layer, at_once: (MOST_AT_ONCE / layer.max(1)).clamp(1, cores) }
    }

    /// The number of layers that [`FusionRun::patches`] goes through.
    pub fn layers(&self) -> usize {
        self.adapted().count()
    }

    /// The patch of one layer after the other, with the name of its site. Layers that no member adapts
    /// are left out. `weight` gives W₀ `[n, m]` of the site with this number.
    pub fn patches<B: Backend>(
        &self,
        weight: impl Fn(usize) -> Tensor<B, 2> + Sync,
    ) -> impl Iterator<Item = Result<(String, WeightPatch)>> {
        let layers: Vec<_> = self.adapted().collect();
        let groups = layers.chunks(self.memory().at_once).map(<[_]>::to_vec).collect::<Vec<_>>();
        groups.into_iter().flat_map(move |group| {
            let layer = |(number, site)| self.patch(site, &|| matrix(weight(number)));
            group.into_par_iter().map(layer).collect::<Vec<_>>()
        })
    }

    /// The patch of one layer, with the name of its site.
    fn patch(
        &self,
        site: &Site,
        weight: &dyn Fn() -> DMatrix<f64>,
    ) -> Result<(String, WeightPatch)> {
        let mut members = self.members.iter().map(|member| self.on_layer(member, site));
        let patch = self.fusion.fuse(&Layer { site, weight }, &mut members)?;
        match patch.fits(site) {
            true => Ok((site.name.clone(), patch)),
            false => {
                let (fusion, site) = (self.fusion.name(), &site.name);
                let reason = format!("what `{fusion}` makes of `{site}` does not fit the layer");
                Err(Error::Invalid(reason))
            }
        }
    }

    /// The sites that some member adapts, with their numbers.
    fn adapted(&self) -> impl Iterator<Item = (usize, &'a Site)> {
        let adapted = |number: usize| self.members.iter().any(|member| member.ranks[number] > 0);
        let sites = self.sites.iter().enumerate();
        sites.filter(move |(number, _)| self.selected[*number] && adapted(*number))
    }

    /// The ranks of all members at a site.
    fn ranks(&self, number: usize) -> Vec<usize> {
        self.members.iter().map(|member| member.ranks[number]).collect()
    }

    fn on_layer<'s>(
        &'s self,
        Adapted { member, file, .. }: &'s Adapted<'a>,
        site: &Site,
    ) -> Result<LayerMember<'s>> {
        let gram = match (self.fusion.needs(), self.grams) {
            (Statistics::None, _) | (_, None) => None,
            (_, Some(grams)) => Some(grams.gram(&member.id, site)?),
        };
        Ok(LayerMember { id: &member.id, scale: member.scale, factors: file.of(site)?, gram })
    }
}

/// A matrix on the host in f64.
fn matrix<B: Backend>(tensor: Tensor<B, 2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, read::data(tensor).iter::<f64>())
}
