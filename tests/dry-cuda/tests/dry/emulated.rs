//! Laws of kernels that run as CUDA's sources say, with tensor cores' rounding and both orders of units. All laws are
//! in `tests/emulated.rs`, and take too long for every change.

use burn::tensor::Tensor;
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::ops;
use seqlora_dry_cuda::{Dry, DryDevice};

seqlora_tests::suite!(@tests seqlora_dry_cuda::Dry, 1e-3,
    kernel_laws: [normalisation, attention, linear_layers, products, projection],
);

/// A sum over units that do not wait for each other depends on their order.
#[test]
fn a_missing_barrier_is_noticed() {
    let device = DryDevice::WithoutBarrier;
    let ones = |size| Tensor::<Dry, 1>::ones([size], &device);
    let x = Tensor::<Dry, 1, burn::tensor::Int>::arange(0..640, &device).float().reshape([2, 320]);
    drop(ops::layer_norm(Dual::constant(x), ones(320), ones(320), 1e-5));
    let errors = device.take_counters().errors;
    assert!(
        errors.iter().any(|error| error.contains("depends on the order of its units")),
        "{errors:?}"
    );
}
