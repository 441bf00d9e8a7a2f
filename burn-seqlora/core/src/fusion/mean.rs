//! The mean: `ΔW = (1/N) Σ λ_i A_i B_iᵀ` (federated averaging; Mix-of-Show's baseline "weight fusion").

use super::contract::{Fusion, Layer, LayerMember};
use super::sum::{concatenated, concatenated_bytes};
use crate::error::Result;
use crate::lora::{Site, WeightPatch};

/// Every member at 1/N of its strength. N counts all members, including those that do not adapt a layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean;

impl Mean {
    /// Its name in settings and reports.
    pub const NAME: &'static str = "mean";
}

impl Fusion for Mean {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn description(&self) -> &'static str {
        "by averaging their changes"
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
        let share = 1.0 / members.len() as f64;
        Ok(WeightPatch::LowRank(concatenated(layer.site, &members, share)))
    }
}
