//! Numbers out of tensors.
//!
//! All that this crate reads from a device, it reads here. A read waits for everything that was launched
//! before it, so a minibatch of training makes a single one (`train/trainer.rs`).

use burn::tensor::{Tensor, TensorData, backend::Backend};

/// The elements of a tensor, row by row.
pub(crate) fn data<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> TensorData {
    #[cfg(test)]
    tests::READS.set(tests::READS.get() + 1);
    tensor.into_data()
}

/// The one element of a tensor, in full precision.
///
/// `into_scalar` would round an f64 tensor to the backend's own element type.
///
/// # Panics
/// If there is no element.
pub(crate) fn scalar<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> f64 {
    data(tensor).iter().next().expect("one element")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    thread_local! {
        pub(super) static READS: Cell<usize> = const { Cell::new(0) };
    }

    /// How often this thread reads from a device while it runs a function.
    pub(crate) fn count(function: impl FnOnce()) -> usize {
        let before = READS.get();
        function();
        READS.get() - before
    }
}
