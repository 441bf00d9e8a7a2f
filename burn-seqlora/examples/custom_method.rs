//! A training method of one's own: B stays as it was drawn, orthogonal to earlier concepts, and A alone
//! is trained, as in LoRA-FA (arXiv 2308.03303).
//!
//! Planning, checkpoints, the bank and the composition ask the trait [`Method`] and need no change.
//!
//! ```sh
//! cargo run --release -p burn-seqlora --example custom_method
//! ```

mod drawn_photos;

use std::error::Error;

use burn_seqlora::methods::{Method, Problem, StepTensors, TrainState, Work};
use burn_seqlora::objective::Wrt;
use burn_seqlora::prelude::*;

#[derive(Debug)]
struct FrozenDown;

impl<B: TrainBackend> Method<B> for FrozenDown {
    fn name(&self) -> &'static str {
        "frozen-down"
    }

    fn description(&self) -> &'static str {
        "with A alone, while B stays as it was drawn"
    }

    /// One gradient per minibatch: for estimates of time and memory.
    fn work(&self, _: &TrainConfig) -> Work {
        Work { gradients: 1, hessian_products: 0, cached: 0 }
    }

    /// AdamW in A and in the embeddings of the concept's words. By default B starts with random
    /// orthonormal columns, orthogonal to the B of every concept in the bank.
    fn step(
        &self,
        problem: &Problem<'_, B>,
        state: &mut TrainState<B::InnerBackend>,
    ) -> StepTensors<B::InnerBackend> {
        let gradient = problem.gradient((0, 0), &state.parameters, Wrt::UpAndEmbeddings);
        let (up, decay) = (&state.parameters.adapters.up, problem.settings.weight_decay);
        let rate = |site| problem.learning_rate(site, state.step);
        state.parameters.adapters.up = state.inner.step(up, &gradient.up, rate, decay);
        let embedding_norm = gradient.embeddings.map(|g| problem.step_embeddings(state, g));
        StepTensors { loss: gradient.loss, slope: gradient.up.norm_tensor(), embedding_norm }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (photos, bank) = (folder.path().join("photos"), folder.path().join("bank"));
    drawn_photos::draw_mugs(&photos)?;

    let model = Model::<Autodiff<Flex>>::load("builtin")?;
    let config = TrainConfig { steps: 8, batch: 1, ..TrainConfig::default() };
    let learning = Learning::new(&model, &config).method(&FrozenDown);
    println!("{:?}", learning.run(&photos, &bank, |_| Flow::Continue)?);
    Ok(())
}
