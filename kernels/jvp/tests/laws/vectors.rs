//! Laws of the vector space.

use burn_flex::Flex;
use burn_jvp::Vector;

use crate::support::{from_values, inner, values, wave, waves};

type Pair = Vector<Flex>;

/// A tensor of rank 2 and an exact zero, and the other way round.
fn sparse() -> [Pair; 2] {
    let mut first = Pair::from(wave([2, 3], 0.0, 0.0));
    first.push::<1>(None);
    let mut second = Pair::default();
    second.push::<2>(None);
    [first, second.with(wave([4], 1.0, 0.0))]
}

#[test]
fn entries_keep_rank_and_shape() {
    let [first, second] = sparse();
    assert_eq!([first.len(), second.len(), Pair::default().len()], [2, 2, 0]);
    assert!(Pair::default().is_empty() && !first.is_empty());
    assert_eq!(first.get::<2>(0).unwrap().dims(), [2, 3]);
    assert!(first.get::<1>(1).is_none());
    let collected: Pair =
        [wave::<Flex, 1>([2], 0.0, 0.0), wave([3], 0.0, 0.0)].into_iter().collect();
    assert_eq!(collected.get::<1>(1).unwrap().dims(), [3]);
}

/// x + f · 0 is x, 0 + f · y is f · y, and 0 + f · 0 is an exact zero.
#[test]
fn exact_zeros_are_zeros_of_a_sum() {
    let [first, second] = sparse();
    let sum = first.axpy(2.0, &second);
    assert_eq!(values(&sum.get::<2>(0).unwrap()), values(&first.get::<2>(0).unwrap()));
    let twice = values(&second.get::<1>(1).unwrap()).iter().map(|x| 2.0 * x).collect::<Vec<_>>();
    assert_eq!(values(&sum.get::<1>(1).unwrap()), twice);
    assert!(first.axpy(2.0, &first).get::<1>(1).is_none());
}

#[test]
fn exact_zeros_are_zeros_of_a_product() {
    let [first, second] = sparse();
    assert!(first.dot(&second).is_none());
    let product = first.mul(&second);
    assert!(product.get::<2>(0).is_none() && product.get::<1>(1).is_none());
    assert_eq!(first.axpy(1.0, &second).mul(&second).norm(), second.mul(&second).norm());
}

#[test]
fn scaling_and_sums_agree_with_the_inner_product() {
    let shapes: [&[usize]; 3] = [&[3], &[2, 2], &[1, 2, 1, 2]];
    let [u, v, w] = [0.0, 1.0, 2.0].map(|seed| waves::<Flex>(&shapes, seed, 0.0));
    let found = inner(&u.axpy(-0.7, &v).scale(3.0), &w);
    let expected = 3.0 * (inner(&u, &w) - 0.7 * inner(&v, &w));
    assert!((found - expected).abs() < 1e-13);
    assert!((u.norm().powi(2) - inner(&u, &u)).abs() < 1e-13);
    assert!((inner(&u.mul(&v), &w) - inner(&u, &v.mul(&w))).abs() < 1e-13);
}

#[test]
fn a_map_reaches_every_element() {
    let v = Pair::from(from_values([1.0, 4.0, 9.0, 16.0].to_vec(), [2, 2]));
    let roots = v.map(|t| t.sqrt()).get::<2>(0).unwrap();
    assert_eq!((roots.dims(), values(&roots)), ([2, 2], vec![1.0, 2.0, 3.0, 4.0]));
}

/// 1 + 1e-12 is 1 in f32.
#[test]
fn a_norm_is_not_rounded() {
    assert_eq!(Pair::from(from_values(vec![1.0 + 1e-12], [1])).norm(), 1.0 + 1e-12);
}

#[test]
#[should_panic(expected = "entry 0 of two vectors")]
fn tensors_of_other_shapes_are_refused() {
    let _ = Pair::from(wave([2, 3], 0.0, 0.0)).axpy(1.0, &Pair::from(wave([3, 2], 0.0, 0.0)));
}

#[test]
#[should_panic(expected = "entry 0 is of rank 2 and is asked for as one of rank 1")]
fn a_wrong_rank_is_refused() {
    Pair::from(wave([2, 3], 0.0, 0.0)).get::<1>(0);
}
