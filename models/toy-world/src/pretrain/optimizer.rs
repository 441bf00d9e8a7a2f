//! AdamW, or Muon for matrices, and the exponential moving average (EMA) of the parameters.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdjustLrFn, Muon, MuonConfig, SimpleOptimizer};
use burn::tensor::{ElementConversion, Tensor, backend::Backend};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use super::config::{OptimizerKind, TaskConfig};
use super::parameters::Kind;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.99;
const EPSILON: f64 = 1e-8;
/// The momentum of Muon.
const MOMENTUM: f64 = 0.95;

/// Everything that a training step changes.
#[derive(Debug, Clone)]
pub struct Optimizer<B: Backend> {
    /// The number of steps so far.
    pub step: usize,
    /// In the order in which modules are visited.
    pub parameters: Vec<Parameter<B>>,
}

/// One parameter and its optimiser state; all vectors are `[elements]`.
#[derive(Debug, Clone)]
pub struct Parameter<B: Backend> {
    /// How it is updated.
    pub kind: Kind,
    /// θ, its value.
    pub value: Tensor<B, 1>,
    /// m, the running mean of gradients, without bias correction.
    pub first_moment: Tensor<B, 1>,
    /// v, the running mean of squared gradients, without bias correction; 0 for parameters of Muon.
    pub second_moment: Tensor<B, 1>,
    /// The EMA of θ, which is the result of training.
    pub ema: Tensor<B, 1>,
}

impl<B: Backend> Optimizer<B> {
    /// The state before the first step.
    pub fn new(values: Vec<Tensor<B, 1>>, kinds: Vec<Kind>) -> Self {
        let parameters = values.into_iter().zip(kinds);
        let parameters = parameters.map(|(value, kind)| Parameter::new(value, kind)).collect();
        Self { step: 0, parameters }
    }

    /// The values of all parameters.
    pub fn values(&self) -> Vec<Tensor<B, 1>> {
        self.parameters.iter().map(|parameter| parameter.value.clone()).collect()
    }

    /// The EMA of all parameters.
    pub fn ema(&self) -> Vec<Tensor<B, 1>> {
        self.parameters.iter().map(|parameter| parameter.ema.clone()).collect()
    }

    /// Takes one step and returns the norm of the gradient before clipping. If the norm is not
    /// finite, nothing changes.
    pub fn update(&mut self, gradients: &[Tensor<B, 1>], config: &TaskConfig) -> f64 {
        let squares = gradients.par_iter().map(|gradient| gradient.clone().powi_scalar(2).sum());
        let squares: Vec<Tensor<B, 1>> = squares.collect();
        let norm: f64 = Tensor::cat(squares, 0).sum().sqrt().into_scalar().elem();
        if !norm.is_finite() {
            return norm;
        }
        let scale = (config.max_gradient_norm / norm).min(1.0);
        let (config, step) = (config.clone(), self.step);
        self.step += 1;
        self.parameters.par_iter_mut().zip(gradients).for_each(|(parameter, gradient)| {
            parameter.update(gradient.clone().mul_scalar(scale), step, &config);
        });
        norm
    }
}

impl<B: Backend> Parameter<B> {
    fn new(value: Tensor<B, 1>, kind: Kind) -> Self {
        let zeros = value.zeros_like();
        Self { kind, first_moment: zeros.clone(), second_moment: zeros, ema: value.clone(), value }
    }

    /// Takes the step of index `step`, counted from 0.
    fn update(&mut self, gradient: Tensor<B, 1>, step: usize, config: &TaskConfig) {
        let (lr, count) = (config.lr_at(step), step + 1);
        self.value = match self.kind {
            Kind::Matrix { rows, columns } if config.optimizer == OptimizerKind::Muon => {
                self.muon(gradient, [rows, columns], lr, config.weight_decay)
            }
            Kind::Vector => self.adamw(gradient, count, lr, 0.0),
            _ => self.adamw(gradient, count, lr, config.weight_decay),
        };
        // In the first steps a constant decay would keep mostly the initial weights.
        let warmup = count as f64 / (count as f64 + 10.0);
        self.ema = mix(&self.ema, self.value.clone(), config.ema_decay.min(warmup));
    }

