//! The training loop of all tasks.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use burn::module::Module;
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{ElementConversion, Tensor};
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use seqlora_core::error::{Error, Result};
use seqlora_core::train::Flow;
use seqlora_files::write_atomic;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};

use super::config::TaskConfig;
use super::optimizer::Optimizer;
use super::parameters::{gradients, kinds, parameters, with_parameters};
use super::state;

/// A network and the loss that it is trained with.
pub trait Task<B: TrainBackend>: Sync {
    /// The network.
    type Module: Module<B>;

    /// The mean loss over samples, `[1]`: a function of the network's weights and the numbers of
    /// the samples, which count from 0 at the first step.
    ///
    /// # Errors
    /// If the samples cannot be generated.
    fn loss(&self, module: &Self::Module, samples: Range<u64>) -> Result<Tensor<B, 1>>;
}

/// An event during training.
#[derive(Debug)]
pub enum Event<'a, M> {
    /// A step was taken.
    Step(&'a Progress),
    /// `preview_every` steps have passed since the last preview, or a training of more steps has ended.
    Preview {
        /// The number of steps so far.
        step: usize,
        /// The network with the EMA of its weights.
        module: &'a M,
    },
}

/// One line of `curve.jsonl`: means over the steps since the previous line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The number of steps so far.
    pub step: usize,
    /// The loss.
    pub loss: f64,
    /// The norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate.
    pub lr: f64,
    /// Seconds per step.
    pub seconds: f64,
}

/// Steps per line of the curve.
const STEPS_PER_LINE: usize = 10;

/// Trains `module` from its own weights, or from the saved state in `folder` if there is one.
/// Returns it with the EMA of its weights, or `None` if `observe` stopped the training, whose state
/// is then saved.
///
/// # Errors
/// If the loss or its gradient is not finite, or a file cannot be read or written.
pub fn train<B: TrainBackend, S: Task<B>>(
    task: &S,
    module: S::Module,
    config: &TaskConfig,
    folder: &Path,
    mut observe: impl FnMut(Event<'_, S::Module>) -> Flow,
) -> Result<Option<S::Module>> {
    let mut optimizer = Optimizer::new(parameters::<B, _>(&module), kinds(&module));
    state::restore(folder, &mut optimizer, config)?;
    let mut curve = Curve::open(folder, optimizer.step)?;
    let shards = Shards::new(config);
    while optimizer.step < config.steps {
        let started = Instant::now();
        let lr = config.lr_at(optimizer.step);
        let (value, gradient) = shards.gradient::<B, S>(task, &module, &optimizer)?;
        let norm = optimizer.update(&gradient, config);
        if !(value.is_finite() && norm.is_finite()) {
            let step = optimizer.step;
            let text = format!(
                "the loss is {value} and the norm of its gradient {norm} at step {step}; use a \
                 lower `lr`"
            );
            return Err(Error::Invalid(text));
        }
        let step = optimizer.step;
        let seconds = started.elapsed().as_secs_f64();
        let mean = curve.add(Progress { step, loss: value, gradient_norm: norm, lr, seconds });
        let flow = observe(Event::Step(&mean));
        let ends = step == config.steps && config.steps > config.preview_every;
        if step.is_multiple_of(config.preview_every) || ends {
            let averaged = with_parameters::<B, _>(module.clone(), optimizer.ema());
            observe(Event::Preview { step, module: &averaged });
        }
        if step.is_multiple_of(config.save_every) || step == config.steps || flow == Flow::Stop {
            state::save(folder, &optimizer, config)?;
            curve.flush()?;
        }
        if flow == Flow::Stop && step < config.steps {
            return Ok(None);
        }
    }
    Ok(Some(with_parameters::<B, _>(module, optimizer.ema())))
}

/// The gradient of each parameter, `[elements]` each.
type Gradient<B> = Vec<Tensor<<B as AutodiffBackend>::InnerBackend, 1>>;

/// Thread pools that compute the parts of a minibatch in parallel. The operations of a small
/// network are too short to use several cores well, while whole forward and backward passes are
/// long enough.
struct Shards {
    pools: Vec<ThreadPool>,
    batch: u64,
}

impl Shards {
    fn new(config: &TaskConfig) -> Self {
        let count = config.shards.clamp(1, config.batch.max(1));
        let threads = (rayon::current_num_threads() / count).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(threads).build();
        let pools = (0..count).map(pool).collect::<std::result::Result<_, _>>();
        Self { pools: pools.expect("the system gives threads"), batch: config.batch as u64 }
    }

    /// The loss of the optimiser's next step and its gradient.
    fn gradient<B: TrainBackend, S: Task<B>>(
        &self,
        task: &S,
        module: &S::Module,
        optimizer: &Optimizer<B::InnerBackend>,
    ) -> Result<(f64, Gradient<B>)> {
        let first = optimizer.step as u64 * self.batch;
        let edge = |shard: usize| first + self.batch * shard as u64 / self.pools.len() as u64;
        let pass = |shard: usize, module: S::Module| {
            let samples = edge(shard)..edge(shard + 1);
            let share = (samples.end - samples.start) as f64 / self.batch as f64;
            let module = with_parameters::<B, _>(module, optimizer.values());
            let loss = task.loss(&module, samples)?.mul_scalar(share);
            let value: f64 = loss.clone().into_scalar().elem();
            Ok((value, gradients::<B, _>(&module, &loss.backward())))
        };
        let parts: Vec<Result<_>> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for (shard, pool) in self.pools.iter().enumerate() {
                let (module, pass) = (module.clone(), &pass);
                threads.push(scope.spawn(move || pool.install(|| pass(shard, module))));
            }
            threads
                .into_iter()
                .map(|thread| thread.join().expect("a pass does not panic"))
                .collect()
        });
        let add =
            |x: Gradient<B>, y: Gradient<B>| x.into_par_iter().zip(y).map(|(x, y)| x + y).collect();
        let sum = |(a, x): (f64, Gradient<B>), (b, y): (f64, Gradient<B>)| (a + b, add(x, y));
        let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(parts.into_iter().reduce(sum).expect("there is a shard"))
    }
}

