//! Adding a foreign adapter's changes to a model's weights.

use seqlora_kernels::matmul::{MatMul, Times};
use std::collections::BTreeSet;
use std::path::PathBuf;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use seqlora_core::bank::formats::{AdapterFormat, ForeignAdapter, Module as LoraModule};
use seqlora_kernels::KernelBackend;

use super::StableDiffusion;
use crate::weights::{KeyTable, ModulePath};

/// The largest number of modules that an error message lists.
const LISTED: usize = 5;

/// Why an adapter cannot be added to a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The model has no layers for some of the adapter's modules.
    #[error(
        "{} is an adapter of another model: {matched} of its {modules} modules are layers of this one, \
         but not {}",
        path.display(), others.join(", ")
    )]
    Unmatched {
        /// The adapter.
        path: PathBuf,
        /// The modules that were found.
        matched: usize,
        /// All modules.
        modules: usize,
        /// The first of those that were not.
        others: Vec<String>,
    },
    /// A module has other sizes than the model's layer.
    #[error("{} is an adapter of another model: `{module}` {reason}", path.display())]
    Misfit {
        /// The adapter.
        path: PathBuf,
        /// The module.
        module: String,
        /// How the sizes differ.
        reason: String,
    },
}

impl<B: KernelBackend> StableDiffusion<B> {
    /// The same model with W + `scale` ΔW in the place of W in every layer that the adapter changes, also
    /// in convolutions and in layers that no concept of a bank adapts. Sums are computed in f32.
    ///
    /// # Errors
    /// If a module of the adapter is no layer of the model, or has other sizes.
    pub fn merged_with(
        self,
        format: &dyn AdapterFormat,
        adapter: &ForeignAdapter,
        scale: f64,
    ) -> Result<Self, MergeError> {
        let merging = |prefix, table| Merging {
            format,
            adapter,
            scale,
            prefix,
            table,
            path: ModulePath::default(),
            matched: BTreeSet::new(),
            misfit: None,
        };
        let mut unet = merging("unet.", KeyTable::UNET);
        let mut text = merging("text_encoder.text_model.", KeyTable::CLIP_TEXT);
        let merged = Self {
            unet: self.unet.map(&mut unet),
            text_encoder: self.text_encoder.map(&mut text),
            ..self
        };
        if let Some((module, reason)) = unet.misfit.or(text.misfit) {
            return Err(MergeError::Misfit { path: adapter.path.clone(), module, reason });
        }
        let matched: BTreeSet<&str> = unet.matched.union(&text.matched).copied().collect();
        let names = adapter.modules.keys().map(String::as_str);
        let others = names.filter(|name| !matched.contains(name)).take(LISTED);
        let others: Vec<String> = others.map(|name| format!("`{name}`")).collect();
        if !others.is_empty() {
            return Err(MergeError::Unmatched {
                path: adapter.path.clone(),
                matched: matched.len(),
                modules: adapter.modules.len(),
                others,
            });
        }
        Ok(merged)
    }
}

/// Adds the changes of a component's layers while it walks through them.
struct Merging<'a> {
    format: &'a dyn AdapterFormat,
    adapter: &'a ForeignAdapter,
    scale: f64,
    /// What a site's name has before diffusers' module path.
    prefix: &'static str,
    table: KeyTable,
    path: ModulePath,
    matched: BTreeSet<&'a str>,
    /// The first module that does not fit, and why.
    misfit: Option<(String, String)>,
}

impl<'a> Merging<'a> {
    /// The adapter's module for the weight that it is at.
    fn module(&self) -> Option<(&'a str, &'a LoraModule)> {
        let key = self.table.theirs(&self.path.dotted());
        let site = format!("{}{}", self.prefix, key.strip_suffix(".weight")?);
        let modules = &self.adapter.modules;
        let names = self.format.module_names(&site);
        let (name, module) = names.iter().find_map(|name| modules.get_key_value(name))?;
        Some((name.as_str(), module))
    }
}

impl<B: MatMul> ModuleMapper<B> for Merging<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.leave(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let Some((name, module)) = self.module() else { return param };
        self.matched.insert(name);
        let shape = param.shape().dims::<D>();
        if let Err(reason) = check(module, &shape) {
            self.misfit.get_or_insert((name.into(), reason));
            return param;
        }
        let scale = self.scale * module.scale;
        param.map(|weight| changed(weight, module, scale))
    }
}

/// Says how a layer's weight `[n, m]` or `[n, m, height, width]` differs from the module's.
fn check(module: &LoraModule, shape: &[usize]) -> Result<(), String> {
    let [outputs, inputs] = [module.up.len(), module.down.len()].map(|size| size / module.rank);
    let kernel = if let [_, _, height, width] = *shape { [height, width] } else { [1, 1] };
    let fits = shape.len() >= 2
        && shape[0] == outputs
        && shape[1..].iter().product::<usize>() == inputs
        && module.kernel == kernel;
    match fits {
        true => Ok(()),
        false => Err(format!(
            "is for {inputs} inputs and {outputs} outputs, and the layer's weight has shape {shape:?}"
        )),
    }
}

/// W + `scale` · up · down in the precision of W.
fn changed<B: MatMul, const D: usize>(
    weight: Tensor<B, D>,
    module: &LoraModule,
    scale: f64,
) -> Tensor<B, D> {
    let (device, precision, rank) = (weight.device(), weight.dtype(), module.rank);
    let matrix = |values: &[f32], shape: [usize; 2]| {
        Tensor::<B, 2>::from_data(TensorData::new(values.to_vec(), shape), &device).cast(DType::F32)
    };
    let up = matrix(&module.up, [module.up.len() / rank, rank]);
    let down = matrix(&module.down, [rank, module.down.len() / rank]);
    let delta = up.times(down).mul_scalar(scale).reshape(weight.dims());
    (weight.cast(DType::F32) + delta).cast(precision)
}
