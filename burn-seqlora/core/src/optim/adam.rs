//! Adam as state in, state out.

use burn::tensor::{Tensor, backend::Backend};

use crate::lora::Factors;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// Running mean of squared gradients: Adam's preconditioner without its momentum.
#[derive(Debug, Clone)]
pub struct SecondMoment<B: Backend> {
    /// v, not yet corrected for its start at zero.
    pub mean: Factors<B>,
    /// The number of gradients seen.
    pub count: usize,
}

/// AdamW (decoupled weight decay).
#[derive(Debug, Clone)]
pub struct AdamW<B: Backend> {
    /// m, not yet corrected.
    pub first: Factors<B>,
    /// v
    pub second: SecondMoment<B>,
}

impl<B: Backend> SecondMoment<B> {
    /// Nothing seen yet.
    pub fn new(like: &Factors<B>) -> Self {
        Self { mean: like.zeros_like(), count: 0 }
    }

    /// Takes in a gradient and returns `1 / (√v̂ + ε)`.
    pub fn observe(&mut self, gradient: &Factors<B>) -> Factors<B> {
        self.count += 1;
        self.mean = self.mean.zip_elements(gradient, |v, g| {
            v.mul_scalar(BETA2) + (g.clone() * g).mul_scalar(1.0 - BETA2)
        });
        let correction = 1.0 - BETA2.powi(self.count as i32);
        let scale = |v: Tensor<B, 1>| v.div_scalar(correction).sqrt().add_scalar(EPSILON).recip();
        self.mean.map_elements(scale)
    }
}

impl<B: Backend> AdamW<B> {
    /// Nothing seen yet.
    pub fn new(like: &Factors<B>) -> Self {
        Self { first: like.zeros_like(), second: SecondMoment::new(like) }
    }

    /// The parameters after a step with a learning rate per site.
    pub fn step(
        &mut self,
        parameters: &Factors<B>,
        gradient: &Factors<B>,
        rate: impl Fn(usize) -> f64,
        weight_decay: f64,
    ) -> Factors<B> {
        let scale = self.second.observe(gradient);
        self.first = self
            .first
            .zip_elements(gradient, |m, g| m.mul_scalar(BETA1) + g.mul_scalar(1.0 - BETA1));
        let correction = 1.0 - BETA1.powi(self.second.count as i32);
        let direction = self.first.mul(&scale);
        parameters.zip_with_rates(&direction, rate, |p, d, rate| {
            p.mul_scalar(1.0 - rate * weight_decay) - d.mul_scalar(rate / correction)
        })
    }
}
