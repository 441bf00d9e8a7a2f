//! Test bodies, generic over the backend, and what they share.
//!
//! Each body in [`mod@suite`] runs on every backend, with these exceptions: `activation_cache`, `nested`,
//! `quadratic`, `forgetting` and what trains for long run on the CPU only, laws of kernels where a
//! backend has its own, and half precision not on wgpu: `tests/cpu` instantiates them for Flex,
//! `tests/wgpu.rs` for wgpu (the slow ones of [`slow_suite!`] only where they are asked for), `tests/cuda.rs` for CUDA, `tests/laws_f64.rs` the method's laws for Flex in
//! f64, and `dry-cuda` some for CUDA's sources on a CPU. Reference numbers come from `reference/make_fixtures.py`.

pub mod derivatives;
pub mod fixtures;
pub mod suite;
pub mod toy;

/// Instantiates the test bodies of [`mod@suite`] that every backend runs at every change, and the laws of the kernels
/// that are its own; a reference would be compared with itself.
#[macro_export]
macro_rules! suite {
    ($backend:ty, $tolerance:expr, laws: $laws:tt) => {
        $crate::suite!(@tests $backend, $tolerance,
            parity: [unet_sd1, unet_sd2, text_encoder, vae, vit, prompts],
            kernels: [pointwise_tangents, norm_tangents, attention_tangents, lora_linear_tangents,
                      none_is_zero, projection],
            kernel_laws: $laws,
            second_order: [hypergradient_matches_pytorch],
            derivatives: [products_are_derivatives_of_the_gradient, hessian_is_symmetric,
                          single_layer_products_have_a_closed_form,
                          earlier_adapters_belong_to_the_weights],
            unroll: [hypergradient_is_a_derivative, without_inner_steps_the_gradient_is_partial,
                     at_the_lower_optimum_the_correction_vanishes,
                     early_steps_pull_towards_the_gradient,
                     preconditioned_steps_are_differentiated_through, replay_is_exact],
            trainer: [feasible_steps_stay_feasible, steps_stay_in_their_subspace,
                      a_step_follows_the_projected_hypergradient,
                      the_trainer_replays_its_minibatches, plain_lora_is_joint_adamw],
            orthogonality: [concepts_stay_orthogonal_until_layers_are_full,
                            adapters_ignore_each_others_inputs, earlier_concepts_stay_as_they_are,
                            a_composition_is_the_weighted_sum, the_gauge_keeps_the_product],
            fusion: [least_squares_is_a_direct_solve, concepts_with_orthogonal_inputs_are_exact,
                     one_concept_is_returned_on_its_span, a_sum_is_the_composition,
                     a_fusion_of_ones_own_runs, gradient_fusion_goes_to_the_closed_form,
                     fusions_are_those_of_pytorch],
        );
    };
    (@tests $backend:ty, $tolerance:expr, $($module:ident: $tests:tt,)*) => {
        $crate::suite!(@marked [] $backend, $tolerance, $($module: $tests,)*);
    };
    (@marked $mark:tt $backend:ty, $tolerance:expr, $($module:ident: $tests:tt,)*) => {
        $(mod $module {
            $crate::suite!(@module $mark $module $backend, $tolerance, $tests);
        })*
    };
    (@module $mark:tt $module:ident $backend:ty, $tolerance:expr, [$($test:ident),* $(,)?]) => {
        $($crate::suite!(@test $mark $module $test $backend, $tolerance);)*
    };
    (@test [$($mark:meta)?] $module:ident $test:ident $backend:ty, $tolerance:expr) => {
        #[test]
        $(#[$mark])?
        fn $test() {
            $crate::suite::$module::$test::<$backend>($tolerance.into());
        }
    };
}

/// Instantiates the other bodies that every backend runs, and further laws. Their kernels, many of which nothing else launches,
/// take software Vulkan minutes to compile: with the attribute `ignore` they only run where they are asked for.
#[macro_export]
macro_rules! slow_suite {
    ($backend:ty, $tolerance:expr, laws: $laws:tt $(, #[$mark:meta])?) => {
        mod slow {
            $crate::suite!(@marked [$($mark)?] $backend, $tolerance,
                parity: [text_to_image],
                kernel_laws: $laws,
                second_order: [hessian_product_matches_pytorch, attention_term_matches_pytorch],
                trainer: [orthogonal_adaptation_trains_up_alone, adamw_is_its_definition,
                          rerun_without_outer_steps_is_carry,
                          alternating_is_seqlora_without_second_derivatives],
                orthogonality: [half_precision_banks_are_refused],
                fusion: [patched_models_predict_what_compositions_do],
                fusion_stages: [stages_record_what_mix_of_show_does],
            );
        }
    };
}

/// Instantiates what holds in numbers of 16 bits, whose rounding is all that may go wrong.
#[macro_export]
macro_rules! half_precision {
    ($backend:ty, laws: $laws:tt) => {
        mod f16 {
            $crate::half_precision!(@laws $backend, F16, 2e-3, $laws);
        }
        mod bf16 {
            $crate::half_precision!(@laws $backend, BF16, 1.5e-2, $laws);
        }
    };
    (@laws $backend:ty, $dtype:ident, $tolerance:expr, $laws:tt) => {
        $crate::suite!(
            @tests $backend,
            $crate::suite::kernel_laws::Stored {
                dtype: ::burn::tensor::FloatDType::$dtype,
                tolerance: $tolerance,
            },
            kernel_laws: $laws,
            second_order: [derivatives_survive_half_precision],
        );
    };
}
