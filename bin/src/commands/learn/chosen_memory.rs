//! Whether activations are kept, by what the device has left.

use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods::Method;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::models::memory::MemoryEstimate;
use burn_seqlora::settings::{Memory, TrainConfig};
use burn_seqlora::train::LearnPlan;

use super::forecast::estimate;
use crate::failure::Failure;
use crate::terminal::{Terminal, bytes};

/// What suits the device, and why.
pub struct Chosen {
    /// What it is.
    pub memory: Memory,
    reason: String,
}

impl Chosen {
    /// Chooses for all concepts of a plan, which was made with [`Memory::Fast`], and writes it into the plan.
    pub fn new<B: TrainBackend>(
        model: &StableDiffusion<B>,
        plan: &mut LearnPlan,
        method: &dyn Method<B>,
        config: &TrainConfig,
        available: Option<u64>,
    ) -> Result<Self, Failure> {
        let fast = estimate(model, &plan.concepts, method.work(config))?;
        let low = TrainConfig { memory: Memory::Low, ..config.clone() };
        let chosen = match fast.zip(available) {
            None => Self::fast("what the device has left is not known"),
            Some((fast, available)) if fast.check(available).is_ok() => Self::fast("it fits"),
            Some(_) if low.validate().is_err() => {
                Self::fast("these settings cannot be trained in low memory")
            }
            Some((fast, _)) => Self::low(&fast),
        };
        for concept in &mut plan.concepts {
            concept.config.memory = chosen.memory;
        }
        Ok(chosen)
    }

    fn fast(reason: &str) -> Self {
        Self { memory: Memory::Fast, reason: format!("fast: {reason}") }
    }

    fn low(fast: &MemoryEstimate) -> Self {
        let reason = format!("low: fast takes about {}", bytes(fast.total() as usize));
        Self { memory: Memory::Low, reason }
    }

    /// For people.
    pub fn show(&self, terminal: &Terminal) {
        terminal.line("", &self.reason);
    }
}
