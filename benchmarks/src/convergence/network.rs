//! A small network that learns its second concept, in f64.

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::{DualOps, Flex, KernelBackend};
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{Bases, DualAdapters, Feasible, Part, Role, Site};
use burn_seqlora::methods::{self, TrainState};
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::settings::TrainConfig;

use crate::failure::Failure;
use crate::least_squares::{Sample, Tape};

/// Inputs of both layers, then the outputs.
const WIDTHS: [usize; 3] = [16, 12, 10];

/// r, and the directions of each layer that an earlier concept has.
const RANK: usize = 2;
const OCCUPIED: usize = 3;

/// Rows of the full batch and of a minibatch.
const ROWS: usize = 32;
const MINIBATCH: usize = 8;

/// Two adapted linear layers with a SiLU in between, and the loss ½‖y − target‖² / rows.
#[derive(Debug)]
pub struct Network {
    weights: [Tensor<Tape, 2>; 2],
}

impl Objective<Tape> for Network {
    type Sample = Sample;

    fn loss(
        &self,
        adapters: &DualAdapters<Tape>,
        _: Option<&Tensor<Tape, 2>>,
        sample: &Sample,
    ) -> Dual<Tape, 1> {
        let [first, second] = &self.weights;
        let x = Dual::constant(sample.input.clone());
        let x = adapters.linear(Some(0), x, first.clone(), None).silu();
        sample.loss(adapters.linear(Some(1), x, second.clone(), None))
    }
}

/// All that is fixed while a concept is learnt.
#[derive(Debug)]
pub struct Problem {
    pub network: Network,
    pub sites: Vec<Site>,
    /// Q of both layers.
    pub basis: Bases<Flex>,
    occupied: Vec<Columns>,
    pub full: Sample,
    seed: Seed,
}

impl Problem {
    /// Random weights and inputs; the targets are those of a network whose weights differ by a full-rank
    /// change, so that no adapter reaches all of them.
    pub fn new(seed: u64) -> Self {
        let seed = Seed::new(seed).fork("convergence");
        let random = |name: &str, shape| numbers(&seed.fork(name), shape);
        let weight = |layer: usize, name: &str, scale: f64| {
            let shape = [WIDTHS[layer + 1], WIDTHS[layer]];
            random(&format!("{name}{layer}"), shape)
                .mul_scalar(scale / (WIDTHS[layer] as f64).sqrt())
        };
        let weights = [0, 1].map(|layer| weight(layer, "weight", 1.0));
        let other = [0, 1].map(|layer| weights[layer].clone() + weight(layer, "change", 0.5));
        let input: Tensor<Tape, 2> = random("input", [ROWS, WIDTHS[0]]);
        let hidden = input.clone().matmul(other[0].clone().transpose());
        let hidden = hidden.clone() * burn::tensor::activation::sigmoid(hidden);
        let target = hidden.matmul(other[1].clone().transpose());
        let sites: Vec<Site> = (0..2).map(site).collect();
        let directions = |site: &Site| {
            let mut rng = seed.fork(&site.name).at(0);
            fresh_directions(site.inputs, OCCUPIED, &Columns::new(), &mut rng)
        };
        let occupied: Vec<Columns> = sites.iter().map(directions).collect();
        let basis = Bases::new(occupied.iter().map(|columns| Some(matrix(columns))).collect());
        let network = Network { weights };
        Self { network, sites, basis, occupied, full: Sample { input, target }, seed }
    }

    /// The state before the first step, in f64.
    pub fn state(&self, config: &TrainConfig) -> Result<TrainState<Flex>, Failure> {
        let method = methods::by_name::<Tape>(&config.method)?;
        let (ranks, embeddings) = ([RANK; 2], Tensor::zeros([1, 1], &Default::default()));
        let (sites, seed) = (&self.sites, self.seed.fork("concept"));
        let mut state = TrainState::new(
            method,
            config,
            sites,
            &ranks,
            &Feasible::outside(&self.occupied),
            embeddings,
            &seed,
        );
        let TrainState { parameters, inner, outer, .. } = &mut state;
        for factors in [
            &mut parameters.adapters.up,
            &mut parameters.adapters.down,
            &mut inner.first,
            &mut inner.second.mean,
            &mut outer.first,
            &mut outer.second.mean,
        ] {
            *factors = factors.map(|_, matrix| matrix.cast(DType::F64));
        }
        Ok(state)
    }

    /// Consecutive rows of the full batch, another part in each step.
    pub fn minibatch(&self, step: usize) -> Sample {
        let start = step * MINIBATCH % ROWS;
        let part = |rows: &Tensor<Tape, 2>| rows.clone().narrow(0, start, MINIBATCH);
        Sample { input: part(&self.full.input), target: part(&self.full.target) }
    }
}

fn site(layer: usize) -> Site {
    Site {
        name: format!("layer{layer}"),
        inputs: WIDTHS[layer],
        outputs: WIDTHS[layer + 1],
        part: Part::Denoiser,
        role: Role::SelfAttention,
    }
}

/// Normal numbers in f64.
fn numbers<D: KernelBackend>(seed: &Seed, shape: [usize; 2]) -> Tensor<D, 2> {
    normal(shape, &mut seed.at(0), &Default::default()).cast(DType::F64)
}

/// A matrix of columns, without rounding.
fn matrix<D: Backend>(columns: &Columns) -> Tensor<D, 2> {
    let rows = columns[0].len();
    let values: Vec<f64> = (0..rows).flat_map(|row| columns.iter().map(move |c| c[row])).collect();
    let data = TensorData::new(values, [rows, columns.len()]);
    Tensor::from_data(data, (&D::Device::default(), DType::F64))
}
