//! Identity: how much a generated picture shows what a concept's references show.

use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Tensor, backend::Backend};

/// Tells by its embeddings whether two images show the same thing.
pub trait ImageEncoder<B: Backend> {
    /// `[images, width]` of pixels `[images, 3, height, width]` in [−1, 1]. The length of an embedding
    /// does not matter.
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2>;
}

/// Unit vectors, one per picture, on the host.
pub type Embeddings = Vec<Vec<f64>>;

/// Embeds pictures `[pictures, 3, height, width]` in [−1, 1].
pub fn embed<B: Backend>(
    encoder: &(impl ImageEncoder<B> + ?Sized),
    pixels: Tensor<B, 4>,
) -> Embeddings {
    let embedded = encoder.embed(pixels);
    let [_, width] = embedded.dims();
    let values: Vec<f64> = embedded.to_data().iter::<f64>().collect();
    values.chunks(width).map(|row| unit(row.to_vec())).collect()
}

/// What a concept looks like: the mean direction of its references' embeddings.
#[derive(Debug, Clone)]
pub struct Identity(Vec<f64>);

impl Identity {
    /// The identity that references show.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(references: &[Vec<f64>]) -> Self {
        let mut sum = vec![0.0; references.first().expect("a concept has references").len()];
        for reference in references {
            sum.iter_mut().zip(reference).for_each(|(sum, x)| *sum += x);
        }
        Self(unit(sum))
    }

    /// Cosine between a picture and the references' mean.
    pub fn of_picture(&self, embedding: &[f64]) -> f64 {
        self.0.iter().zip(embedding).map(|(a, b)| a * b).sum()
    }

    /// The mean over pictures.
    pub fn score(&self, pictures: &[Vec<f64>]) -> f64 {
        pictures.iter().map(|p| self.of_picture(p)).sum::<f64>() / pictures.len().max(1) as f64
    }

    /// How well references agree with each other: each one against the mean of the others. What
    /// generated pictures can be expected to reach.
    pub fn ceiling(references: &[Vec<f64>]) -> f64 {
        if references.len() < 2 {
            return 1.0;
        }
        let left_out = |number| {
            let mut others = references.to_vec();
            let one = others.remove(number);
            Self::of(&others).of_picture(&one)
        };
        (0..references.len()).map(left_out).sum::<f64>() / references.len() as f64
    }

    /// The number of the identity that a picture shows most.
    pub fn nearest(identities: &[Self], embedding: &[f64]) -> Option<usize> {
        let score = |number: &usize| identities[*number].of_picture(embedding);
        (0..identities.len()).max_by(|a, b| score(a).total_cmp(&score(b)))
    }
}

/// The crudest encoder: the picture itself in 8 × 8 pixels, without its mean grey. It needs no
/// weights, so tests and `demo --untrained` use it; it takes a place in the picture for a look.
#[derive(Debug, Clone, Copy)]
pub struct SmallPictures;

impl<B: Backend> ImageEncoder<B> for SmallPictures {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let small = adaptive_avg_pool2d(pixels, [8, 8]).flatten::<2>(1, 3);
        let grey = small.clone().mean_dim(1);
        small - grey
    }
}

fn unit(vector: Vec<f64>) -> Vec<f64> {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.into_iter().map(|x| x / norm.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use seqlora_kernels::Flex;

    /// Vertical stripes whose phase and contrast are given.
    fn picture(phase: usize, contrast: f32) -> Tensor<Flex, 4> {
        let pixel =
            |i: usize| if (i % 64 / 16 + phase).is_multiple_of(2) { contrast } else { -contrast };
        let data =
            TensorData::new((0..3 * 64 * 64).map(pixel).collect::<Vec<f32>>(), [1, 3, 64, 64]);
        Tensor::from_data(data, &Default::default())
    }

    fn embedded(pictures: Vec<Tensor<Flex, 4>>) -> Embeddings {
        embed(&SmallPictures, Tensor::cat(pictures, 0))
    }

    #[test]
    fn a_picture_is_itself_and_not_its_opposite() {
        let seen = embedded(vec![picture(0, 0.9), picture(0, 0.3), picture(1, 0.9)]);
        let identity = Identity::of(&seen[..2]);
        assert!((identity.of_picture(&seen[1]) - 1.0).abs() < 1e-6);
        assert!((identity.of_picture(&seen[2]) + 1.0).abs() < 1e-6);
        assert!(identity.score(&seen[1..]).abs() < 1e-6);
        assert!((Identity::ceiling(&seen[..2]) - 1.0).abs() < 1e-6);
        assert!((Identity::ceiling(&[seen[0].clone(), seen[2].clone()]) + 1.0).abs() < 1e-6);
        let identities = [Identity::of(&seen[2..]), identity];
        assert_eq!(Identity::nearest(&identities, &seen[0]), Some(1));
    }
}
