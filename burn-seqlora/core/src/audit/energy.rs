//! How much adapters change a layer's outputs, on whose inputs.

use nalgebra::DMatrix;
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::lora::{ActivationStatistics, Gram, Site, StoredAdapter, StoredFactors};

/// The mean of ‖A Bᵀ x‖² over the inputs x of a layer: tr(A Bᵀ G B Aᵀ) / rows with G = Σ x xᵀ.
///
/// # Panics
/// If the factors and the Gram matrix are of layers with other sizes.
pub fn mean_energy(factors: &StoredFactors, gram: &Gram) -> f64 {
    energy(factors, &gram.to_matrix()) / gram.rows.max(1) as f64
}

/// Σ ‖A Bᵀ x‖² = ⟨AᵀA, Bᵀ G B⟩
fn energy(factors: &StoredFactors, gram: &DMatrix<f64>) -> f64 {
    let (up, down) = factors.to_matrices();
    let inside = down.transpose() * (gram * &down);
    // Rounding of G in f32 may make a zero negative.
    (up.transpose() * &up).dot(&inside).max(0.0)
}

/// The energies of all adapters at one site, on the inputs of each concept and of common prompts.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteEnergies {
    /// The site.
    pub site: Site,
    /// The mean of ‖ΔW_i x_j‖² for adapter i on the inputs of concept j, as `on[i][j]`. `None` if i does not
    /// adapt the site, or the inputs of j are not known.
    pub on: Vec<Vec<Option<f64>>>,
    /// The same for adapter i on the inputs of common prompts without any concept.
    pub on_common: Vec<Option<f64>>,
}

/// The energies at all sites that some adapter changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Energies {
    /// The adapters, in the order of all indices.
    pub ids: Vec<String>,
    /// Site by site.
    pub sites: Vec<SiteEnergies>,
}

/// Whose inputs are being added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inputs {
    Concept(usize),
    Common,
}

impl SiteEnergies {
    /// ‖ΔW_i x_j‖ / ‖ΔW_j x_j‖ in the root mean square: how much i changes the layer's output for concept
    /// j, relative to what j's own adapter does there. `None` where one of them is not known or j does
    /// nothing.
    pub fn disturbance(&self, i: usize, j: usize) -> Option<f64> {
        ratio(self.on[i][j]?, self.on[j][j]?)
    }

    /// ‖ΔW_i x‖ on common prompts relative to ‖ΔW_i x_i‖ on the adapter's own, in the root mean square: 0
    /// for an adapter that answers to its own prompts only, 1 for one that answers to all alike.
    pub fn share_on_common(&self, i: usize) -> Option<f64> {
        ratio(self.on_common[i]?, self.on[i][i]?)
    }
}

fn ratio(energy: f64, own: f64) -> Option<f64> {
    (own > 0.0).then(|| (energy / own).sqrt())
}

impl Energies {
    /// Of adapters without any inputs yet.
    pub(super) fn new(ids: Vec<String>, adapters: &[&StoredAdapter], sites: &[Site]) -> Self {
        let adapted = |site: &&Site| adapters.iter().any(|a| a.get(&site.name).is_some());
        let empty = |site: &Site| SiteEnergies {
            site: site.clone(),
            on: vec![vec![None; ids.len()]; ids.len()],
            on_common: vec![None; ids.len()],
        };
        let sites = sites.iter().filter(adapted).map(empty).collect();
        Self { ids, sites }
    }

    /// Adds the energies of all adapters on the inputs of one concept, or of common prompts.
    ///
    /// # Errors
    /// If a Gram matrix has another size than its site.
    pub(super) fn add(
        &mut self,
        inputs: Inputs,
        statistics: &ActivationStatistics,
        adapters: &[&StoredAdapter],
    ) -> Result<()> {
        let of_site = |energies: &mut SiteEnergies| {
            let name = &energies.site.name;
            let Some(gram) = statistics.0.get(name) else { return Ok(()) };
            if gram.inputs != energies.site.inputs {
                return Err(Error::Invalid(format!("the inputs of `{name}` have another size")));
            }
            let matrix = gram.to_matrix();
            for (i, adapter) in adapters.iter().enumerate() {
                let mean = |factors| energy(factors, &matrix) / gram.rows.max(1) as f64;
                let found = adapter.get(name).map(mean);
                match inputs {
                    Inputs::Concept(j) => energies.on[i][j] = found,
                    Inputs::Common => energies.on_common[i] = found,
                }
            }
            Ok(())
        };
        self.sites.par_iter_mut().try_for_each(of_site)
    }
}

#[cfg(test)]
mod tests {
    use super::super::subspace::tests::normal;
    use super::*;
    use crate::lora::{Part, Role};

    const INPUTS: usize = 6;
    const OUTPUTS: usize = 4;
    const ROWS: usize = 9;

