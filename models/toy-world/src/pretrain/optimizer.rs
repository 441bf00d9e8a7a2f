//! AdamW, or Muon for the matrices, and the parameters' running average.

use burn::optim::momentum::MomentumConfig;
use burn::optim::{AdjustLrFn, Muon, MuonConfig, SimpleOptimizer};
use burn::tensor::{ElementConversion, Tensor, backend::Backend};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelRefIterator, IntoParallelRefMutIterator, ParallelIterator,
};

use super::config::StageConfig;
use super::parameters::Kind;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.99;
const EPSILON: f64 = 1e-8;
/// Of matrices whose steps are orthogonalised.
const MOMENTUM: f64 = 0.95;

/// Everything that training changes.
#[derive(Debug, Clone)]
pub struct Optimizer<B: Backend> {
    /// Steps done.
    pub step: usize,
    /// In the order in which modules are visited.
    pub parameters: Vec<Parameter<B>>,
}

/// One parameter and what the optimiser knows of it; all vectors are `[elements]`.
#[derive(Debug, Clone)]
pub struct Parameter<B: Backend> {
    /// What it is.
    pub kind: Kind,
    /// θ
    pub value: Tensor<B, 1>,
    /// m, the running mean of gradients, not yet corrected for its start at zero.
    pub first: Tensor<B, 1>,
    /// v, that of their squares; it stays 0 where steps are orthogonalised.
    pub second: Tensor<B, 1>,
    /// The running average of θ, which is what training is for.
    pub average: Tensor<B, 1>,
}

impl<B: Backend> Optimizer<B> {
    /// Before the first step.
    pub fn new(values: Vec<Tensor<B, 1>>, kinds: Vec<Kind>) -> Self {
        let parameters = values.into_iter().zip(kinds);
        let parameters = parameters.map(|(value, kind)| Parameter::new(value, kind)).collect();
        Self { step: 0, parameters }
    }

    /// θ of all parameters.
    pub fn values(&self) -> Vec<Tensor<B, 1>> {
        self.parameters.iter().map(|parameter| parameter.value.clone()).collect()
    }

    /// The running averages of all parameters.
    pub fn averages(&self) -> Vec<Tensor<B, 1>> {
        self.parameters.iter().map(|parameter| parameter.average.clone()).collect()
    }

    /// One step; returns the gradient's length before it was shortened. If that is not finite,
    /// nothing changes.
    pub fn update(&mut self, gradients: &[Tensor<B, 1>], config: &StageConfig) -> f64 {
        let squares = gradients.par_iter().map(|gradient| gradient.clone().powi_scalar(2).sum());
        let squares: Vec<Tensor<B, 1>> = squares.collect();
        let norm: f64 = Tensor::cat(squares, 0).sum().sqrt().into_scalar().elem();
        if !norm.is_finite() {
            return norm;
        }
        let scale = (config.clip / norm).min(1.0);
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
        Self { kind, first: zeros.clone(), second: zeros, average: value.clone(), value }
    }

    /// The step after `step` others.
    fn update(&mut self, gradient: Tensor<B, 1>, step: usize, config: &StageConfig) {
        let (rate, count) = (config.rate_at(step), step + 1);
        self.value = match self.kind {
            Kind::Matrix { rows, columns } if config.orthogonal => {
                self.orthogonal(gradient, [rows, columns], rate, config.weight_decay)
            }
            Kind::Vector => self.adam(gradient, count, rate, 0.0),
            _ => self.adam(gradient, count, rate, config.weight_decay),
        };
        // A young average would be made of the first weights mostly.
        let young = count as f64 / (count as f64 + 10.0);
        self.average = mix(&self.average, self.value.clone(), config.average.min(young));
    }

    /// θ after the `count`th step of AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
    fn adam(
        &mut self,
        gradient: Tensor<B, 1>,
        count: usize,
        rate: f64,
        decay: f64,
    ) -> Tensor<B, 1> {
        self.first = mix(&self.first, gradient.clone(), BETA1);
        self.second = mix(&self.second, gradient.clone() * gradient, BETA2);
        let scale = rate / (1.0 - BETA1.powi(count as i32));
        let root = self.second.clone().div_scalar(1.0 - BETA2.powi(count as i32)).sqrt();
        let direction = self.first.clone() / root.add_scalar(EPSILON);
        self.value.clone().mul_scalar(1.0 - rate * decay) - direction.mul_scalar(scale)
    }

