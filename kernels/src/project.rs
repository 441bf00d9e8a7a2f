//! Projection onto the orthogonal complement of the earlier concepts' directions.

use burn::tensor::{Tensor, backend::Backend};

/// `B ← B − Q (Qᵀ B)`, twice (classical Gram-Schmidt with one repetition, CGS2).
///
/// In f32 one pass leaves overlaps of 2e-4 to 1, two passes at most 1.1e-7 (methods.md §1.4), and
/// further passes change nothing.
///
/// # Shapes
/// - down: B `[inputs, rank]`, basis: Q `[inputs, directions]` with orthonormal columns
pub fn project<B: Backend>(down: Tensor<B, 2>, basis: Tensor<B, 2>) -> Tensor<B, 2> {
    let once = |b: Tensor<B, 2>| {
        let inside = basis.clone().matmul(basis.clone().transpose().matmul(b.clone()));
        b - inside
    };
    once(once(down))
}
