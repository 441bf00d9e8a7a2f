//! Adapters of other tools as concepts of a bank.

use crate::lora::directions::{Columns, orthonormal_gauge};
use crate::lora::{Feasible, Site, StoredAdapter};

/// An adapter as a bank stores it, and what it has in common with the bank's concepts.
#[derive(Debug, Clone, PartialEq)]
pub struct GaugedAdapter {
    /// B orthonormal, A Bᵀ unchanged.
    pub adapter: StoredAdapter,
    /// The same without what acts on directions of the bank's concepts: B orthogonal to theirs.
    pub projected: StoredAdapter,
    /// ‖ΔW Q‖² / ‖ΔW‖² over all layers, with Q the directions of the bank's concepts: the share of the
    /// change that acts on what they act on. It is what projecting loses.
    pub shared: f64,
}

/// The least share of an adapter's norm that is more than rounding and noise.
const LEAST_REST: f64 = 1e-3;

impl GaugedAdapter {
    /// Whether projecting leaves nothing of it but rounding: less than a thousandth of its norm.
    pub fn leaves_nothing(&self) -> bool {
        self.projected.0.is_empty() || 1.0 - self.shared < LEAST_REST.powi(2)
    }
}

/// Brings an adapter into the bank's form, and compares it with the `directions` of the bank's concepts at
/// each site.
pub fn gauged(adapter: &StoredAdapter, sites: &[Site], directions: Vec<Columns>) -> GaugedAdapter {
    let (mut plain, mut projected) = (StoredAdapter::default(), StoredAdapter::default());
    let (mut before, mut after) = (0.0, 0.0);
    for (site, directions) in sites.iter().zip(directions) {
        let Some(factors) = adapter.get(&site.name) else { continue };
        // Those of plain LoRAs are not orthogonal to each other.
        let (occupied, _) = orthonormal_gauge(directions, &Columns::new());
        let parts = [
            (Feasible::default(), &mut plain, &mut before),
            (occupied.into(), &mut projected, &mut after),
        ];
        for (feasible, adapter, energy) in parts {
            let Some(factors) = factors.in_gauge(&feasible) else { continue };
            // With orthonormal B this is ‖A Bᵀ‖².
            *energy += factors.up.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            adapter.0.insert(site.name.clone(), factors);
        }
    }
    let shared = if before > 0.0 { (1.0 - after / before).max(0.0) } else { 0.0 };
    GaugedAdapter { adapter: plain, projected, shared }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role, StoredFactors, WeightPatch};

    fn site() -> Site {
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        Site { name: "unet.a".into(), inputs: 4, outputs: 3, part, role }
    }

    fn adapter() -> StoredAdapter {
        let numbers = |count: usize| (0..count).map(|x| ((x * x * 7) % 11) as f32 - 4.0).collect();
        let factors = StoredFactors { rank: 2, up: numbers(6), down: numbers(8) };
        StoredAdapter([("unet.a".to_string(), factors)].into())
    }

    fn delta(adapter: &StoredAdapter) -> Vec<f32> {
        WeightPatch::LowRank(adapter.get("unet.a").unwrap().clone()).delta()
    }

    fn energy(values: &[f32]) -> f64 {
        values.iter().map(|x| f64::from(*x).powi(2)).sum()
    }

    /// ΔW stays; projecting removes what acts on the direction, which is the share that is told.
    #[test]
    fn what_is_shared_is_what_projecting_loses() {
        // Not of unit length, and twice: a bank of plain LoRAs may hold the like.
        let direction = vec![1.0, 2.0, 0.0, -1.0];
        let directions = vec![vec![direction.clone(), direction.clone()]];
        let found = gauged(&adapter(), &[site()], directions);
        let (before, after) = (delta(&adapter()), delta(&found.projected));
        for (a, b) in before.iter().zip(delta(&found.adapter)) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
        for row in after.chunks(4) {
            let along: f64 = row.iter().zip(&direction).map(|(x, d)| f64::from(*x) * d).sum();
            assert!(along.abs() < 1e-4, "{along}");
        }
        let lost: Vec<f32> = before.iter().zip(&after).map(|(a, b)| a - b).collect();
        assert!((found.shared - energy(&lost) / energy(&before)).abs() < 1e-6, "{found:?}");
        assert!(found.shared > 0.01);
        assert_eq!(gauged(&adapter(), &[site()], vec![Columns::new()]).shared, 0.0);
    }

    #[test]
    fn nothing_is_left_of_what_is_all_shared() {
        let factors = adapter();
        let inside = factors.get("unet.a").unwrap().down_columns();
        let found = gauged(&factors, &[site()], vec![inside]);
        assert!((found.shared - 1.0).abs() < 1e-9 && found.projected.0.is_empty(), "{found:?}");
        assert!(found.leaves_nothing());
    }

    /// An adapter that was rounded, or trained a little further, is no further one.
    #[test]
    fn a_trace_is_nothing() {
        let factors = adapter();
        let apart = |by: f64| {
            let mut near = factors.get("unet.a").unwrap().down_columns();
            near.iter_mut().for_each(|column| column[0] += by);
            gauged(&factors, &[site()], vec![near])
        };
        let trace = apart(1e-4);
        assert!(!trace.projected.0.is_empty() && trace.leaves_nothing(), "{trace:?}");
        assert!(!apart(1.0).leaves_nothing());
    }
}
