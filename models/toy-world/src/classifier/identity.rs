//! How similar the object of an image is to an individual, by cosine of embeddings.

use burn::tensor::{Tensor, backend::Backend};
use seqlora_kernels::matmul::{MatMul, Times};

/// Rows scaled to length one. A row of zeros stays zero.
pub fn normalised<B: Backend>(rows: Tensor<B, 2>) -> Tensor<B, 2> {
    let length = (rows.clone() * rows.clone()).sum_dim(1).add_scalar(1e-12).sqrt();
    rows / length
}

/// The direction of an individual, `[1, width]`: the mean of the embeddings of its reference
/// images, `[references, width]`, scaled to length one.
pub fn direction<B: Backend>(references: Tensor<B, 2>) -> Tensor<B, 2> {
    normalised(references.mean_dim(0))
}

/// The cosine similarity of each image to each individual, -1 to 1.
///
/// # Shapes
/// - embeddings: `[images, width]`, directions: `[individuals, width]`, both of length one
/// - output: `[images, individuals]`
pub fn scores<B: MatMul>(embeddings: Tensor<B, 2>, directions: Tensor<B, 2>) -> Tensor<B, 2> {
    embeddings.times(directions.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqlora_kernels::Flex;

    #[test]
    fn a_direction_is_the_normalised_mean_of_its_references() {
        let rows = |rows| Tensor::<Flex, 2>::from_data(rows, &Default::default());
        let apart = direction(rows([[1.0f32, 0.0], [0.0, 1.0]]));
        let cosines = scores(rows([[1.0f32, 0.0], [-1.0, 0.0]]), apart).into_data();
        let cosines: Vec<f32> = cosines.iter().collect();
        let half = 0.5f32.sqrt();
        assert!((cosines[0] - half).abs() < 1e-6 && (cosines[1] + half).abs() < 1e-6);
    }

    #[test]
    fn a_row_of_zeros_stays_finite() {
        let zeros = Tensor::<Flex, 2>::zeros([1, 4], &Default::default());
        assert_eq!(normalised(zeros).abs().max().into_scalar(), 0.0);
    }
}
