//! Changes of layers' weights as host data, low-rank or dense.

use std::collections::BTreeMap;

use super::stored::first_misfit;
use super::{Site, StoredFactors};

/// ΔW `[n, m]` of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum WeightPatch {
    /// ΔW = A Bᵀ
    LowRank(StoredFactors),
    /// ΔW itself.
    Dense {
        /// n
        outputs: usize,
        /// m
        inputs: usize,
        /// ΔW, row by row.
        values: Vec<f32>,
    },
}

/// Patches by the name of their site. A site without an entry is not changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PatchSet(pub BTreeMap<String, WeightPatch>);

impl WeightPatch {
    /// Whether it has this site's sizes.
    pub fn fits(&self, site: &Site) -> bool {
        match self {
            Self::LowRank(factors) => factors.fits(site),
            Self::Dense { outputs, inputs, values } => {
                [*outputs, *inputs] == [site.outputs, site.inputs]
                    && values.len() == outputs * inputs
            }
        }
    }

    /// n m
    pub fn numbers(&self) -> usize {
        match self {
            Self::LowRank(factors) => factors.outputs() * factors.inputs(),
            Self::Dense { outputs, inputs, .. } => outputs * inputs,
        }
    }

    /// ΔW `[n, m]`, row by row; factors are multiplied in f64.
    pub fn delta(&self) -> Vec<f32> {
        match self {
            Self::LowRank(factors) => {
                let (up, down) = factors.to_matrices();
                // (A Bᵀ)ᵀ column by column is A Bᵀ row by row.
                (down * up.transpose()).iter().map(|x| *x as f32).collect()
            }
            Self::Dense { values, .. } => values.clone(),
        }
    }
}

impl PatchSet {
    /// The patch of a site, if it has one.
    pub fn get(&self, site: &str) -> Option<&WeightPatch> {
        self.0.get(site)
    }

    /// The first of its sites that is not among the model's, or has another size there.
    pub fn misfit(&self, sites: &[Site]) -> Option<&str> {
        first_misfit(&self.0, sites, WeightPatch::fits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};

    fn site(outputs: usize, inputs: usize) -> Site {
        let name = "layer".to_string();
        Site { name, inputs, outputs, part: Part::Denoiser, role: Role::SelfAttention }
    }

    /// A = (1, 2)ᵀ, 3 and 4 below each other; B = (1, 0, 1)ᵀ and (0, 5, 0)ᵀ.
    #[test]
    fn the_change_of_factors_is_their_product() {
        let factors = StoredFactors {
            rank: 2,
            up: vec![1.0, 2.0, 3.0, 4.0],
            down: vec![1.0, 0.0, 1.0, 0.0, 5.0, 0.0],
        };
        let patch = WeightPatch::LowRank(factors);
        assert_eq!(patch.delta(), [1.0, 10.0, 1.0, 3.0, 20.0, 3.0]);
        let dense = WeightPatch::Dense { outputs: 2, inputs: 3, values: patch.delta() };
        assert_eq!(dense.delta(), patch.delta());
        for patch in [&patch, &dense] {
            assert!(patch.fits(&site(2, 3)) && !patch.fits(&site(3, 2)));
        }
    }

    #[test]
    fn a_patch_that_fits_no_site_is_named() {
        let dense = |values| WeightPatch::Dense { outputs: 2, inputs: 3, values };
        let set = |name: &str, patch| PatchSet([(name.to_string(), patch)].into());
        let sites = [site(2, 3)];
        assert_eq!(set("layer", dense(vec![0.0; 6])).misfit(&sites), None);
        assert_eq!(set("layer", dense(vec![0.0; 5])).misfit(&sites), Some("layer"));
        assert_eq!(set("other", dense(vec![0.0; 6])).misfit(&sites), Some("other"));
    }
}
