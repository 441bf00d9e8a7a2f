//! All test bodies on Flex, Burn's CPU backend, in f32.
#![cfg(feature = "cpu")]

seqlora_tests::suite!(seqlora_kernels::Flex, 1e-4);

// Here only: on a GPU every nesting of backends compiles all of CubeCL's generics once more.
seqlora_tests::suite!(@tests seqlora_kernels::Flex, 1e-4,
    nested: [toys_agree, products_of_the_model_agree, hypergradients_of_the_model_agree],
);
