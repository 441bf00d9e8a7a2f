//! The parameters of a module as a list of vectors, the form in which the optimiser, the EMA and
//! saved states use them.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{FloatDType, Tensor};
use seqlora_core::precision::Precision;

/// The module with other values, `[elements]` per parameter, in the order in which modules are
/// visited. Each of them requires a gradient.
///
/// # Panics
/// If there are fewer vectors than parameters, or a length differs.
pub fn with_parameters<B: AutodiffBackend, M: Module<B>>(
    module: M,
    values: Vec<Tensor<B::InnerBackend, 1>>,
) -> M {
    module.map(&mut Fill::<B>(values.into_iter()))
}

/// The values of all parameters, `[elements]` each, in the order in which modules are visited.
pub fn parameters<B: AutodiffBackend, M: Module<B>>(module: &M) -> Vec<Tensor<B::InnerBackend, 1>> {
    let mut values = Values::<B>(Vec::new());
    module.visit(&mut values);
    values.0
}

/// The gradients of all parameters, `[elements]` each; zeros for parameters that the loss does not
/// depend on.
pub fn gradients<B: AutodiffBackend, M: Module<B>>(
    module: &M,
    gradients: &B::Gradients,
) -> Vec<Tensor<B::InnerBackend, 1>> {
    let mut collect = Collect::<B> { gradients, found: Vec::new() };
    module.visit(&mut collect);
    collect.found
}

/// The module with its weights cast to a precision. Gradients flow back to the original weights.
pub fn rounded<B: Backend, M: Module<B>>(module: M, precision: Precision) -> M {
    match precision {
        Precision::F32 => module,
        _ => module.map(&mut Round(precision.dtype())),
    }
}

/// How the optimiser treats a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bias or a scale, without weight decay.
    Vector,
    /// An embedding table or learnt queries, whose rows are independent.
    Table,
    /// A matrix `[rows, columns]`, or a convolution kernel flattened to `[outputs, the rest]`.
    Matrix {
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
    },
}

/// The kinds of all parameters, in the order in which modules are visited.
pub fn kinds<B: Backend, M: Module<B>>(module: &M) -> Vec<Kind> {
    let mut kinds = Kinds { path: Vec::new(), found: Vec::new() };
    module.visit(&mut kinds);
    kinds.found
}

struct Fill<B: AutodiffBackend>(std::vec::IntoIter<Tensor<B::InnerBackend, 1>>);

impl<B: AutodiffBackend> ModuleMapper<B> for Fill<B> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape: [usize; D] = param.lazy_shape().dims();
        let values = self.0.next().expect("a vector for each parameter").reshape(shape);
        Param::initialized(param.id, Tensor::from_inner(values).require_grad())
    }
}

struct Round(FloatDType);

impl<B: Backend> ModuleMapper<B> for Round {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        param.map(|value| value.cast(self.0))
    }
}

struct Values<B: AutodiffBackend>(Vec<Tensor<B::InnerBackend, 1>>);

impl<B: AutodiffBackend> ModuleVisitor<B> for Values<B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val().inner();
        let count = value.shape().num_elements();
        self.0.push(value.reshape([count]));
    }
}

struct Collect<'a, B: AutodiffBackend> {
    gradients: &'a B::Gradients,
    found: Vec<Tensor<B::InnerBackend, 1>>,
}

impl<B: AutodiffBackend> ModuleVisitor<B> for Collect<'_, B> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let value = param.val();
        let gradient = value.grad(self.gradients);
        let gradient = gradient.unwrap_or_else(|| value.inner().zeros_like());
        let count = gradient.shape().num_elements();
        self.found.push(gradient.reshape([count]));
    }
}

struct Kinds {
    path: Vec<String>,
    found: Vec<Kind>,
}

impl<B: Backend> ModuleVisitor<B> for Kinds {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let shape: [usize; D] = param.lazy_shape().dims();
        let key = self.path.join(".");
        self.found.push(match () {
            () if D == 1 => Kind::Vector,
            () if D == 2 && key.ends_with("embedding.weight") => Kind::Table,
            () if !key.ends_with("weight") => Kind::Table,
            () => Kind::Matrix { rows: shape[0], columns: shape[1..].iter().product() },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::nn::conv::{Conv2d, Conv2dConfig};
    use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
    use seqlora_kernels::Flex;

    #[derive(Module, Debug)]
    struct Mixed<B: Backend> {
        patch_embedding: Conv2d<B>,
        token_embedding: Embedding<B>,
        to_out: Linear<B>,
        questions: Param<Tensor<B, 2>>,
    }

    #[test]
    fn tables_matrices_and_vectors_are_distinguished() {
        let device = Default::default();
        let module = Mixed::<Flex> {
            patch_embedding: Conv2dConfig::new([3, 8], [2, 2]).init(&device),
            token_embedding: EmbeddingConfig::new(10, 8).init(&device),
            to_out: LinearConfig::new(8, 4).init(&device),
            questions: Param::from_tensor(Tensor::zeros([5, 8], &device)),
        };
        let matrix = |rows, columns| Kind::Matrix { rows, columns };
        let expected =
            [matrix(8, 12), Kind::Vector, Kind::Table, matrix(8, 4), Kind::Vector, Kind::Table];
        assert_eq!(kinds(&module), expected);
    }
}
