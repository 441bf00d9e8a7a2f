//! How the training of a concept begins: A = 0, B as the method says, and the token embeddings.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use seqlora_kernels::TrainBackend;

use super::method::Method;
use super::state::TrainState;
use crate::lora::directions::from_columns;
use crate::lora::{AdapterSet, Factors, Feasible, Site};
use crate::objective::ConceptParameters;
use crate::optim::AdamW;
use crate::rng::{Seed, normal};
use crate::settings::TrainConfig;
use crate::text::TokenScheme;

impl<B: Backend> TrainState<B> {
    /// A = 0, and B as the method begins.
    ///
    /// # Shapes
    /// - ranks, feasible: one per site; embeddings: `[embeddings, width]`
    pub fn new<T: TrainBackend<InnerBackend = B>>(
        method: &(impl Method<T> + ?Sized),
        settings: &TrainConfig,
        sites: &[Site],
        ranks: &[usize],
        feasible: &[Feasible],
        embeddings: Tensor<B, 2>,
        seed: &Seed,
    ) -> Self {
        let device = embeddings.device();
        let seed = seed.fork("directions");
        let mut up = Vec::new();
        let mut down = Vec::new();
        for (number, site) in sites.iter().enumerate() {
            let mut rng = seed.fork(&site.name).at(0);
            let (rank, feasible) = (ranks[number], &feasible[number]);
            let columns = method.initial_down(site, rank, feasible, settings, &mut rng);
            if columns.is_empty() {
                up.push(None);
                down.push(None);
                continue;
            }
            let shape = [site.inputs, columns.len()];
            up.push(Some(Tensor::zeros([site.outputs, columns.len()], &device)));
            let data = TensorData::new(from_columns(&columns), shape);
            down.push(Some(Tensor::from_data(data, &device)));
        }
        let adapters = AdapterSet { up: Factors::new(up), down: Factors::new(down) };
        Self::of(ConceptParameters { adapters, embeddings: Some(embeddings) })
    }

    /// A state in which no step was done yet, with optimizers that know nothing of the parameters.
    ///
    /// # Panics
    /// Without token embeddings.
    pub fn of(parameters: ConceptParameters<B>) -> Self {
        let adapters = &parameters.adapters;
        let embeddings = parameters.embeddings.clone().expect("a concept has token embeddings");
        Self {
            step: 0,
            inner: AdamW::new(&adapters.up),
            outer: AdamW::new(&adapters.down),
            embeddings: AdamW::new(&Factors::new(vec![Some(embeddings)])),
            embeddings_frozen: false,
            freezing: None,
            initial_loss: f64::NAN,
            parameters,
        }
    }
}

/// The token embeddings of a new concept `[words × embeddings per word, width]`.
///
/// ED-LoRA's first word is one random vector for all layers, its second the class word; a single
/// word starts as the class word.
pub fn initial_embeddings<B: Backend>(
    scheme: TokenScheme,
    layers: usize,
    class_word: Tensor<B, 1>,
    std: f64,
    seed: &Seed,
) -> Tensor<B, 2> {
    let [width] = class_word.dims();
    let count = scheme.embeddings_per_word(layers);
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