    /// θ after a step of Muon: along the matrix nearest to the gradient's running mean whose
    /// singular values are equal, as long as a step of AdamW usually is (Liu et al. 2025,
    /// arXiv 2502.16982, section 2.2).
    fn orthogonal(
        &mut self,
        gradient: Tensor<B, 1>,
        shape: [usize; 2],
        rate: f64,
        decay: f64,
    ) -> Tensor<B, 1> {
        self.first = mix(&self.first, gradient.clone(), MOMENTUM);
        let ahead = mix(&self.first, gradient, MOMENTUM).reshape(shape);
        // The running mean above is the momentum: it is saved with the others.
        let momentum = MomentumConfig { momentum: 0.0, dampening: 0.0, nesterov: false };
        let muon: Muon<B> = MuonConfig::new()
            .with_momentum(momentum)
            .with_adjust_lr_fn(AdjustLrFn::MatchRmsAdamW)
            .build();
        let value = self.value.clone().mul_scalar(1.0 - rate * decay).reshape(shape);
        muon.step(rate, value, ahead, None).0.flatten(0, 1)
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

    fn vector<const N: usize>(x: [f32; N]) -> Tensor<Flex, 1> {
        Tensor::from_data(x, &Default::default())
    }

    fn values(tensor: &Tensor<Flex, 1>) -> Vec<f32> {
        tensor.to_data().iter().collect()
    }

    /// A step from zero moments is `θ (1 − rate · decay) − rate · sign(g)` where decay acts.
    #[test]
    fn the_first_step_is_known() {
        let config = StageConfig { warmup: 0, weight_decay: 0.5, clip: 1e9, ..Default::default() };
        let start = vec![vector([1.0]), vector([2.0])];
        let mut optimizer = Optimizer::new(start, vec![Kind::Table, Kind::Vector]);
        let norm = optimizer.update(&[vector([3.0]), vector([-4.0])], &config);
        let [table, bias] = [0, 1].map(|i| values(&optimizer.parameters[i].value)[0]);
        let rate = config.rate as f32;
        assert!((norm - 5.0).abs() < 1e-6);
        assert!((table - (1.0 - 0.5 * rate - rate)).abs() < 1e-6, "{table}");
        assert!((bias - (2.0 + rate)).abs() < 1e-6, "{bias}");
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing() {
        let mut optimizer = Optimizer::new(vec![vector([1.0])], vec![Kind::Vector]);
        let norm = optimizer.update(&[vector([f32::NAN])], &StageConfig::default());
        assert!(norm.is_nan() && optimizer.step == 0);
        assert_eq!(values(&optimizer.parameters[0].value), [1.0]);
    }

    /// Whatever the gradient's singular values are, those of the step are about equal.
    #[test]
    fn an_orthogonal_step_goes_as_far_in_all_directions() {
        let config = StageConfig {
            warmup: 0,
            weight_decay: 0.0,
            rate: 1.0,
            orthogonal: true,
            ..Default::default()
        };
        let kind = Kind::Matrix { rows: 2, columns: 3 };
        let mut optimizer = Optimizer::new(vec![vector([0.0; 6])], vec![kind]);
        optimizer.update(&[vector([0.0, 8.0, 0.0, 0.5, 0.0, 0.0])], &config);
        let step = values(&optimizer.parameters[0].value);
        let length = 0.2 * 3f32.sqrt();
        for (found, sign) in step.iter().zip([0.0, -1.0, 0.0, -1.0, 0.0, 0.0f32]) {
            // Five steps of Newton and Schulz leave 0.7 to 1.2 of one.
            let expected = sign * length;
            assert!((found - expected).abs() < 0.35 * length, "{step:?}");
            assert!(sign != 0.0 || found.abs() < 1e-6, "{step:?}");
        }
    }
}
