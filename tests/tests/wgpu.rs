//! The test bodies on wgpu, in f32: real GPU code paths, on Mesa's software Vulkan where there is
//! no GPU. All GPU tests are in one binary, because CubeCL's generics are compiled once per binary.
#![cfg(feature = "wgpu")]

seqlora_tests::suite!(burn_seqlora::kernels::Wgpu, 1e-3,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products, projection]);

seqlora_tests::slow_suite!(burn_seqlora::kernels::Wgpu, 1e-3,
    laws: [attention_by_tiles, a_large_convolution], #[ignore = "`.ci/full` runs it"]);
