//! The test bodies on Flex, Burn's CPU backend, in f32, and the kernels' laws and the model's derivatives in
//! f16 and bf16.
#![cfg(feature = "cpu")]

seqlora_tests::suite!(burn_seqlora::kernels::Flex, 1e-4,
    laws: [activations, normalisation, attention, linear_layers, convolutions]);

// Here only: on a GPU every nesting of backends compiles all of CubeCL's generics once more, and
// convolutions are not cached there.
seqlora_tests::suite!(@tests burn_seqlora::kernels::Flex, 1e-4,
    activation_cache: [every_layer_is_cached, a_training_within_another_changes_neither,
                       trainings_on_one_pool_change_nothing],
    nested: [toys_agree, products_of_the_model_agree, hypergradients_of_the_model_agree],
);

// Here only: they state what the method does, some over thousands of steps, not what a backend computes, and
// took minutes on one thread of software Vulkan.
mod methods {
    seqlora_tests::suite!(@tests burn_seqlora::kernels::Flex, 1e-4,
        forgetting: [learnt_directions_hold_more_than_frozen_ones,
                     forgetting_is_a_quadratic_form_in_the_residual],
        fusion: [a_concept_survives_its_fusion],
        learning: [the_class_is_kept_with_every_method, images_of_the_class_are_kept],
    );
}

seqlora_tests::half_precision!(burn_seqlora::kernels::Flex,
    laws: [activations, normalisation, attention, linear_layers, convolutions]);
