//! The test bodies on CUDA, in f32, and the kernels' laws and the model's derivatives in
//! f16 and bf16. They compile, but have never run. Burn's f32 matrix products are TF32 there, with
//! errors of up to 5e-4 each, so laws with bounds below that are expected to fail.
#![cfg(feature = "cuda")]

seqlora_tests::suite!(burn_seqlora::kernels::Cuda, 1e-3,
    laws: [activations, normalisation, attention, linear_layers, projection]);

seqlora_tests::half_precision!(burn_seqlora::kernels::Cuda,
    laws: [activations, normalisation, attention, linear_layers]);
