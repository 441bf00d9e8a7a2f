//! What a run will take, in memory and time, and whether the device has it.

use std::time::Duration;

use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::methods::Work;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::models::memory::{MemoryEstimate, training_estimate};
use burn_seqlora::train::{ConceptPlan, LearnPlan, resolution, step_seconds};
use serde_json::{Value, json};

use crate::device::Device;
use crate::failure::Failure;
use crate::machine::{self, Memory};
use crate::terminal::{Terminal, bytes, seconds};

/// The bytes that can still be had on a device on which a model is loaded; `None` where it does not tell.
pub fn available<B: TrainBackend>(device: Device, model: &StableDiffusion<B>) -> Option<u64> {
    match device {
        Device::Cpu => {
            // That the model is loaded is not part of a control group's limit.
            let Memory { total, available } = machine::memory()?;
            Some(available.min(total.saturating_sub(model.weight_bytes() as u64)))
        }
        Device::Cuda(number) => free_on_gpu(number),
        Device::Wgpu(_) => None,
    }
}

#[cfg(feature = "cuda")]
fn free_on_gpu(number: usize) -> Option<u64> {
    let (free, _) = cudarc::driver::CudaContext::new(number).ok()?.mem_get_info().ok()?;
    Some(free as u64)
}

#[cfg(not(feature = "cuda"))]
fn free_on_gpu(_: usize) -> Option<u64> {
    None
}

/// The memory of the concept that takes the most; `None` without concepts.
pub fn estimate<B: TrainBackend>(
    model: &StableDiffusion<B>,
    concepts: &[ConceptPlan],
    work: Work,
) -> Result<Option<MemoryEstimate>, Failure> {
    let of_concept = |concept: &ConceptPlan| {
        let side = resolution(&concept.config, model)?;
        Ok(training_estimate(model, concept, work, side))
    };
    let estimates = concepts.iter().map(of_concept).collect::<Result<Vec<_>, Failure>>()?;
    Ok(estimates.into_iter().max_by_key(MemoryEstimate::total))
}

/// What a run will take. Without a concept to learn there is nothing.
pub struct Forecast {
    /// Of the concept that takes the most.
    memory: Option<MemoryEstimate>,
    /// Bytes that the device has left.
    available: Option<u64>,
    /// Seconds of a step and of all steps that are left; not measured where the memory does not suffice.
    time: Option<(f64, f64)>,
}

impl Forecast {
    /// Estimates the memory, and times a loss if there is enough of it or the start is forced.
    pub fn new<B: TrainBackend>(
        model: &StableDiffusion<B>,
        plan: &LearnPlan,
        work: Work,
        available: Option<u64>,
        force: bool,
    ) -> Result<Self, Failure> {
        let memory = estimate(model, &plan.concepts, work)?;
        let mut forecast = Self { memory, available, time: None };
        if let Some(concept) =
            plan.concepts.first().filter(|_| force || forecast.fits() != Some(false))
        {
            let step = step_seconds(model, concept, work)?;
            let left = |concept: &ConceptPlan| concept.config.steps - concept.resume_at;
            let steps: usize = plan.concepts.iter().map(left).sum();
            forecast.time = Some((step, step * steps as f64));
        }
        Ok(forecast)
    }

    /// Whether the memory suffices, if that can be known.
    fn fits(&self) -> Option<bool> {
        Some(self.memory?.check(self.available?).is_ok())
    }

    /// Refuses a run that does not fit.
    pub fn check(&self, force: bool) -> Result<(), Failure> {
        match (self.memory, self.available) {
            (Some(memory), Some(available)) if !force => Ok(memory.check(available)?),
            _ => Ok(()),
        }
    }

    /// For people.
    pub fn show(&self, terminal: &Terminal) {
        if let Some(memory) = &self.memory {
            let MemoryEstimate { weights, trainable, activations, encoding } = *memory;
            let available = match self.available {
                Some(available) => format!("{} are available", bytes(available as usize)),
                None => "what the device has is not known".into(),
            };
            terminal.line(
                "memory",
                format!(
                    "about {} (weights {}, adapter and optimisers {}, activations {}, or encoding an image \
                     {}); besides the weights, {available}",
                    bytes(memory.total() as usize),
                    bytes(weights as usize),
                    bytes(trainable as usize),
                    bytes(activations as usize),
                    bytes(encoding as usize),
                ),
            );
        }
        if let Some((step, all)) = self.time {
            let [step, all] = [step, all]
                .map(|time| seconds(Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX)));
            let text = format!("about {step} per step, {all} in all, extrapolated from one loss");
            terminal.line("time", text);
        }
    }

    /// For machines: bytes.
    pub fn memory_json(&self) -> Value {
        let Some(memory) = &self.memory else { return Value::Null };
        json!({
            "total": memory.total(),
            "beside_the_model": memory.beside_the_model(),
            "parts": memory,
            "available": self.available,
            "fits": self.fits(),
        })
    }

    /// For machines: seconds.
    pub fn time_json(&self) -> Value {
        self.time.map_or(Value::Null, |(step, all)| json!({ "per_step": step, "total": all }))
    }
}
