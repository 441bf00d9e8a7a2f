//! A second pass over a network reads what the first one cached, and nothing else does.
#![cfg(feature = "cpu")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::ops::lora_linear;
use seqlora_kernels::{ActivationCache, CachePass, Flex};

/// Four inputs, three outputs.
fn layer(rows: usize, x: f32, pass: Option<&CachePass>) -> Tensor<Autodiff<Flex>, 2> {
    let device = Default::default();
    let x = Tensor::full([rows, 4], x, &device).require_grad();
    lora_linear(Dual::constant(x), Tensor::ones([3, 4], &device), None, None, pass).primal
}

#[test]
fn a_second_pass_takes_the_values_of_the_first() {
    let (y, cache) = ActivationCache::record(4, |pass| layer(2, 1.0, Some(pass)));
    let (again, without) = cache.reuse(|pass| (layer(2, 7.0, Some(pass)), layer(2, 7.0, None)));
    assert_eq!(y.to_data(), again.to_data());
    assert_ne!(y.to_data(), without.to_data(), "no cache is read without its pass");
}

#[test]
fn a_second_pass_with_other_operations_is_refused() {
    let (_, cache) = ActivationCache::record(4, |pass| layer(2, 1.0, Some(pass)));
    let others: [fn(&CachePass); 3] = [
        |_| {},
        |pass| drop(layer(3, 1.0, Some(pass))),
        |pass| drop((layer(2, 1.0, Some(pass)), layer(2, 1.0, Some(pass)))),
    ];
    for other in others {
        assert!(catch_unwind(AssertUnwindSafe(|| cache.reuse(other))).is_err());
        cache.reuse(|pass| layer(2, 1.0, Some(pass)));
    }
}

#[test]
fn a_pass_that_has_ended_is_refused() {
    let (pass, cache) = ActivationCache::record(4, CachePass::clone);
    for pass in [pass, cache.reuse(CachePass::clone)] {
        let late = || layer(2, 1.0, Some(&pass));
        assert!(catch_unwind(AssertUnwindSafe(late)).is_err());
    }
}

#[test]
fn results_of_low_intensity_are_not_cached() {
    let record = |least| ActivationCache::record(least, |pass| layer(2, 1.0, Some(pass))).1;
    assert_eq!([3, 4, 5].map(|least| record(least).operations()), [1, 1, 0]);
}

/// Two gradients and two Hessian products, layer by layer in turns.
#[test]
fn passes_do_not_see_each_other() {
    let layers = |x, y, first: &CachePass, second: &CachePass| {
        let layers = [(x, first), (y, second), (2.0 * x, first), (2.0 * y, second)];
        layers.map(|(x, pass)| layer(2, x, Some(pass)).to_data())
    };
    let ((values, second), first) = ActivationCache::record(4, |first| {
        ActivationCache::record(4, |second| layers(1.0, 10.0, first, second))
    });
    assert_eq!([first.operations(), second.operations()], [2, 2]);
    let reuse = |first: &CachePass| second.reuse(|second| layers(7.0, 8.0, first, second));
    assert_eq!(first.reuse(reuse), values);
}
