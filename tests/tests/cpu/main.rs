//! The test bodies on Flex, Burn's CPU backend, in f32, and the kernels' laws and the model's derivatives in
//! f16 and bf16; and what runs a whole model on this backend only: one binary, because each compiles the
//! model's generics once more.
#![cfg(feature = "cpu")]

mod image_to_image;
mod library;
mod prompts;

seqlora_tests::suite!(burn_seqlora::kernels::Flex, 1e-4,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products]);

seqlora_tests::slow_suite!(burn_seqlora::kernels::Flex, 1e-4, laws: [a_large_convolution]);

// Here only: on a GPU every nesting of backends compiles all of CubeCL's generics once more, and
// convolutions are not cached there.
seqlora_tests::suite!(@tests burn_seqlora::kernels::Flex, 1e-4,
    activation_cache: [every_layer_is_cached, a_training_within_another_changes_neither,
                       trainings_on_one_pool_change_nothing],
    nested: [toys_agree, products_of_the_model_agree, hypergradients_of_the_model_agree],
);

// Here only: they state what methods do, some over thousands of steps, not what a backend computes. One of
// them took up to three minutes on software Vulkan.
mod methods {
    seqlora_tests::suite!(@tests burn_seqlora::kernels::Flex, 1e-4,
        forgetting: [learnt_directions_hold_more_than_frozen_ones,
                     forgetting_is_a_quadratic_form_in_the_residual],
        fusion: [a_concept_survives_its_fusion],
        fusion_stages: [every_fusion_goes_through_the_stages, a_stopped_fusion_goes_on],
        learning: [learning_takes_each_evaluations_own_noise,
                   evaluations_share_noise_or_draw_their_own,
                   only_an_accumulated_base_holds_earlier_concepts,
                   common_prompts_are_left_alone,
                   attention_follows_the_subject_with_every_method,
                   the_class_is_kept_with_every_method, images_of_the_class_are_kept,
                   protected_directions_add_to_earlier_concepts,
                   protected_directions_leave_something],
        less_memory: [less_memory_changes_nothing, less_memory_changes_nothing_at_coarse_levels,
                      micro_batches_are_the_minibatch],
        second_order: [prior_term_is_a_second_loss, less_memory_gives_the_same_derivatives],
    );
}

seqlora_tests::half_precision!(burn_seqlora::kernels::Flex,
    laws: [activations, normalisation, attention, linear_layers, convolutions, products]);
