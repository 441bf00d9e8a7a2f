//! Overlap in weight space: of every pair of adapters at every layer that both change.

use std::f64::consts::FRAC_PI_2;

use nalgebra::DMatrix;
use rayon::prelude::*;

use super::subspace::{SubspaceOverlap, orthonormal_basis};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// Two adapters at one site.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteWeights {
    /// The site's number among those given.
    pub site: usize,
    /// How far span(B_i) and span(B_j) overlap.
    pub overlap: SubspaceOverlap,
    /// ⟨ΔW_i, ΔW_j⟩_F = tr(A_iᵀ A_j B_jᵀ B_i)
    product: f64,
    /// ‖ΔW_i‖_F² and ‖ΔW_j‖_F²
    norms: [f64; 2],
}

/// Two adapters at all sites that both change.
#[derive(Debug, Clone, PartialEq)]
pub struct PairWeights {
    /// Their numbers, the smaller one first.
    pub pair: [usize; 2],
    /// Site by site.
    pub sites: Vec<SiteWeights>,
}

impl SiteWeights {
    /// The cosine of the angle between ΔW_i and ΔW_j: 1 if they add up, −1 if they cancel, 0 if one of
    /// them is zero or they are orthogonal.
    pub fn cosine(&self) -> f64 {
        cosine(self.product, self.norms)
    }
}

impl PairWeights {
    /// The same over all of these sites together.
    pub fn cosine(&self) -> f64 {
        let sum = |of: fn(&SiteWeights) -> f64| self.sites.iter().map(of).sum::<f64>();
        cosine(sum(|s| s.product), [sum(|s| s.norms[0]), sum(|s| s.norms[1])])
    }

    /// The mean over sites of the overlap as a multiple of that of random subspaces.
    pub fn mean_relative(&self) -> f64 {
        let sum: f64 = self.sites.iter().map(|site| site.overlap.relative_to_random).sum();
        sum / self.sites.len().max(1) as f64
    }

    /// The site with the largest such multiple.
    pub fn worst(&self) -> Option<&SiteWeights> {
        // In this order a NaN is the greatest, but for its sign.
        let relative = |site: &&SiteWeights| site.overlap.relative_to_random.abs();
        self.sites.iter().max_by(|a, b| relative(a).total_cmp(&relative(b)))
    }

    /// The smallest principal angle of all sites in radians; NaN if one of them is.
    pub fn smallest_angle(&self) -> f64 {
        let angles = self.sites.iter().flat_map(|site| &site.overlap.angles).copied();
        let smaller = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
        angles.fold(FRAC_PI_2, smaller)
    }
}

fn cosine(product: f64, norms: [f64; 2]) -> f64 {
    let length = (norms[0] * norms[1]).sqrt();
    if length > 0.0 { product / length } else { 0.0 }
}

/// The overlap of every pair of these adapters. Pairs that have no site in common are left out.
pub fn weight_overlaps(adapters: &[&StoredAdapter], sites: &[Site]) -> Vec<PairWeights> {
    let of_site = |(number, site): (usize, &Site)| {
        let at = |adapter: &&StoredAdapter| adapter.get(&site.name).map(AtSite::new);
        let at: Vec<Option<AtSite>> = adapters.iter().map(at).collect();
        let mut found = Vec::new();
        for (j, b) in at.iter().enumerate() {
            for (i, a) in at[..j].iter().enumerate() {
                let both = a.as_ref().zip(b.as_ref()).and_then(|(a, b)| a.with(b, number));
                found.extend(both.map(|both| ([i, j], both)));
            }
        }
        found
    };
    let by_site: Vec<_> = sites.par_iter().enumerate().map(of_site).collect();
    let pairs = (0..adapters.len()).flat_map(|j| (0..j).map(move |i| [i, j]));
    let mut all: Vec<PairWeights> =
        pairs.map(|pair| PairWeights { pair, sites: Vec::new() }).collect();
    for (pair, site) in by_site.into_iter().flatten() {
        // Pairs are in the order (0, 1), (0, 2), (1, 2), …
        all[pair[1] * (pair[1] - 1) / 2 + pair[0]].sites.push(site);
    }
    all.retain(|pair| !pair.sites.is_empty());
    all
}

/// One adapter at a site.
struct AtSite {
    up: DMatrix<f64>,
    down: DMatrix<f64>,
    basis: DMatrix<f64>,
}

impl AtSite {
    fn new(factors: &StoredFactors) -> Self {
        let (up, down) = factors.to_matrices();
        let basis = orthonormal_basis(&down);
        Self { up, down, basis }
    }

