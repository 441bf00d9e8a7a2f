//! The squared error of the small problems on which the paper's theorems are looked at, in f64.

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::Flex;

/// The CPU, with a tape.
pub type Tape = Autodiff<Flex>;

/// Inputs with their targets, row by row.
#[derive(Debug, Clone)]
pub struct Sample {
    pub input: Tensor<Tape, 2>,
    pub target: Tensor<Tape, 2>,
}

impl Sample {
    /// ½‖output − target‖² / rows.
    pub fn loss(&self, output: Dual<Tape, 2>) -> Dual<Tape, 1> {
        let error = output.add_constant(-self.target.clone());
        let rows = self.target.dims()[0] as f64;
        (error.clone() * error).sum().scale(0.5 / rows)
    }
}
