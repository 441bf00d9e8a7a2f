//! All test bodies on Flex, Burn's CPU backend, in f32.
#![cfg(feature = "cpu")]

seqlora_tests::suite!(seqlora_kernels::Flex, 1e-4);
