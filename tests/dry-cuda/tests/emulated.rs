//! All laws on emulated CUDA, with tensor cores' rounding and both orders of units:
//!
//! ```sh
//! cargo test --release --workspace --features seqlora-tests/wgpu,seqlora-dry-cuda/all-laws --test emulated
//! ```

seqlora_tests::suite!(seqlora_dry_cuda::Dry, 1e-3,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products, projection]);

seqlora_tests::slow_suite!(seqlora_dry_cuda::Dry, 1e-3, laws: []);

seqlora_tests::half_precision!(seqlora_dry_cuda::Dry,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products]);
