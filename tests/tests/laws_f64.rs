//! The laws in f64, on Flex: what f32 round-off would hide.
#![cfg(feature = "cpu")]

seqlora_tests::suite!(@tests burn_seqlora::kernels::Flex, seqlora_tests::toy::Precision::F64,
    derivatives: [products_are_derivatives_of_the_gradient, hessian_is_symmetric,
                  single_layer_products_have_a_closed_form,
                  earlier_adapters_belong_to_the_weights],
    unroll: [hypergradient_is_a_derivative, without_inner_steps_the_gradient_is_partial,
             at_the_lower_optimum_the_correction_vanishes, early_steps_pull_towards_the_gradient,
             preconditioned_steps_are_differentiated_through, replay_is_exact],
    trainer: [feasible_steps_stay_feasible, steps_stay_in_their_subspace,
              a_step_follows_the_projected_hypergradient,
              rerun_without_outer_steps_is_carry,
              alternating_is_seqlora_without_second_derivatives,
              the_trainer_replays_its_minibatches, orthogonal_adaptation_trains_up_alone,
              adamw_is_its_definition],
    forgetting: [learnt_directions_hold_more_than_frozen_ones,
                 forgetting_is_a_quadratic_form_in_the_residual],
    nested: [toys_agree],
    quadratic: [descends_to_the_constrained_optimum,
                later_concepts_leave_the_first_ones_inputs_alone],
);
