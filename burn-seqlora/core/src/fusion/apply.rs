//! Applying patches and compositions to a model's layers for inference.

use burn::tensor::{DType, Tensor, TensorData};
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;
use seqlora_kernels::lora_linear::LoraFactors;
use seqlora_kernels::matmul::Times;

use crate::error::{Error, Result};
use crate::lora::{DualAdapters, PatchSet, WeightPatch};
use crate::model::DiffusionModel;

/// Whether the factors of a change of this rank cost more than half of the layer's own multiplications
/// per token: r (m + n) > m n / 2. A dense change costs none, but memory for n m numbers.
pub fn is_cheaper_dense(rank: usize, inputs: usize, outputs: usize) -> bool {
    2 * rank * (inputs + outputs) > inputs * outputs
}

/// Adapters that apply patches to a model. Low-rank patches stay factors. For a dense one, W₀ + ΔW is
/// computed once in f32 and held in the model's precision.
///
/// # Errors
/// If a patch fits no layer of the model.
pub fn patched<B, M>(model: &M, patches: &PatchSet) -> Result<DualAdapters<B>>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let (sites, device) = (model.sites(), model.device());
    if let Some(site) = patches.misfit(sites) {
        return Err(Error::Invalid(format!("the patch of `{site}` fits no layer of the model")));
    }
    let (mut factors, mut weights) = (vec![None; sites.len()], vec![None; sites.len()]);
    for (number, site) in sites.iter().enumerate() {
        match patches.get(&site.name) {
            None => {}
            Some(WeightPatch::LowRank(low_rank)) => {
                let (up, down) = low_rank.to_tensors(&device);
                let [up, down] = [up, down].map(Dual::constant);
                factors[number] = Some(LoraFactors { up, down });
            }
            Some(WeightPatch::Dense { outputs, inputs, values }) => {
                let delta = TensorData::new(values.clone(), [*outputs, *inputs]);
                let delta = Tensor::from_data(delta, &device);
                weights[number] = Some(changed(model.site_weight(number), delta));
            }
        }
    }
    Ok(DualAdapters::new(factors).with_weights(weights))
}

/// Adapters that apply a composition to a model, with W₀ + A Bᵀ at the sites where [`is_cheaper_dense`]
/// and the factors at the others. Weights that take the place of W₀ do so in the result.
pub fn merged<B, M>(model: &M, adapters: &DualAdapters<B>) -> DualAdapters<B>
where
    B: KernelBackend,
    M: DiffusionModel<B>,
{
    let dense = |number: usize| {
        let LoraFactors { up, down } = adapters.site(number)?;
        let ([outputs, rank], [inputs, _]) = (up.dims(), down.dims());
        is_cheaper_dense(rank, inputs, outputs).then(|| {
            let weight = adapters.weight(number).unwrap_or_else(|| model.site_weight(number));
            changed(weight, up.primal.times(down.primal.transpose()))
        })
    };
    let (low_rank, weights) = (0..model.sites().len())
        .map(|number| match dense(number) {
            Some(weight) => (None, Some(weight)),
            None => (adapters.site(number), adapters.weight(number)),
        })
        .unzip();
    adapters.clone().with_factors(low_rank).with_weights(weights)
}

/// W + ΔW in the precision of W.
fn changed<B: KernelBackend>(weight: Tensor<B, 2>, delta: Tensor<B, 2>) -> Tensor<B, 2> {
    let precision = weight.dtype();
    (weight.cast(DType::F32) + delta.cast(DType::F32)).cast(precision)
}