    /// θ after step number `count` of AdamW, counted from 1 (Loshchilov & Hutter 2019, arXiv
    /// 1711.05101).
    fn adamw(&mut self, gradient: Tensor<B, 1>, count: usize, lr: f64, decay: f64) -> Tensor<B, 1> {
        self.first_moment = mix(&self.first_moment, gradient.clone(), BETA1);
        self.second_moment = mix(&self.second_moment, gradient.clone() * gradient, BETA2);
        let scale = lr / (1.0 - BETA1.powi(count as i32));
        let root = self.second_moment.clone().div_scalar(1.0 - BETA2.powi(count as i32)).sqrt();
        let direction = self.first_moment.clone() / root.add_scalar(EPSILON);
        self.value.clone().mul_scalar(1.0 - lr * decay) - direction.mul_scalar(scale)
    }

    /// θ after a step of Muon: the momentum is orthogonalised, and scaled to the usual root mean
    /// square of AdamW's steps (Liu et al. 2025, arXiv 2502.16982, section 2.2).
    fn muon(
        &mut self,
        gradient: Tensor<B, 1>,
        shape: [usize; 2],
        lr: f64,
        decay: f64,
    ) -> Tensor<B, 1> {
        self.first_moment = mix(&self.first_moment, gradient.clone(), MOMENTUM);
        let nesterov = mix(&self.first_moment, gradient, MOMENTUM).reshape(shape);
        // The momentum is applied above, so that its state is saved with that of AdamW.
        let momentum = MomentumConfig { momentum: 0.0, dampening: 0.0, nesterov: false };
        let muon: Muon<B> = MuonConfig::new()
            .with_momentum(momentum)
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .build();
        let value = self.value.clone().mul_scalar(1.0 - lr * decay).reshape(shape);
        muon.step(lr, value, nesterov, None).0.flatten(0, 1)
    }
}

/// The update of a moving average: `decay · mean + (1 − decay) · value`.
fn mix<B: Backend>(mean: &Tensor<B, 1>, value: Tensor<B, 1>, decay: f64) -> Tensor<B, 1> {
    mean.clone().mul_scalar(decay) + value.mul_scalar(1.0 - decay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    fn vector<const N: usize>(x: [f32; N]) -> Tensor<Flex, 1> {
        Tensor::from_data(x, &Default::default())
    }

    fn values(tensor: &Tensor<Flex, 1>) -> Vec<f32> {
        tensor.to_data().iter().collect()
    }

    /// From zero moments, AdamW's step gives `θ (1 − lr · decay) − lr · sign(g)`.
    #[test]
    fn the_first_step_follows_the_sign_of_the_gradient() {
        let config = TaskConfig {
            warmup: 0,
            weight_decay: 0.5,
            max_gradient_norm: 1e9,
            ..Default::default()
        };
        let start = vec![vector([1.0]), vector([2.0])];
        let mut optimizer = Optimizer::new(start, vec![Kind::Table, Kind::Vector]);
        let norm = optimizer.update(&[vector([3.0]), vector([-4.0])], &config);
        let [table, bias] = [0, 1].map(|i| values(&optimizer.parameters[i].value)[0]);
        let lr = config.lr as f32;
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((table - (1.0 - 0.5 * lr - lr)).abs() < 1e-6, "{table}");
        assert!((bias - (2.0 + lr)).abs() < 1e-6, "{bias}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let mut optimizer = Optimizer::new(vec![vector([1.0])], vec![Kind::Vector]);
        let norm = optimizer.update(&[vector([f32::NAN])], &TaskConfig::default());
        assert!(norm.is_nan() && optimizer.step == 0);
        assert_eq!(values(&optimizer.parameters[0].value), [1.0]);
    }

    /// The singular values of a step are about equal, whatever those of the gradient are.
    #[test]
    fn a_step_of_muon_is_about_orthogonal() {
        let config = TaskConfig {
            warmup: 0,
            weight_decay: 0.0,
            lr: 1.0,
            optimizer: OptimizerKind::Muon,
            ..Default::default()
        };
        let kind = Kind::Matrix { rows: 2, columns: 3 };
        let mut optimizer = Optimizer::new(vec![vector([0.0; 6])], vec![kind]);
        optimizer.update(&[vector([0.0, 8.0, 0.0, 0.5, 0.0, 0.0])], &config);
        let step = values(&optimizer.parameters[0].value);
        let length = 0.2 * 3f32.sqrt();
        for (found, sign) in step.iter().zip([0.0, -1.0, 0.0, -1.0, 0.0, 0.0f32]) {
            // Five Newton–Schulz iterations give singular values of 0.7 to 1.2.
            let expected = sign * length;
            assert!((found - expected).abs() < 0.35 * length, "{step:?}");
            assert!(sign != 0.0 || found.abs() < 1e-6, "{step:?}");
        }
    }
}
