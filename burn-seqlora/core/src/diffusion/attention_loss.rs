//! Mix-of-Show's attention regularisation (arXiv 2305.18292): the image attends to a concept's words where
//! the concept is.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use burn_jvp::{Dual, total};
use seqlora_kernels::KernelBackend;

/// ```text
/// L = w Σ_ρ [ L_class + Σ_new mean(map | M_ρ = 0) ]
/// L_class = mean (map − M_ρ)²   or   mean(map | M_ρ = 0)
/// ```
///
/// ρ runs over the resolutions of cross-attention. A map is the probability of a word in the mean over heads
/// and the layers of that resolution, divided by its largest value in the minibatch. M_ρ `[batch, places]`
/// is the subject mask at that resolution, each place from its first latent. The last word of a concept is
/// the class word; the ones before are new. Where a mask has no zero at some ρ, there is no term at all, as
/// in the released code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionRegularization {
    /// w, 0.01 in Mix-of-Show.
    pub weight: f64,
    /// Whether the class word's map is compared with the whole mask (`reg_full_identity`), or only kept out
    /// of where the mask is zero.
    pub full_identity: bool,
}

impl AttentionRegularization {
    /// The term, `[1]`.
    ///
    /// # Panics
    /// If there is no map, or no word.
    ///
    /// # Shapes
    /// - maps: `[batch, places, words]` for each layer; subject: `[batch, 1, height, width]`
    pub fn term<B: KernelBackend>(
        &self,
        maps: Vec<Dual<B, 3>>,
        subject: &Tensor<B, 4>,
    ) -> Dual<B, 1> {
        let mut by_places: BTreeMap<usize, Vec<Dual<B, 3>>> = BTreeMap::new();
        for map in maps {
            by_places.entry(map.dims()[1]).or_default().push(map);
        }
        let mut terms: Vec<Dual<B, 1>> = Vec::new();
        let mut defined = Tensor::ones([1], &subject.device());
        for (places, layers) in by_places {
            let count = layers.len() as f64;
            let map = layers.into_iter().reduce(|a, b| a + b).expect("a layer");
            let mask = at_places(subject, places).cast(map.primal.dtype());
            let background = mask.clone().equal_elem(0.0).float().cast(map.primal.dtype());
            let area = total(background.clone());
            defined = defined * area.clone().greater_elem(0.0).float();
            let outside = |map: Dual<B, 3>| {
                let area = area.clone().clamp_min(1.0);
                map.mul_constant(background.clone()).sum().map_linear(|t| t / area.clone())
            };
            let words = map.dims()[2];
            for word in 0..words {
                let map = relative(map.clone().narrow(2, word, 1).scale(1.0 / count));
                let term = if word + 1 == words && self.full_identity {
                    let error = map.add_constant(-mask.clone());
                    (error.clone() * error).mean()
                } else {
                    outside(map)
                };
                terms.push(term);
            }
        }
        let sum = terms.into_iter().reduce(|a, b| a + b).expect("a layer, and a word");
        let weight = defined.cast(sum.primal.dtype()).mul_scalar(self.weight);
        sum.mul_constant(weight)
    }
}

/// A map `[batch, places, 1]` divided by its largest value.
fn relative<B: KernelBackend>(map: Dual<B, 3>) -> Dual<B, 3> {
    let dims @ [batch, places, _] = map.dims();
    let flat = |t: Tensor<B, 3>| t.reshape([batch * places]);
    // The maximum's derivative is that of the largest element.
    let at = flat(map.primal.clone()).argmax(0);
    let largest = map.clone().map_linear(|t| flat(t).select(0, at.clone()).reshape([1, 1, 1]));
    map / largest.expand(dims)
}

