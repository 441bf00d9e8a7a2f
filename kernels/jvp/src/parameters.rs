//! The arguments of a function that is differentiated.

use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;

use crate::Dual;
use crate::vector::{Vector, ranked};

/// Parameters as a function sees them: their values, with a tangent where they move.
#[derive(Debug, Clone)]
pub struct Parameters<B: Backend> {
    primal: Vec<Option<FloatTensor<B>>>,
    tangent: Vec<Option<FloatTensor<B>>>,
}

impl<B: Backend> Parameters<B> {
    /// Parameters that do not move, for a plain evaluation of the function.
    pub fn constant(at: &Vector<B>) -> Self {
        Self { primal: at.0.clone(), tangent: vec![None; at.len()] }
    }

    /// Parameters that move along a direction. Those at which it is an exact zero do not move.
    ///
    /// # Panics
    /// If the vectors differ in length or two of their tensors in shape, or if the direction moves
    /// an absent parameter.
    pub fn along(at: &Vector<B>, direction: &Vector<B>) -> Self {
        at.check_shapes(direction);
        for (index, (value, tangent)) in at.0.iter().zip(&direction.0).enumerate() {
            assert!(value.is_some() || tangent.is_none(), "the absent parameter {index} moves");
        }
        Self { primal: at.0.clone(), tangent: direction.0.clone() }
    }

    /// The number of parameters, including absent ones.
    pub fn len(&self) -> usize {
        self.primal.len()
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.primal.is_empty()
    }

    /// The parameter at an index.
    ///
    /// # Panics
    /// If there is no such index, the parameter is absent (`None` in the [`Vector`]) or it is not
    /// of rank `D`.
    pub fn get<const D: usize>(&self, index: usize) -> Dual<B, D> {
        self.find(index).unwrap_or_else(|| panic!("parameter {index} is absent"))
    }

    /// The parameter at an index; `None` if it is absent.
    ///
    /// # Panics
    /// If there is no such index, or the parameter is not of rank `D`.
    pub fn find<const D: usize>(&self, index: usize) -> Option<Dual<B, D>> {
        let primal = ranked(index, self.primal[index].clone()?);
        let tangent = self.tangent[index].clone().map(|tangent| ranked(index, tangent));
        Some(Dual { primal, tangent })
    }
}