    fn with(&self, other: &Self, site: usize) -> Option<SiteWeights> {
        let overlap = SubspaceOverlap::of(&self.basis, &other.basis)?;
        let norms = [self.product(self), other.product(other)];
        Some(SiteWeights { site, overlap, product: self.product(other), norms })
    }

    /// tr(A_iᵀ A_j B_jᵀ B_i)
    fn product(&self, other: &Self) -> f64 {
        let up = self.up.transpose() * &other.up;
        let down = self.down.transpose() * &other.down;
        up.dot(&down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};

    const INPUTS: usize = 5;
    const OUTPUTS: usize = 4;

    fn sites() -> Vec<Site> {
        let (part, role) = (Part::Denoiser, Role::SelfAttention);
        let site =
            |name: &str| Site { name: name.into(), inputs: INPUTS, outputs: OUTPUTS, part, role };
        ["a", "b"].map(site).to_vec()
    }

    fn factors(seed: u64) -> StoredFactors {
        let numbers = |rows, seed| {
            let numbers = super::super::subspace::tests::normal(rows, 2, seed);
            numbers.iter().map(|x| *x as f32).collect::<Vec<f32>>()
        };
        StoredFactors {
            rank: 2,
            up: numbers(OUTPUTS, 2 * seed),
            down: numbers(INPUTS, 2 * seed + 1),
        }
    }

    fn delta(factors: &StoredFactors) -> DMatrix<f64> {
        let (up, down) = factors.to_matrices();
        up * down.transpose()
    }

    fn adapter(factors: &[(&str, StoredFactors)]) -> StoredAdapter {
        StoredAdapter(factors.iter().map(|(site, f)| (site.to_string(), f.clone())).collect())
    }

    /// The sign and size of what two changes have in common, as their products ΔW say.
    #[test]
    fn the_cosine_is_that_of_the_changes() {
        let [a, b, c] = [1, 2, 3].map(factors);
        let adapters = [
            adapter(&[("a", a.clone()), ("b", b.clone())]),
            adapter(&[("a", c.clone()), ("b", b.clone())]),
        ];
        let pairs = weight_overlaps(&adapters.each_ref(), &sites());
        let [wa, wb, wc] = [&a, &b, &c].map(delta);
        let at_a = wa.dot(&wc) / (wa.norm() * wc.norm());
        assert!((pairs[0].sites[0].cosine() - at_a).abs() < 1e-12);
        assert!((pairs[0].sites[1].cosine() - 1.0).abs() < 1e-12);
        let both = (wa.dot(&wc) + wb.norm_squared())
            / ((wa.norm_squared() + wb.norm_squared()) * (wc.norm_squared() + wb.norm_squared()))
                .sqrt();
        assert!((pairs[0].cosine() - both).abs() < 1e-12);
        assert!(pairs[0].smallest_angle() < 1e-6);
        assert_eq!(pairs[0].worst().unwrap().site, 1, "there they are the same");
    }

    #[test]
    fn no_nan_vanishes_among_sites() {
        let at = |site, relative_to_random, angles: [f64; 2]| {
            let overlap =
                SubspaceOverlap { energy: 1.0, relative_to_random, angles: angles.into() };
            SiteWeights { site, overlap, product: 1.0, norms: [1.0; 2] }
        };
        for nan in [f64::NAN, -f64::NAN] {
            let sites = vec![at(0, 2.0, [0.5, 1.0]), at(1, nan, [0.75, nan])];
            let pair = PairWeights { pair: [0, 1], sites };
            assert!(pair.smallest_angle().is_nan());
            assert_eq!(pair.worst().unwrap().site, 1);
        }
    }

    #[test]
    fn pairs_are_in_order_and_those_without_a_common_site_are_left_out() {
        let on = |site, seed| adapter(&[(site, factors(seed))]);
        let adapters = [on("a", 1), on("b", 2), on("a", 3), on("b", 4)];
        let references: Vec<&StoredAdapter> = adapters.iter().collect();
        let pairs = weight_overlaps(&references, &sites());
        assert_eq!(pairs.iter().map(|p| p.pair).collect::<Vec<_>>(), [[0, 2], [1, 3]]);
        let opposite =
            StoredFactors { up: factors(1).up.iter().map(|x| -x).collect(), ..factors(1) };
        let adapters = [on("a", 1), adapter(&[("a", opposite)])];
        let pair = weight_overlaps(&adapters.each_ref(), &sites()).remove(0);
        assert!((pair.cosine() + 1.0).abs() < 1e-12, "they cancel");
    }
}
