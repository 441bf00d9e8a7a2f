//! Concepts of one layer that are learnt one after the other, in f64.

use burn::tensor::{DType, Tensor, TensorData};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::Flex;
use burn_seqlora::lora::directions::{Columns, fresh_directions, orthonormal_gauge};
use burn_seqlora::lora::{Bases, DualAdapters, Factors, Feasible, Part, Role, Site};
use burn_seqlora::methods::{self, TrainState};
use burn_seqlora::objective::Objective;
use burn_seqlora::rng::{Seed, normal};
use burn_seqlora::settings::{LrSchedule, TrainConfig};
use burn_seqlora::train::Trainer;

use super::bound::dot;
use crate::failure::Failure;
use crate::least_squares::{Sample, Tape};

/// m, n and r.
const INPUTS: usize = 64;
const OUTPUTS: usize = 16;
const RANK: usize = 3;

/// Directions of the inputs that all concepts have in common, as the states of prompts do.
const COMMON: usize = 4;

/// Inputs of a concept that it is learnt from.
const ROWS: usize = 256;

/// Numbers, row by row.
pub type Matrix = Vec<Vec<f64>>;

/// ½‖x ΔWᵀ − target‖² / rows: what the frozen weight gives is in the target already.
#[derive(Debug)]
struct Layer {
    weight: Tensor<Tape, 2>,
}

impl Objective<Tape> for Layer {
    type Sample = Sample;

    fn loss(
        &self,
        adapters: &DualAdapters<Tape>,
        _: Option<&Tensor<Tape, 2>>,
        sample: &Sample,
    ) -> Dual<Tape, 1> {
        let input = Dual::constant(sample.input.clone());
        sample.loss(adapters.linear(Some(0), input, self.weight.clone(), None))
    }
}

/// What a concept's inputs are made of, and what it has learnt.
#[derive(Debug, Clone)]
pub struct Concept {
    /// S `[m, m]`, row by row: inputs are S ζ.
    pub root: Matrix,
    /// ΔW = A Bᵀ `[n, m]`, row by row.
    pub change: Matrix,
    /// Orthonormal columns that span B.
    pub directions: Columns,
}

impl Concept {
    /// The share of the inputs' energy outside of span(B).
    pub fn residual(&self) -> f64 {
        let energy: f64 = self.root.iter().flatten().map(|x| x * x).sum();
        let columns = transpose(&self.root);
        let inside = self.directions.iter().flat_map(|d| columns.iter().map(move |c| dot(c, d)));
        1.0 - inside.map(|x| x * x).sum::<f64>() / energy
    }
}

/// Learns `count` concepts one after the other, each orthogonal to those before; with frozen B, only A.
///
/// # Errors
/// If there is no such method.
pub fn learn(seed: u64, count: usize, steps: usize, frozen: bool) -> Result<Vec<Concept>, Failure> {
    let seed = Seed::new(seed).fork("forgetting");
    let config = TrainConfig {
        outer: 1,
        steps,
        lr_schedule: LrSchedule::Constant,
        lr_unet: 0.02,
        lr_down_ratio: if frozen { 0.0 } else { 1.0 },
        ridge: 0.0,
        weight_decay: 0.0,
        rank: RANK,
        ..TrainConfig::default()
    };
    let common = fresh_directions(INPUTS, COMMON, &Columns::new(), &mut seed.fork("common").at(0));
    let mut concepts: Vec<Concept> = Vec::new();
    for number in 0..count {
        let seed = seed.fork(&number.to_string());
        let root = root(&seed, &common);
        let occupied = concepts.iter().flat_map(|c| c.directions.clone()).collect();
        concepts.push(learn_one(&config, &seed, root, occupied)?);
    }
    Ok(concepts)
}

/// S = Σ s_k u_k e_kᵀ with a power law s_k: the largest directions are common, the others the concept's own.
fn root(seed: &Seed, common: &Columns) -> Matrix {
    let own = fresh_directions(INPUTS, INPUTS - COMMON, common, &mut seed.fork("own").at(0));
    let directions = common.iter().chain(&own);
    let scaled = directions.enumerate().map(|(k, direction)| {
        let scale = (k as f64 + 1.0).powf(-0.75);
        direction.iter().map(|x| x * scale).collect::<Vec<f64>>()
    });
    transpose(&scaled.collect::<Vec<_>>())
}

fn learn_one(
    config: &TrainConfig,
    seed: &Seed,
    root: Matrix,
    occupied: Columns,
) -> Result<Concept, Failure> {
    let random = |name: &str, shape: [usize; 2]| -> Tensor<Tape, 2> {
        normal(shape, &mut seed.fork(name).at(0), &Default::default()).cast(DType::F64)
    };
    let input = random("inputs", [ROWS, INPUTS]).matmul(tensor(&root).transpose());
    let wanted = random("change", [OUTPUTS, INPUTS]).mul_scalar(0.5);
    let target = input.clone().matmul(wanted.transpose());
    let layer =
        Layer { weight: Tensor::zeros([OUTPUTS, INPUTS], (&Default::default(), DType::F64)) };
    let sites = [Site {
        name: "layer".into(),
        inputs: INPUTS,
        outputs: OUTPUTS,
        part: Part::Denoiser,
        role: Role::SelfAttention,
    }];
    let method = methods::by_name::<Tape>(&config.method)?;
    let avoided = [occupied];
    let embeddings = Tensor::zeros([1, 1], &Default::default());
    let mut state: TrainState<Flex> = TrainState::new(
        method,
        config,
        &sites,
        &[RANK],
        &Feasible::outside(&avoided),
        embeddings,
        seed,
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
    let basis: Bases<Flex> =
        Bases::new(vec![(!avoided[0].is_empty()).then(|| tensor(&transpose(&avoided[0])))]);
    let trainer =
        Trainer { objective: &layer, method, settings: config, sites: &sites, basis: &basis };
    let sample = Sample { input, target };
    for _ in 0..config.steps {
        trainer.step(&mut state, |_, _| &sample);
    }
    let adapters = &state.parameters.adapters;
    let [up, down] = [&adapters.up, &adapters.down].map(rows);
    let (directions, _) = orthonormal_gauge(transpose(&down), &avoided[0]);
    let change = up.iter().map(|a| down.iter().map(|b| dot(a, b)).collect()).collect();
    Ok(Concept { root, change, directions })
}

/// The factors of the only site, row by row.
fn rows(factors: &Factors<Flex>) -> Matrix {
    let matrix = factors.get(0).expect("one site");
    let columns = matrix.dims()[1];
    let values: Vec<f64> = matrix.to_data().iter().collect();
    values.chunks(columns).map(<[f64]>::to_vec).collect()
}

fn tensor<B: burn::tensor::backend::Backend>(matrix: &Matrix) -> Tensor<B, 2> {
    let data = TensorData::new(matrix.concat(), [matrix.len(), matrix[0].len()]);
    Tensor::from_data(data, (&B::Device::default(), DType::F64))
}

/// Rows as columns.
pub fn transpose(matrix: &[Vec<f64>]) -> Matrix {
    let columns = matrix.first().map_or(0, Vec::len);
    (0..columns).map(|c| matrix.iter().map(|row| row[c]).collect()).collect()
}
