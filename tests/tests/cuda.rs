//! The test bodies on CUDA, in f32, and the kernels' laws and the model's derivatives in
//! f16 and bf16. They compile, but have never run.
#![cfg(feature = "cuda")]

seqlora_tests::suite!(burn_seqlora::kernels::Cuda, 1e-3,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products, projection]);

seqlora_tests::slow_suite!(burn_seqlora::kernels::Cuda, 1e-3, laws: [a_large_convolution]);

seqlora_tests::half_precision!(burn_seqlora::kernels::Cuda,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products]);
