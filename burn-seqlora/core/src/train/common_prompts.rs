//! The common prompt subspace: the directions that the states of all prompts share, whatever they are
//! about (docs/decisions/0009).
//!
//! Orthogonality keeps adapters apart, not what flows through them: the states of a prompt's start,
//! its common words and its end are nearly the same for all prompts, and an adapter that reads them
//! acts on the images of every other concept.

use burn::tensor::DType;
use nalgebra::DMatrix;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::matmul::Times;

use crate::error::{Error, Result};
use crate::lora::directions::{Columns, main_directions, orthonormal_gauge};
use crate::lora::{DualAdapters, Site};
use crate::model::DiffusionModel;
use crate::read;
use crate::settings::TrainConfig;
use crate::text::{Piece, TextBatch, Vocabulary};

/// Prompts that are encoded at a time.
const CHUNK: usize = 16;

/// The directions to avoid at each site: the `occupied` ones of earlier concepts, and where the prompt is
/// read, the protected ones.
///
/// # Errors
/// If the states of these prompts are not finite.
pub fn with_protected<B, M>(
    model: &M,
    sites: &[Site],
    config: &TrainConfig,
    occupied: Vec<Columns>,
) -> Result<Vec<Columns>>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let reads = |site: &Site| config.protected_at(site) > 0;
    if !sites.iter().any(reads) {
        return Ok(occupied);
    }
    let protected =
        main_directions(gram(model, &config.common_prompts)?, config.protected_directions);
    let mut avoided = occupied;
    for (_, directions) in sites.iter().zip(&mut avoided).filter(|(site, _)| reads(site)) {
        let (outside, _) = orthonormal_gauge(protected.clone(), directions);
        directions.extend(outside);
    }
    Ok(avoided)
}

/// Σ x xᵀ over the states x of prompts as the pretrained text encoder has them. Adapters of the text
/// encoder change them, but which ones there will be is not known.
fn gram<B, M>(model: &M, prompts: &[String]) -> Result<DMatrix<f64>>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let tokens = |prompt: &String| model.tokenize(&[Piece::Text(prompt.clone())]);
    let prompts = prompts.iter().map(tokens).collect::<Result<Vec<_>>>()?;
    let mut sum = DMatrix::zeros(0, 0);
    for prompts in prompts.chunks(CHUNK) {
        let batch = TextBatch::new(prompts, &Vocabulary::default(), 1, &model.device());
        let states = model.encode_text(&batch, None, &DualAdapters::none()).context.layer(0).primal;
        let [prompts, length, width] = states.dims();
        let states = states.cast(DType::F32).reshape([prompts * length, width]);
        let product = read::data(states.clone().transpose().times(states));
        let product = DMatrix::from_iterator(width, width, product.iter::<f64>());
        sum = if sum.is_empty() { product } else { sum + product };
    }
    // Eigenvalues of anything else are looked for without end.
    match sum.iter().all(|x: &f64| x.is_finite()) {
        true => Ok(sum),
        false => Err(Error::Invalid("the states of `common_prompts` are not finite".into())),
    }
}
