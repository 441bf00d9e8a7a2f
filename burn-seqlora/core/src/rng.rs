//! Counter-based randomness: every draw is a function of the seed and of what it is for.
//!
//! There is no state to save: step 37 of concept `dog` draws the same noise in an unbroken run, in
//! a resumed one, and on every backend.

use burn::tensor::{Tensor, TensorData, backend::Backend};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use sha2::{Digest, Sha256};

/// A seed together with the purpose of its draws.
#[derive(Debug, Clone)]
pub struct Seed {
    key: [u8; 32],
}

impl Seed {
    /// The seed that a user gives.
    pub fn new(seed: u64) -> Self {
        Self { key: Sha256::digest(seed.to_le_bytes()).into() }
    }

    /// The seed of one purpose, e.g. of a concept's id or of `"noise"`.
    pub fn fork(&self, purpose: &str) -> Self {
        let mut hash = Sha256::new_with_prefix(self.key);
        hash.update(purpose.as_bytes());
        Self { key: hash.finalize().into() }
    }

    /// The generator of one counter value, e.g. of a training step.
    pub fn at(&self, counter: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::from_seed(self.key);
        rng.set_stream(counter);
        rng
    }
}

/// Standard normal numbers, drawn on the host so that all backends see the same ones.
pub fn normal<B: Backend, const D: usize>(
    shape: [usize; D],
    rng: &mut ChaCha8Rng,
    device: &B::Device,
) -> Tensor<B, D> {
    let count = shape.iter().product();
    let values: Vec<f32> = StandardNormal.sample_iter(rng).take(count).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn a_draw_depends_on_seed_purpose_and_counter_alone() {
        let draw =
            |seed, purpose: &str, counter| Seed::new(seed).fork(purpose).at(counter).next_u64();
        assert_eq!(draw(1, "noise", 2), draw(1, "noise", 2));
        let others = [draw(2, "noise", 2), draw(1, "crop", 2), draw(1, "noise", 3)];
        assert!(others.iter().all(|other| *other != draw(1, "noise", 2)));
    }
}
