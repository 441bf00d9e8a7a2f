//! Test bodies, generic over the backend, and what they share.
//!
//! Each body in [`suite`] runs on every backend: `tests/cpu.rs` instantiates them for Flex,
//! `tests/wgpu.rs` for wgpu, `tests/cuda.rs` for CUDA. Reference numbers come from
//! `reference/make_fixtures.py`.

pub mod fixtures;
pub mod suite;

/// Instantiates every test body of [`suite`] for one backend.
#[macro_export]
macro_rules! suite {
    ($backend:ty, $tolerance:expr) => {
        $crate::suite!(@tests $backend, $tolerance,
            parity: [unet_sd1, unet_sd2, text_encoder, vae, text_to_image, prompts],
            kernels: [pointwise_tangents, norm_tangents, attention_tangents, lora_linear_tangents,
                      none_is_zero, projection],
            second_order: [hessian_product_matches_pytorch, hypergradient_matches_pytorch],
        );
    };
    (@tests $backend:ty, $tolerance:expr, $($module:ident: [$($test:ident),* $(,)?],)*) => {
        $(mod $module {
            $(#[test]
            fn $test() {
                $crate::suite::$module::$test::<$backend>($tolerance);
            })*
        })*
    };
}