/// The lines of `curve.jsonl`. They are written together with the state that they belong to.
struct Curve {
    file: PathBuf,
    lines: Vec<Progress>,
    /// The steps since the last line.
    pending: Vec<Progress>,
}

impl Curve {
    /// The curve up to the step at which training starts or resumes.
    fn open(folder: &Path, step: usize) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let file = folder.join("curve.jsonl");
        let mut lines = if step > 0 { read_curve(&file)? } else { Vec::new() };
        lines.retain(|line| line.step <= step);
        Ok(Self { file, lines, pending: Vec::new() })
    }

    /// Adds a step and returns the means since the last line.
    fn add(&mut self, progress: Progress) -> Progress {
        self.pending.push(progress);
        let mean = self.mean();
        if progress.step.is_multiple_of(STEPS_PER_LINE) {
            self.end_line();
        }
        mean
    }

    fn end_line(&mut self) {
        if !self.pending.is_empty() {
            self.lines.push(self.mean());
            self.pending.clear();
        }
    }

    /// The means over the steps since the last line, of which there is at least one.
    fn mean(&self) -> Progress {
        let mean = |of: fn(&Progress) -> f64| {
            self.pending.iter().map(of).sum::<f64>() / self.pending.len() as f64
        };
        Progress {
            step: self.pending.last().expect("a step").step,
            loss: mean(|p| p.loss),
            gradient_norm: mean(|p| p.gradient_norm),
            lr: mean(|p| p.lr),
            seconds: mean(|p| p.seconds),
        }
    }

    /// Writes the file with all steps so far.
    fn flush(&mut self) -> Result<()> {
        self.end_line();
        let line = |line| serde_json::to_string(line).expect("a line is JSON") + "\n";
        Ok(write_atomic(&self.file, self.lines.iter().map(line).collect::<String>().as_bytes())?)
    }
}

/// The lines of `curve.jsonl`.
///
/// # Errors
/// If the file is missing or damaged.
pub(super) fn read_curve(file: &Path) -> Result<Vec<Progress>> {
    let text = fs::read_to_string(file).map_err(Error::io("cannot read", file))?;
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|e| Error::damaged(file, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::initial::initialised;
    use burn::backend::Autodiff;
    use burn::nn::{Linear, LinearConfig};
    use seqlora_core::rng::{Seed, normal};
    use seqlora_kernels::Flex;

    type B = Autodiff<Flex>;

    /// The task of doubling a vector with a linear layer.
    struct Doubling;

    impl Task<B> for Doubling {
        type Module = Linear<B>;

        fn loss(&self, module: &Linear<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
            let count = (samples.end - samples.start) as usize;
            let x: Tensor<B, 2> =
                normal([count, 3], &mut Seed::new(1).at(samples.start), &Default::default());
            Ok((module.forward(x.clone()) - x.mul_scalar(2.0)).powi_scalar(2).mean())
        }
    }

    fn config() -> TaskConfig {
        TaskConfig {
            steps: 150,
            batch: 8,
            warmup: 5,
            lr: 0.05,
            ema_decay: 0.5,
            ..TaskConfig::default()
        }
    }

    /// Trains in a folder up to a step; returns the weights if that was the last one.
    fn run(folder: &Path, config: &TaskConfig, until: usize) -> Result<Option<Vec<f32>>> {
        let device = Default::default();
        let module = LinearConfig::new(3, 3).init::<B>(&device);
        let module = initialised(module, &Seed::new(0), &device);
        let stop = |event: Event<'_, Linear<B>>| match event {
            Event::Step(progress) if progress.step >= until => Flow::Stop,
            _ => Flow::Continue,
        };
        let trained = train(&Doubling, module, config, folder, stop)?;
        let last = read_curve(&folder.join("curve.jsonl"))?.last().map(|line| line.step);
        assert_eq!(last, Some(until.min(config.steps)), "the last step of the curve");
        Ok(trained.map(|module| module.weight.val().to_data().iter::<f32>().collect()))
    }

    #[test]
    fn a_resumed_training_equals_an_uninterrupted_one() {
        let [uninterrupted, resumed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let config = config();
        let weights = run(uninterrupted.path(), &config, config.steps).unwrap().unwrap();
        assert!(run(resumed.path(), &config, 17).unwrap().is_none(), "it was stopped");
        assert_eq!(run(resumed.path(), &config, config.steps).unwrap().unwrap(), weights);
        assert!((weights[0] - 2.0).abs() < 0.1 && weights[1].abs() < 0.1, "{weights:?}");
    }

    #[test]
    fn only_the_number_of_steps_and_intervals_may_change() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &config(), 10).unwrap();
        let other = TaskConfig { lr: 0.01, ..config() };
        let error = run(folder.path(), &other, 150).unwrap_err().to_string();
        assert!(error.contains("other settings"), "{error}");
        let longer = TaskConfig { steps: 160, save_every: 7, ..config() };
        assert!(run(folder.path(), &longer, 160).unwrap().is_some());
    }
}