    fn site() -> Site {
        let (part, role) = (Part::Denoiser, Role::CrossAttention);
        Site { name: "layer".into(), inputs: INPUTS, outputs: OUTPUTS, part, role }
    }

    /// Numbers with few bits, so that a Gram matrix in f32 is exact.
    fn few_bits(rows: usize, columns: usize, seed: u64) -> DMatrix<f64> {
        normal(rows, columns, seed).map(|x| (4.0 * x).round() / 4.0)
    }

    fn factors(up: &DMatrix<f64>, down: &DMatrix<f64>) -> StoredFactors {
        let numbers = |m: &DMatrix<f64>| m.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        StoredFactors { rank: up.ncols(), up: numbers(&up.transpose()), down: numbers(down) }
    }

    fn gram(x: &DMatrix<f64>) -> Gram {
        let values = (x.transpose() * x).iter().map(|x| *x as f32).collect();
        Gram { rows: x.nrows(), inputs: x.ncols(), values, kept: Vec::new() }
    }

    fn statistics(x: &DMatrix<f64>) -> ActivationStatistics {
        ActivationStatistics([("layer".to_string(), gram(x))].into())
    }

    fn adapter(seed: u64) -> StoredAdapter {
        let factors = factors(&few_bits(OUTPUTS, 2, seed), &few_bits(INPUTS, 2, seed + 1));
        StoredAdapter([("layer".to_string(), factors)].into())
    }

    /// The energy from a Gram matrix is the one from the product A Bᵀ x of every input.
    #[test]
    fn the_energy_is_that_of_the_explicit_product() {
        let (up, down, x) =
            (few_bits(OUTPUTS, 2, 1), few_bits(INPUTS, 2, 2), few_bits(ROWS, INPUTS, 3));
        let found = mean_energy(&factors(&up, &down), &gram(&x));
        let product = &up * down.transpose() * x.transpose();
        let expected = product.norm_squared() / ROWS as f64;
        assert!(
            expected > 1.0 && (found - expected).abs() < 1e-12 * expected,
            "{found} {expected}"
        );
    }

    /// Inputs in the span of another concept's orthonormal B do not excite an orthogonal adapter; inputs
    /// outside of it do, although the subspaces are orthogonal.
    #[test]
    fn orthogonal_adapters_are_excited_by_what_inputs_have_in_common() {
        let unit = |at: usize| DMatrix::from_fn(INPUTS, 1, |i, _| f64::from(u8::from(i == at)));
        let of = |at: usize| {
            let up = DMatrix::from_element(OUTPUTS, 1, 1.0);
            StoredAdapter([("layer".to_string(), factors(&up, &unit(at)))].into())
        };
        let [cat, dog] = [of(0), of(1)];
        let ids = vec!["cat".to_string(), "dog".to_string()];
        let adapters = [&cat, &dog];
        let mut energies = Energies::new(ids, &adapters, &[site()]);
        energies.add(Inputs::Concept(0), &statistics(&unit(0).transpose()), &adapters).unwrap();
        // The dog's inputs have half of the cat's direction.
        let mixed = (unit(1) + unit(0) * 0.5).transpose();
        energies.add(Inputs::Concept(1), &statistics(&mixed), &adapters).unwrap();
        energies
            .add(Inputs::Common, &statistics(&(unit(0) * 0.25).transpose()), &adapters)
            .unwrap();
        let found = &energies.sites[0];
        assert_eq!(found.disturbance(1, 0), Some(0.0));
        assert_eq!(found.disturbance(0, 1), Some(0.5));
        assert_eq!((found.disturbance(0, 0), found.share_on_common(0)), (Some(1.0), Some(0.25)));
        assert_eq!(found.share_on_common(1), Some(0.0));
    }

    #[test]
    fn what_is_not_known_is_no_zero() {
        let (cat, dog) = (adapter(1), adapter(3));
        let nothing = StoredAdapter::default();
        let adapters = [&cat, &dog, &nothing];
        let ids = ["cat", "dog", "mug"].map(String::from).to_vec();
        let mut energies = Energies::new(ids, &adapters, &[site()]);
        energies
            .add(Inputs::Concept(0), &statistics(&few_bits(ROWS, INPUTS, 5)), &adapters)
            .unwrap();
        let found = &energies.sites[0];
        assert!(found.disturbance(1, 0).is_some_and(|x| x > 0.0));
        // The dog's inputs were never recorded, and the mug has no adapter here.
        assert_eq!((found.disturbance(0, 1), found.disturbance(2, 0)), (None, None));
        assert_eq!(found.share_on_common(0), None);
        let narrow = statistics(&few_bits(ROWS, 3, 5));
        assert!(energies.add(Inputs::Common, &narrow, &adapters).is_err());
    }
}
