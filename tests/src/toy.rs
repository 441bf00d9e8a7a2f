//! Small networks whose derivatives, optima and forgetting are known, in f32 or f64.

pub mod training;

use crate::derivatives::ConceptParameters;
use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::{DualOps, KernelBackend};
use burn_seqlora::lora::directions::Columns;
use burn_seqlora::lora::{AdapterSet, DualAdapters, Factors, Part, Role, Site};
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::{Seed, normal};

/// What numbers a law is checked in, and how well it then has to hold.
#[derive(Debug, Clone, Copy)]
pub struct Precision {
    /// The type of all numbers.
    pub dtype: DType,
    /// Relative error of what holds up to round-off.
    pub exact: f64,
    /// Relative error that central differences leave.
    pub differences: f64,
    /// Their step along a unit direction, which balances truncation against round-off.
    pub step: f64,
}

impl Precision {
    /// For backends that have f64.
    pub const F64: Self = Self { dtype: DType::F64, exact: 1e-11, differences: 1e-9, step: 1e-5 };
}

impl From<f64> for Precision {
    /// f32 on a backend with this relative error.
    fn from(tolerance: f64) -> Self {
        Self { dtype: DType::F32, exact: tolerance, differences: 10.0 * tolerance, step: 1e-2 }
    }
}

/// Random numbers that are the same on every backend and in every precision.
pub fn random<B: Backend, const D: usize>(
    shape: [usize; D],
    counter: u64,
    dtype: DType,
) -> Tensor<B, D> {
    normal(shape, &mut Seed::new(11).at(counter), &B::Device::default()).cast(dtype)
}

/// `(f(h) − f(−h)) / 2h`
pub fn central_difference(step: f64, f: impl Fn(f64) -> f64) -> f64 {
    (f(step) - f(-step)) / (2.0 * step)
}

/// A matrix `[m, columns]` on the device, without rounding on the way.
pub fn matrix<B: Backend>(columns: &Columns, dtype: DType) -> Tensor<B, 2> {
    let rows = columns[0].len();
    let values: Vec<f64> = (0..rows).flat_map(|r| columns.iter().map(move |c| c[r])).collect();
    let data = TensorData::new(values, [rows, columns.len()]);
    Tensor::from_data(data, (&B::Device::default(), dtype))
}

/// The columns of a matrix, without rounding on the way.
pub fn columns<B: Backend>(matrix: &Tensor<B, 2>) -> Columns {
    let [_, count] = matrix.dims();
    let values: Vec<f64> = matrix.to_data().iter().collect();
    (0..count).map(|c| values.iter().skip(c).step_by(count).copied().collect()).collect()
}

/// All elements of all sites.
pub fn numbers<B: Backend>(factors: &Factors<B>) -> Vec<f64> {
    factors.iter().flat_map(|(_, m)| m.to_data().iter().collect::<Vec<f64>>()).collect()
}

/// Adapted linear layers `x Wᵀ + (x B) Aᵀ` with SiLU in between and the loss ½‖y − target‖².
#[derive(Debug)]
pub struct Net<B: Backend> {
    /// W per layer, `[outputs, inputs]`.
    pub weights: Vec<Tensor<B, 2>>,
}

/// One minibatch ξ.
#[derive(Debug, Clone)]
pub struct Sample<B: Backend> {
    /// x `[rows, inputs]`
    pub input: Tensor<B, 2>,
    /// `[rows, outputs]`
    pub target: Tensor<B, 2>,
}

impl<B: KernelBackend> Net<B> {
    /// y, and ẏ if the adapters move.
    pub fn forward(&self, adapters: &DualAdapters<B>, input: Tensor<B, 2>) -> Dual<B, 2> {
        let mut x = Dual::constant(input);
        for (site, weight) in self.weights.iter().enumerate() {
            x = if site == 0 { x } else { x.silu() };
            x = adapters.linear(Some(site), x, weight.clone(), None);
        }
        x
    }
}

impl<B: KernelBackend> Objective<B> for Net<B> {
    type Sample = Sample<B>;

    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        _: Option<&Tensor<B, 2>>,
        Sample { input, target }: &Sample<B>,
    ) -> Dual<B, 1> {
        let error = self.forward(adapters, input.clone()).add_constant(-target.clone());
        (error.clone() * error).sum().scale(0.5)
    }
}

/// The sizes of a toy; its numbers follow from them and from counters.
#[derive(Debug, Clone, Copy)]
pub struct Toy {
    /// Inputs of each layer, then the outputs of the last.
    pub widths: &'static [usize],
    /// r
    pub rank: usize,
    /// The type of all numbers.
    pub dtype: DType,
}

impl Toy {
    /// Two layers that act on each other through a SiLU.
    pub fn coupled(precision: Precision) -> Self {
        Self { widths: &[7, 5, 6], rank: 2, dtype: precision.dtype }
    }

    /// One layer, so that L is quadratic in ΔW.
    pub fn single(precision: Precision) -> Self {
        Self { widths: &[10, 8], rank: 2, dtype: precision.dtype }
    }

    /// Inputs and outputs per layer.
    fn layers(self) -> impl Iterator<Item = (usize, usize)> {
        self.widths.windows(2).map(|pair| (pair[0], pair[1]))
    }

    /// The layers as sites of a model.
    pub fn sites(self) -> Vec<Site> {
        let site = |(number, (inputs, outputs))| Site {
            name: format!("layer{number}"),
            inputs,
            outputs,
            part: Part::Denoiser,
            role: Role::CrossAttention,
        };
        self.layers().enumerate().map(site).collect()
    }

    /// The frozen network.
    pub fn net<D: KernelBackend>(self) -> Net<D> {
        let weight = |(number, (inputs, outputs))| {
            let scale = (inputs as f64).sqrt();
            random([outputs, inputs], 500 + number as u64, self.dtype).div_scalar(scale)
        };
        Net { weights: self.layers().enumerate().map(weight).collect() }
    }

    /// The minibatch number `counter`.
    pub fn sample<D: Backend>(self, counter: u64) -> Sample<D> {
        let (first, last) = (self.widths[0], *self.widths.last().unwrap());
        Sample {
            input: random([4, first], 600 + counter, self.dtype),
            target: random([4, last], 700 + counter, self.dtype),
        }
    }

    /// A random vector in the space of A.
    pub fn up<B: Backend>(self, counter: u64) -> Factors<B> {
        self.factors(counter, |_, outputs| outputs)
    }

    /// A random vector in the space of B.
    pub fn down<B: Backend>(self, counter: u64) -> Factors<B> {
        self.factors(counter, |inputs, _| inputs)
    }

    fn factors<B: Backend>(self, counter: u64, rows: fn(usize, usize) -> usize) -> Factors<B> {
        let matrix = |(number, (inputs, outputs))| {
            let shape = [rows(inputs, outputs), self.rank];
            Some(random(shape, 10 * counter + number as u64, self.dtype).mul_scalar(0.5))
        };
        Factors::new(self.layers().enumerate().map(matrix).collect())
    }

    /// A point where neither factor is zero.
    pub fn point<B: Backend>(self) -> ConceptParameters<B> {
        let adapters = AdapterSet { up: self.up(1), down: self.down(2) };
        ConceptParameters { adapters, embeddings: None }
    }
}
