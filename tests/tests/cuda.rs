//! All test bodies on CUDA, in f32.
#![cfg(feature = "cuda")]

seqlora_tests::suite!(seqlora_kernels::Cuda, 1e-3);
