//! Mix-of-Show's attention regularisation (arXiv 2305.18292): the image attends to a concept's words where
//! the concept is.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Tensor;
use burn_jvp::Dual;
use seqlora_kernels::KernelBackend;

use super::denoising::{DenoisingLoss, DenoisingSample};
use crate::lora::{AttentionMaps, DualAdapters};
use crate::model::{Denoiser, TextEncoder};
use crate::objective::Objective;

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

/// The denoising loss, with the attention's term if there is one.
#[derive(Debug)]
pub struct TrainingLoss<'a, M> {
    /// The denoising loss.
    pub denoising: DenoisingLoss<'a, M>,
    /// The term of the attention. Without it, nothing is computed for it.
    pub attention: Option<AttentionRegularization>,
}

impl<B, M> Objective<B> for TrainingLoss<'_, M>
where
    B: KernelBackend,
    M: Denoiser<B> + TextEncoder<B>,
{
    type Sample = DenoisingSample<B>;

    /// # Panics
    /// If there is a term of the attention, and the sample has no subject mask.
    fn loss(
        &self,
        adapters: &DualAdapters<B>,
        embeddings: Option<&Tensor<B, 2>>,
        sample: &DenoisingSample<B>,
    ) -> Dual<B, 1> {
        let Some(attention) = self.attention else {
            return self.denoising.loss(adapters, embeddings, sample);
        };
        let subject = sample.subject.as_ref().expect("samples have subject masks");
        let [_, length] = sample.prompts.ids.dims();
        let maps = Arc::new(AttentionMaps::new(&sample.prompts.words, length, &subject.device()));
        let adapters = adapters.clone().with_attention_maps(maps.clone());
        let loss = self.denoising.loss(&adapters, embeddings, sample);
        loss + attention.term(maps.take(), subject)
    }
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
            let area = background.clone().sum();
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
    use burn::tensor::TensorData;
    use seqlora_kernels::Flex;

    use super::*;

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
