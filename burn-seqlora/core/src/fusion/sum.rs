//! Addition: `ΔW = Σ λ_i A_i B_iᵀ`, as a composition does it at inference.

use super::contract::{Fusion, Layer, LayerMember};
use crate::error::Result;
use crate::lora::{Site, StoredFactors, WeightPatch};

/// The members' factors, concatenated. It needs no data and is exact where the members are orthogonal.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum;

impl Sum {
    /// Its name in settings and reports.
    pub const NAME: &'static str = "sum";
}

impl Fusion for Sum {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn description(&self) -> &'static str {
        "by adding their changes"
    }

    fn memory(&self, site: &Site, ranks: &[usize]) -> usize {
        concatenated_bytes(site, ranks)
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = Result<LayerMember>>,
    ) -> Result<WeightPatch> {
        let members = members.collect::<Result<Vec<_>>>()?;
        Ok(WeightPatch::LowRank(concatenated(layer.site, &members, 1.0)))
    }
}

/// `[c λ₁A₁ … c λ_N A_N]` and `[B₁ … B_N]` of the members that adapt the layer.
pub(super) fn concatenated<'m>(site: &Site, members: &'m [LayerMember], c: f64) -> StoredFactors {
    let factors = |m: &'m LayerMember| Some((m.factors.as_ref()?, c * m.scale));
    let adapted: Vec<(&StoredFactors, f64)> = members.iter().filter_map(factors).collect();
    let row = |row: usize| {
        adapted.iter().flat_map(move |(factors, scale)| {
            let values = &factors.up[row * factors.rank..][..factors.rank];
            values.iter().map(move |a| (f64::from(*a) * scale) as f32)
        })
    };
    StoredFactors {
        rank: adapted.iter().map(|(factors, _)| factors.rank).sum(),
        up: (0..site.outputs).flat_map(row).collect(),
        down: adapted.iter().flat_map(|(factors, _)| factors.down.iter().copied()).collect(),
    }
}

/// Bytes of the concatenated factors.
pub(super) fn concatenated_bytes(site: &Site, ranks: &[usize]) -> usize {
    size_of::<f32>() * ranks.iter().sum::<usize>() * (site.inputs + site.outputs)
}
