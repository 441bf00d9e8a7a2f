//! All that changes while a concept is trained.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use super::adam::AdamW;
use crate::adapter::directions::{Columns, fresh_directions, from_columns, kaiming_uniform};
use crate::adapter::{AdapterSet, Factors, Site};
use crate::config::TrainConfig;
use crate::diff::ConceptParameters;
use crate::rng::{Seed, normal};
use crate::text::TokenScheme;

/// Parameters and optimiser states of one concept, in f32 whatever the model computes in.
#[derive(Debug, Clone)]
pub struct TrainState<B: Backend> {
    /// Minibatches done.
    pub step: usize,
    /// A, B and the token rows.
    pub parameters: ConceptParameters<B>,
    /// The optimiser of A; inner steps take its preconditioner and no momentum.
    pub inner: AdamW<B>,
    /// The optimiser of B.
    pub outer: AdamW<B>,
    /// The optimiser of the token rows, as factors with one site.
    pub rows: AdamW<B>,
    /// Whether the rows have reached their norm limit.
    pub rows_frozen: bool,
    /// The probes' loss before the first step.
    pub initial_loss: f64,
}

impl<B: Backend> TrainState<B> {
    /// A = 0; B random orthonormal directions outside the `reserved` ones, times `down_norm`, or
    /// LoRA's usual start where the method is not orthogonal.
    ///
    /// # Shapes
    /// - ranks, reserved: one per site; rows: `[rows, width]`
    pub fn new(
        config: &TrainConfig,
        sites: &[Site],
        ranks: &[usize],
        reserved: &[Columns],
        rows: Tensor<B, 2>,
        seed: &Seed,
    ) -> Self {
        let device = rows.device();
        let seed = seed.fork("directions");
        let matrix = |values: Vec<f32>, rows, columns| {
            Tensor::from_data(TensorData::new(values, [rows, columns]), &device)
        };
        let mut up = Vec::new();
        let mut down = Vec::new();
        for (number, site) in sites.iter().enumerate() {
            let mut rng = seed.fork(&site.name).at(0);
            let (new, norm) = match config.method.ingredients().orthogonal {
                true => (
                    fresh_directions(site.inputs, ranks[number], &reserved[number], &mut rng),
                    config.down_norm,
                ),
                false => (kaiming_uniform(site.inputs, ranks[number], &mut rng), 1.0),
            };
            if new.is_empty() {
                up.push(None);
                down.push(None);
                continue;
            }
            up.push(Some(Tensor::zeros([site.outputs, new.len()], &device)));
            let new = matrix(from_columns(&new), site.inputs, new.len());
            down.push(Some(new.mul_scalar(norm)));
        }
        let adapters = AdapterSet { up: Factors::new(up), down: Factors::new(down) };
        Self {
            step: 0,
            inner: AdamW::new(&adapters.up),
            outer: AdamW::new(&adapters.down),
            rows: AdamW::new(&Factors::new(vec![Some(rows.clone())])),
            rows_frozen: false,
            initial_loss: f64::NAN,
            parameters: ConceptParameters { adapters, rows: Some(rows) },
        }
    }
}

/// The rows of a new concept `[words × rows per word, width]`.
///
/// ED-LoRA's first word is one random vector for all layers, its second the class word; a single
/// word starts as the class word.
pub fn initial_rows<B: Backend>(
    scheme: TokenScheme,
    layers: usize,
    class_word: Tensor<B, 1>,
    std: f64,
    seed: &Seed,
) -> Tensor<B, 2> {
    let [width] = class_word.dims();
    let count = scheme.rows_per_word(layers);
    let class_word = class_word.reshape([1, width]).repeat_dim(0, count);
    match scheme {
        TokenScheme::Single => class_word,
        TokenScheme::EdLora => {
            let mut rng = seed.fork("token rows").at(0);
            let random = normal([1, width], &mut rng, &class_word.device()).mul_scalar(std);
            Tensor::cat(vec![random.repeat_dim(0, count), class_word], 0)
        }
    }
}
