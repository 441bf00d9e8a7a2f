//! Where B may lie at a site, on the host in f64.

use std::borrow::Cow;
use std::sync::Arc;

use rand_chacha::ChaCha8Rng;

use super::directions::{Columns, fresh_directions, orthonormal_gauge};

/// The directions that B of a concept may have at a site: those of a block of a shared basis, or all, without the
/// avoided ones.
///
/// Inside a block with orthonormal columns U every x is U c, and `⟨x, q⟩ = ⟨c, Uᵀ q⟩`: what is avoided, drawn and
/// orthonormalised are coordinates c, so that what others occupy outside of the block is of no concern.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Feasible {
    /// U; sites of one size share it. `None` for the whole space, where c is x.
    block: Option<Arc<Columns>>,
    /// Orthonormal coordinates of what is avoided.
    avoided: Columns,
}

/// Unit vectors of which no greater share lies in a block are orthogonal to it: what concepts of other blocks
/// have in it is the round-off of their B in f32, 1e-7.
const OUTSIDE: f64 = 1e-4;

impl From<Columns> for Feasible {
    /// What is orthogonal to these orthonormal directions.
    fn from(avoided: Columns) -> Self {
        Self { block: None, avoided }
    }
}

impl Feasible {
    /// What is orthogonal to these orthonormal directions, for each site.
    pub fn outside(occupied: &[Columns]) -> Vec<Self> {
        occupied.iter().cloned().map(Self::from).collect()
    }

    /// What lies in a block with orthonormal columns and is orthogonal to the `occupied` unit vectors.
    pub fn inside(block: Arc<Columns>, occupied: Columns) -> Self {
        let inside = Self { block: Some(block), avoided: Columns::new() };
        let mut coordinates = inside.coordinates(occupied);
        coordinates.retain(|c| dot(c, c).sqrt() > OUTSIDE);
        let (avoided, _) = orthonormal_gauge(coordinates, &Columns::new());
        Self { avoided, ..inside }
    }

    /// The block, if there is one.
    pub fn block(&self) -> Option<&Arc<Columns>> {
        self.block.as_ref()
    }

    /// Orthonormal directions that are avoided, those in the block.
    pub fn avoided(&self) -> Cow<'_, Columns> {
        match &self.block {
            None => Cow::Borrowed(&self.avoided),
            Some(_) => Cow::Owned(self.directions(self.avoided.clone())),
        }
    }

    /// How many directions are avoided.
    pub fn avoided_count(&self) -> usize {
        self.avoided.len()
    }

    /// `rank` random orthonormal directions of a space of `inputs` dimensions; fewer if none are left.
    pub fn fresh_directions(&self, inputs: usize, rank: usize, rng: &mut ChaCha8Rng) -> Columns {
        let dimensions = self.block.as_ref().map_or(inputs, |block| block.len());
        self.directions(fresh_directions(dimensions, rank, &self.avoided, rng))
    }

    /// B = Q R with orthonormal and feasible Q; R is `[columns of Q][columns of B]`. What of B is not feasible is
    /// left out.
    pub fn gauge(&self, down: Columns) -> (Columns, Vec<Vec<f64>>) {
        let (basis, coefficients) = orthonormal_gauge(self.coordinates(down), &self.avoided);
        (self.directions(basis), coefficients)
    }

    /// Uᵀ x
    fn coordinates(&self, directions: Columns) -> Columns {
        let Some(block) = &self.block else { return directions };
        let of = |x: Vec<f64>| block.iter().map(|u| dot(u, &x)).collect();
        directions.into_iter().map(of).collect()
    }

    /// U c
    fn directions(&self, coordinates: Columns) -> Columns {
        let Some(block) = &self.block else { return coordinates };
        let of = |c: Vec<f64>| {
            let mut x = vec![0.0; block.first().map_or(0, Vec::len)];
            for (u, c) in block.iter().zip(c) {
                x.iter_mut().zip(u).for_each(|(x, u)| *x += c * u);
            }
            x
        };
        coordinates.into_iter().map(of).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::greatest;
    use crate::lora::shared_basis;
    use crate::rng::Seed;

    fn block(numbers: &[usize]) -> Arc<Columns> {
        Arc::new(shared_basis(0, 24, numbers))
    }

    fn largest_overlap(a: &Columns, b: &Columns) -> f64 {
        greatest(a.iter().flat_map(|x| b.iter().map(move |y| dot(x, y).abs())))
    }

    /// A block of 8 holds ranks 3, 3 and 2, whatever other blocks hold.
    #[test]
    fn a_block_runs_out_by_its_own_directions() {
        let (own, other) = (block(&[0, 1, 2, 3, 4, 5, 6, 7]), block(&[8, 9, 10, 11]));
        let mut occupied = Columns::clone(&other);
        let ranks: Vec<usize> = (0..4)
            .map(|concept| {
                let feasible = Feasible::inside(own.clone(), occupied.clone());
                let new = feasible.fresh_directions(24, 3, &mut Seed::new(0).at(concept));
                assert!(largest_overlap(&new, &occupied) < 1e-12);
                occupied.extend(new.clone());
                new.len()
            })
            .collect();
        assert_eq!(ranks, [3, 3, 2, 0]);
    }

    /// The gauge of any B lies in the block and is orthogonal to what is occupied, also where that lies partly outside.
    #[test]
    fn the_gauge_is_feasible() {
        let (own, other) = (block(&[0, 1, 2, 3, 4, 5]), block(&[6, 7]));
        let across: Vec<f64> =
            own[0].iter().zip(&other[0]).map(|(a, b)| (a + b) / 2f64.sqrt()).collect();
        let feasible = Feasible::inside(own, vec![across.clone()]);
        assert_eq!(feasible.avoided_count(), 1);
        let trained = Feasible::default().fresh_directions(24, 3, &mut Seed::new(1).at(0));
        let (basis, coefficients) = feasible.gauge(trained.clone());
        assert_eq!((basis.len(), coefficients.len()), (3, 3));
        for directions in [&vec![across], &*other, &feasible.avoided()] {
            assert!(largest_overlap(&basis, directions) < 1e-12);
        }
        // What is feasible already stays.
        let (again, _) = feasible.gauge(basis.clone());
        for (a, b) in again.iter().zip(&basis) {
            assert!((dot(a, b) - 1.0).abs() < 1e-12);
        }
    }
}
