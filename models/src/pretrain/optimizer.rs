//! AdamW over one vector of parameters, and the parameters' running average.

use burn::tensor::{ElementConversion, Tensor, backend::Backend};

use super::config::StageConfig;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.99;
const EPSILON: f64 = 1e-8;

/// Everything that training changes; all vectors are `[parameters]`.
#[derive(Debug, Clone)]
pub struct Optimizer<B: Backend> {
    /// Steps done.
    pub step: usize,
    /// θ
    pub parameters: Tensor<B, 1>,
    /// m, the running mean of gradients, not yet corrected for its start at zero.
    pub first: Tensor<B, 1>,
    /// v, that of their squares.
    pub second: Tensor<B, 1>,
    /// The running average of θ, which is what training is for.
    pub average: Tensor<B, 1>,
    /// 1 where weight decay acts, else 0.
    pub decay: Tensor<B, 1>,
}

impl<B: Backend> Optimizer<B> {
    /// Before the first step.
    pub fn new(parameters: Tensor<B, 1>, decay: Tensor<B, 1>) -> Self {
        let zeros = parameters.zeros_like();
        Self {
            step: 0,
            first: zeros.clone(),
            second: zeros,
            average: parameters.clone(),
            parameters,
            decay,
        }
    }

    /// One step of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101); returns the gradient's
    /// length before it was shortened.
    pub fn update(&mut self, gradient: Tensor<B, 1>, config: &StageConfig) -> f64 {
        let norm: f64 = gradient.clone().powi_scalar(2).sum().sqrt().into_scalar().elem();
        let gradient = gradient.mul_scalar((config.clip / norm).min(1.0));
        let rate = config.rate_at(self.step);
        self.step += 1;
        let step = self.step as i32;
        self.first = mix(&self.first, gradient.clone(), BETA1);
        self.second = mix(&self.second, gradient.clone() * gradient, BETA2);
        let scale = rate / (1.0 - BETA1.powi(step));
        let root = self.second.clone().div_scalar(1.0 - BETA2.powi(step)).sqrt();
        let direction = self.first.clone() / root.add_scalar(EPSILON);
        let kept = self.decay.clone().mul_scalar(-rate * config.weight_decay).add_scalar(1.0);
        self.parameters = self.parameters.clone() * kept - direction.mul_scalar(scale);
        // A young average would be made of the first weights mostly.
        let young = self.step as f64 / (self.step as f64 + 10.0);
        self.average = mix(&self.average, self.parameters.clone(), config.average.min(young));
        norm
    }
}

/// `kept · before + (1 − kept) · now`
fn mix<B: Backend>(before: &Tensor<B, 1>, now: Tensor<B, 1>, kept: f64) -> Tensor<B, 1> {
    before.clone().mul_scalar(kept) + now.mul_scalar(1.0 - kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    /// A step from zero moments is `θ (1 − rate · decay) − rate · sign(g)` where decay acts.
    #[test]
    fn the_first_step_is_known() {
        let config = StageConfig { warmup: 0, weight_decay: 0.5, clip: 1e9, ..Default::default() };
        let tensor = |x: [f32; 2]| Tensor::<Flex, 1>::from_data(x, &Default::default());
        let mut optimizer = Optimizer::new(tensor([1.0, 2.0]), tensor([1.0, 0.0]));
        let norm = optimizer.update(tensor([3.0, -4.0]), &config);
        let values: Vec<f32> = optimizer.parameters.to_data().iter().collect();
        let rate = config.rate as f32;
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((values[0] - (1.0 - 0.5 * rate - rate)).abs() < 1e-6, "{values:?}");
        assert!((values[1] - (2.0 + rate)).abs() < 1e-6, "{values:?}");
    }
}