/// A mask `[batch, 1, height, width]` at a lower resolution, `[batch, places, 1]`: the first of each square.
///
/// # Panics
/// If the mask is not made of `places` squares.
fn at_places<B: KernelBackend>(mask: &Tensor<B, 4>, places: usize) -> Tensor<B, 3> {
    let [batch, _, height, width] = mask.dims();
    let step = (height * width / places).isqrt();
    let [rows, columns] = [height / step, width / step];
    assert_eq!(rows * columns, places, "{places} places of a mask of {height} x {width}");
    let mask = mask.clone().reshape([batch, rows, step, columns, step]);
    mask.narrow(2, 0, 1).narrow(4, 0, 1).reshape([batch, places, 1])
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::backend::Autodiff;
    use burn::tensor::{DType, TensorData};
    use seqlora_kernels::Flex;

    use super::*;
    use crate::rng::{Seed, normal};

    fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<Flex, D> {
        let data = TensorData::new(values.to_vec(), shape);
        Tensor::from_data(data, &Default::default())
    }

    fn number(term: Dual<Flex, 1>) -> f64 {
        term.primal.to_data().iter::<f64>().next().unwrap()
    }

    /// Two layers of four places and one of one; the mask's upper half is the subject.
    #[test]
    fn the_term_is_its_definition_on_a_case_by_hand() {
        let mask = tensor(&[1.0, 1.0, 0.0, 0.0], [1, 1, 2, 2]);
        // The new word and the class word at each place.
        let layers = [
            tensor(&[0.2, 0.4, 0.1, 0.2, 0.1, 0.0, 0.0, 0.2], [1, 4, 2]),
            tensor(&[0.2, 0.4, 0.3, 0.2, 0.1, 0.2, 0.0, 0.0], [1, 4, 2]),
        ];
        let maps = || layers.clone().map(Dual::constant).to_vec();
        // Means: new 0.2 0.2 0.1 0, class 0.4 0.2 0.1 0.1; divided by 0.2 and 0.4.
        let term = |full_identity, maps| {
            number(AttentionRegularization { weight: 2.0, full_identity }.term(maps, &mask))
        };
        let (new, class) = ((0.5 + 0.0) / 2.0, (0.25 + 0.25) / 2.0);
        assert!((term(false, maps()) - 2.0 * (new + class)).abs() < 1e-6);
        let identity = (0.0 + 0.25 + 0.0625 + 0.0625) / 4.0;
        assert!((term(true, maps()) - 2.0 * (new + identity)).abs() < 1e-6);
        // A single place is within the subject, so that a mask has no zero there: no term at all.
        let with_one = maps().into_iter().chain([Dual::constant(tensor(&[0.3, 0.3], [1, 1, 2]))]);
        assert_eq!(term(true, with_one.collect()), 0.0);
    }

    /// Two layers of 4 × 4 places and one of 2 × 2, two prompts with two words each, in f64.
    fn random_maps<B: KernelBackend>(counter: u64) -> Vec<Tensor<B, 3>> {
        let shapes = [[2, 16, 2], [2, 16, 2], [2, 4, 2]];
        let map = |(number, shape): (usize, [usize; 3])| {
            let mut rng = Seed::new(counter).at(number as u64);
            // Positive, as probabilities are; the largest one is no tie.
            normal::<B, 3>(shape, &mut rng, &Default::default()).cast(DType::F64).tanh() + 1.5
        };
        shapes.into_iter().enumerate().map(map).collect()
    }

    fn moved<B: KernelBackend>(
        maps: &[Tensor<B, 3>],
        direction: &[Tensor<B, 3>],
        by: f64,
    ) -> Vec<Tensor<B, 3>> {
        maps.iter().zip(direction).map(|(m, d)| m.clone() + d.clone().mul_scalar(by)).collect()
    }

    /// Half of each mask is the subject.
    fn half_masks<B: KernelBackend>() -> Tensor<B, 4> {
        let values: Vec<f32> = (0..2 * 64).map(|i| f32::from(u8::from(i % 64 < 32))).collect();
        Tensor::from_data(TensorData::new(values, [2, 1, 8, 8]), &Default::default())
    }

    type Tape = Autodiff<Flex>;

    /// Gradients of the term's value and of its tangent along `direction`, in all maps.
    fn gradients(
        term: AttentionRegularization,
        maps: &[Tensor<Flex, 3>],
        direction: &[Tensor<Flex, 3>],
        of_tangent: bool,
    ) -> Vec<Tensor<Flex, 3>> {
        let leaf =
            |map: &Tensor<Flex, 3>| Tensor::<Tape, 3>::from_inner(map.clone()).require_grad();
        let leaves: Vec<Tensor<Tape, 3>> = maps.iter().map(leaf).collect();
        let dual = |(map, d): (&Tensor<Tape, 3>, &Tensor<Flex, 3>)| {
            Dual::new(map.clone(), Tensor::from_inner(d.clone()))
        };
        let duals = leaves.iter().zip(direction).map(dual).collect();
        let value = term.term(duals, &half_masks());
        let value = if of_tangent { value.tangent.expect("it moves") } else { value.primal };
        let mut gradients = value.backward();
        leaves.iter().map(|leaf| leaf.grad_remove(&mut gradients).expect("a gradient")).collect()
    }

    fn inner(a: &[Tensor<Flex, 3>], b: &[Tensor<Flex, 3>]) -> f64 {
        let product = |(a, b): (&Tensor<Flex, 3>, &Tensor<Flex, 3>)| {
            (a.clone() * b.clone()).sum().to_data().iter::<f64>().next().unwrap()
        };
        a.iter().zip(b).map(product).sum()
    }

    /// Tangent, gradient and Hessian product of the term are those of central differences, for either form
    /// of the class word's part and with the derivative through the largest value.
    #[test]
    fn the_derivatives_are_those_of_central_differences() {
        let (maps, d, e) = (random_maps(1), random_maps(2), random_maps(3));
        let step = 1e-5;
        for full_identity in [false, true] {
            let term = AttentionRegularization { weight: 0.7, full_identity };
            let at = |maps: Vec<Tensor<Flex, 3>>| {
                number(term.term(maps.into_iter().map(Dual::constant).collect(), &half_masks()))
            };
            let difference =
                (at(moved(&maps, &d, step)) - at(moved(&maps, &d, -step))) / (2.0 * step);
            let duals = maps.iter().zip(&d).map(|(m, d)| Dual::new(m.clone(), d.clone())).collect();
            let tangent = term.term(duals, &half_masks()).tangent.expect("it moves");
            let tangent = tangent.to_data().iter::<f64>().next().unwrap();
            let gradient = inner(&gradients(term, &maps, &d, false), &d);
            for (what, found) in [("tangent", tangent), ("gradient", gradient)] {
                let error = (found - difference).abs();
                assert!(difference.abs() > 1e-3 && error < 1e-8, "{what}: {found} {difference}");
            }
            // ⟨H d, e⟩ from the tangent's gradient, and from the difference of two gradients.
            let product = inner(&gradients(term, &maps, &d, true), &e);
            let along = |by| inner(&gradients(term, &moved(&maps, &d, by), &d, false), &e);
            let difference = (along(step) - along(-step)) / (2.0 * step);
            let error = (product - difference).abs();
            assert!(difference.abs() > 1e-3 && error < 1e-7, "product: {product} {difference}");
        }
    }

    /// As `nearest` of PyTorch's interpolation.
    #[test]
    fn lower_resolutions_take_the_first_of_each_square() {
        let values: Vec<f32> = (0..16).map(|x| x as f32).collect();
        let mask = tensor(&values, [1, 1, 4, 4]);
        let at = |places| at_places(&mask, places).to_data().iter::<f32>().collect::<Vec<_>>();
        assert_eq!(at(16), values);
        assert_eq!(at(4), [0.0, 2.0, 8.0, 10.0]);
        assert_eq!(at(1), [0.0]);
    }
}
