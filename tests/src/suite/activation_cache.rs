//! The activation cache takes every layer's results, and no other evaluation's: trainings that run within
//! each other, or beside each other on a pool of threads, end as each of them alone.
//!
//! A thread of a work-stealing pool may run any other task while it waits for a kernel. Here every
//! evaluation of a toy's loss does so once.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::backend::Autodiff;
use burn::tensor::{DType, Tensor};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::directions::Columns;
use burn_seqlora::lora::{AdapterSet, Bases, DualAdapters};
use burn_seqlora::objective::Objective;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::Trainer;
use rayon::{ThreadPoolBuilder, Yield, prelude::*, yield_now};

use super::second_order::Problem;
use crate::derivatives::gradient_with_cache;
use crate::fixtures::{Fixture, assert_identical};
use crate::toy::training::{config, method};
use crate::toy::{Net, Sample, Toy};

/// Layers wide enough for their activations to be cached; all trainings have these shapes.
const TOY: Toy = Toy { widths: &[512, 520, 6], rank: 2, dtype: DType::F32 };
const CONCEPTS: usize = 4;
const STEPS: usize = 2;

/// A loss that lets something else run in the middle of its evaluation.
struct Interrupted<'a, B: KernelBackend> {
    net: Net<Autodiff<B>>,
    interrupt: &'a dyn Fn(),
}

impl<B: KernelBackend> Objective<Autodiff<B>> for Interrupted<'_, B> {
    type Sample = Sample<Autodiff<B>>;

    fn loss(
        &self,
        adapters: &DualAdapters<Autodiff<B>>,
        rows: Option<&Tensor<Autodiff<B>, 2>>,
        sample: &Self::Sample,
    ) -> Dual<Autodiff<B>, 1> {
        (self.interrupt)();
        self.net.loss(adapters, rows, sample)
    }
}

/// Learns a concept, from a start and on minibatches that no other has.
fn train<B: KernelBackend>(concept: usize, interrupt: &dyn Fn()) -> AdapterSet<B> {
    let config = TrainConfig { inner: 2, ..config() };
    let (sites, basis) = (TOY.sites(), Bases::default());
    let objective = Interrupted { net: TOY.net(), interrupt };
    let trainer = Trainer {
        objective: &objective,
        method: method(&config),
        settings: &config,
        sites: &sites,
        basis: &basis,
    };
    let ranks = [TOY.rank; 2];
    let mut state = TOY.state(&config, &ranks, &vec![Columns::new(); 2], concept as u64);
    for step in 0..STEPS {
        let sample = TOY.sample((STEPS * concept + step) as u64);
        trainer.step(&mut state, |_, _| &sample);
    }
    state.parameters.adapters
}

fn assert_same<B: KernelBackend>(concept: usize, a: &AdapterSet<B>, b: &AdapterSet<B>) {
    assert_identical(&format!("A of concept {concept}"), &a.up, &b.up);
    assert_identical(&format!("B of concept {concept}"), &a.down, &b.down);
}

/// A layer that did not hand on the evaluation's pass would be computed anew in every Hessian product,
/// and nothing else would show it.
pub fn every_layer_is_cached<B: KernelBackend>(_: f64) {
    let problem = Problem::<Autodiff<B>>::new();
    let (loss, at, sample) = (problem.loss(), problem.parameters(), problem.sample(""));
    let (_, cache) = gradient_with_cache::<Autodiff<B>, _>(&loss, &at, &sample);
    // Linear layers and convolutions: all weights but those of normalisations and embedding tables.
    let is_layer = |name: &String| {
        let others = ["norm", "position_embedding", "token_embedding"];
        name.ends_with(".weight") && !others.iter().any(|other| name.contains(other))
    };
    let layers = ["unet/diffusion_pytorch_model", "text_encoder/model"].map(|part| {
        let weights = Fixture::open(&format!("tiny-sd1/{part}.safetensors"));
        weights.names().iter().filter(|name| is_layer(name)).count()
    });
    assert_eq!(cache.operations(), layers.iter().sum::<usize>(), "{layers:?}");
}

/// Other concepts are learnt within each evaluation of the first one's loss, on the same thread.
pub fn a_training_within_another_changes_neither<B: KernelBackend>(_: f64) {
    let alone: Vec<_> = (0..CONCEPTS).map(|concept| train::<B>(concept, &|| ())).collect();
    let interruptions = Cell::new(0);
    let another = || {
        let concept = 1 + interruptions.get() % (CONCEPTS - 1);
        interruptions.set(interruptions.get() + 1);
        assert_same(concept, &train::<B>(concept, &|| ()), &alone[concept]);
    };
    assert_same(0, &train::<B>(0, &another), &alone[0]);
    // T inner gradients, the outer one, and T Hessian products.
    assert_eq!(interruptions.get(), STEPS * (2 + 1 + 2));
}

/// All concepts at once, each of which takes up the others' work wherever its loss is evaluated.
pub fn trainings_on_one_pool_change_nothing<B: KernelBackend>(_: f64) {
    for threads in [1, 2] {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let executed = AtomicUsize::new(0);
        let yielding = |concept| {
            train::<B>(concept, &|| {
                if yield_now() == Some(Yield::Executed) {
                    executed.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        pool.install(|| {
            let alone: Vec<_> = (0..CONCEPTS).map(|concept| train::<B>(concept, &|| ())).collect();
            for _ in 0..8 {
                let together: Vec<_> = (0..CONCEPTS).into_par_iter().map(yielding).collect();
                for (concept, (together, alone)) in together.iter().zip(&alone).enumerate() {
                    assert_same(concept, together, alone);
                }
            }
        });
        assert!(executed.into_inner() > 0, "{threads} threads: no evaluation was interrupted");
    }
}
