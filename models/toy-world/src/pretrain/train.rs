//! The training loop that all parts share.

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

use super::config::StageConfig;
use super::optimizer::Optimizer;
use super::parameters::{gradients, kinds, parameters, with_parameters};
use super::state;

/// What is trained, and on what.
pub trait Stage<B: TrainBackend>: Sync {
    /// The network.
    type Module: Module<B>;

    /// The mean loss over samples, `[1]`: a function of the network's weights and the samples'
    /// numbers, which count up from the beginning of training.
    ///
    /// # Errors
    /// If the samples cannot be made.
    fn loss(&self, module: &Self::Module, samples: Range<u64>) -> Result<Tensor<B, 1>>;
}

/// What happens during training.
#[derive(Debug)]
pub enum Event<'a, M> {
    /// A step is done.
    Step(&'a Progress),
    /// It is time to look at what the averaged network does.
    Preview {
        /// Steps done.
        step: usize,
        /// The network with averaged weights.
        module: &'a M,
    },
}

/// One line of `curve.jsonl`: means over the steps since the line before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps done.
    pub step: usize,
    /// The loss.
    pub loss: f64,
    /// The gradient's length.
    pub gradient: f64,
    /// The learning rate.
    pub rate: f64,
    /// Seconds per step.
    pub seconds: f64,
}

/// Steps per line of the curve.
const LINE: usize = 10;

/// Trains `module` from its weights or from the state in `folder`, and returns it with averaged
/// weights, or `None` if it was stopped; the state is then saved.
///
/// # Errors
/// If the loss is no longer finite, or a file cannot be read or written.
pub fn train<B: TrainBackend, S: Stage<B>>(
    stage: &S,
    module: S::Module,
    config: &StageConfig,
    folder: &Path,
    mut observe: impl FnMut(Event<'_, S::Module>) -> Flow,
) -> Result<Option<S::Module>> {
    let mut optimizer = Optimizer::new(parameters::<B, _>(&module), kinds(&module));
    state::restore(folder, &mut optimizer, config)?;
    let mut curve = Curve::open(folder, optimizer.step)?;
    let shards = Shards::new(config);
    while optimizer.step < config.steps {
        let started = Instant::now();
        let rate = config.rate_at(optimizer.step);
        let (value, gradient) = shards.gradient::<B, S>(stage, &module, &optimizer)?;
        let norm = optimizer.update(&gradient, config);
        if !(value.is_finite() && norm.is_finite()) {
            let step = optimizer.step;
            let text = format!(
                "the loss is {value} and its gradient's length {norm} at step {step}; use a lower `rate`"
            );
            return Err(Error::Invalid(text));
        }
        let step = optimizer.step;
        let seconds = started.elapsed().as_secs_f64();
        let mean = curve.add(Progress { step, loss: value, gradient: norm, rate, seconds });
        let flow = observe(Event::Step(&mean));
        if step.is_multiple_of(config.preview_every) || step == config.steps {
            let averaged = with_parameters::<B, _>(module.clone(), optimizer.averages());
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
    Ok(Some(with_parameters::<B, _>(module, optimizer.averages())))
}

/// By parameter, `[elements]` each.
type Gradient<B> = Vec<Tensor<<B as AutodiffBackend>::InnerBackend, 1>>;

/// Threads that compute parts of a minibatch side by side. The operations of a small network are
/// too short to be shared well among cores; whole passes are not.
struct Shards {
    pools: Vec<ThreadPool>,
    batch: u64,
}

impl Shards {
    fn new(config: &StageConfig) -> Self {
        let count = config.shards.clamp(1, config.batch.max(1));
        let threads = (rayon::current_num_threads() / count).max(1);
        let pool = |_| ThreadPoolBuilder::new().num_threads(threads).build();
        let pools = (0..count).map(pool).collect::<std::result::Result<_, _>>();
        Self { pools: pools.expect("the system gives threads"), batch: config.batch as u64 }
    }

    /// The loss of the optimiser's next step and its gradient, by parameter.
    fn gradient<B: TrainBackend, S: Stage<B>>(
        &self,
        stage: &S,
        module: &S::Module,
        optimizer: &Optimizer<B::InnerBackend>,
    ) -> Result<(f64, Gradient<B>)> {
        let first = optimizer.step as u64 * self.batch;
        let edge = |shard: usize| first + self.batch * shard as u64 / self.pools.len() as u64;
        let pass = |shard: usize, module: S::Module| {
            let samples = edge(shard)..edge(shard + 1);
            let share = (samples.end - samples.start) as f64 / self.batch as f64;
            let module = with_parameters::<B, _>(module, optimizer.values());
            let loss = stage.loss(&module, samples)?.mul_scalar(share);
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

/// `curve.jsonl`, kept until the state that it belongs to is saved.
struct Curve {
    file: PathBuf,
    lines: Vec<Progress>,
    open: Vec<Progress>,
}

impl Curve {
    /// The curve up to the step that training goes on from.
    fn open(folder: &Path, step: usize) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let file = folder.join("curve.jsonl");
        let mut lines = if step > 0 { read_curve(&file)? } else { Vec::new() };
        lines.retain(|line| line.step <= step);
        Ok(Self { file, lines, open: Vec::new() })
    }

    /// Adds a step; returns the means since the last line.
    fn add(&mut self, progress: Progress) -> Progress {
        self.open.push(progress);
        let mean = self.mean();
        if progress.step.is_multiple_of(LINE) {
            self.end_line();
        }
        mean
    }

    fn end_line(&mut self) {
        if !self.open.is_empty() {
            self.lines.push(self.mean());
            self.open.clear();
        }
    }

    /// Of the steps since the last line, of which there is one at least.
    fn mean(&self) -> Progress {
        let mean = |of: fn(&Progress) -> f64| {
            self.open.iter().map(of).sum::<f64>() / self.open.len() as f64
        };
        Progress {
            step: self.open.last().expect("a step").step,
            loss: mean(|p| p.loss),
            gradient: mean(|p| p.gradient),
            rate: mean(|p| p.rate),
            seconds: mean(|p| p.seconds),
        }
    }

    /// Writes all steps so far.
    fn flush(&mut self) -> Result<()> {
        self.end_line();
        let line = |line| serde_json::to_string(line).expect("a line is JSON") + "\n";
        Ok(write_atomic(&self.file, self.lines.iter().map(line).collect::<String>().as_bytes())?)
    }
}

/// The lines of `curve.jsonl`, each for the steps since the line before.
///
/// # Errors
/// If it is not there or damaged.
pub(super) fn read_curve(file: &Path) -> Result<Vec<Progress>> {
    let text = fs::read_to_string(file).map_err(Error::io("cannot read", file))?;
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().map_err(|e| Error::damaged(file, e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pretrain::initialised;
    use burn::backend::Autodiff;
    use burn::nn::{Linear, LinearConfig};
    use seqlora_core::rng::{Seed, normal};
    use seqlora_kernels::Flex;

    type B = Autodiff<Flex>;

    /// A linear layer is to double what it gets.
    struct Doubling;

    impl Stage<B> for Doubling {
        type Module = Linear<B>;

        fn loss(&self, module: &Linear<B>, samples: Range<u64>) -> Result<Tensor<B, 1>> {
            let count = (samples.end - samples.start) as usize;
            let x: Tensor<B, 2> =
                normal([count, 3], &mut Seed::new(1).at(samples.start), &Default::default());
            Ok((module.forward(x.clone()) - x.mul_scalar(2.0)).powi_scalar(2).mean())
        }
    }

    fn config() -> StageConfig {
        StageConfig {
            steps: 150,
            batch: 8,
            warmup: 5,
            rate: 0.05,
            average: 0.5,
            ..StageConfig::default()
        }
    }

    /// Trains in a folder up to a step; the weights if that was the last.
    fn run(folder: &Path, config: &StageConfig, until: usize) -> Result<Option<Vec<f32>>> {
        let device = Default::default();
        let module = LinearConfig::new(3, 3).init::<B>(&device);
        let module = initialised(module, &Seed::new(0), &device);
        let stop = |event: Event<'_, Linear<B>>| match event {
            Event::Step(progress) if progress.step >= until => Flow::Stop,
            _ => Flow::Continue,
        };
        let trained = train(&Doubling, module, config, folder, stop)?;
        let last = read_curve(&folder.join("curve.jsonl"))?.last().map(|line| line.step);
        assert_eq!(last, Some(until.min(config.steps)), "the curve reaches the last step");
        Ok(trained.map(|module| module.weight.val().to_data().iter::<f32>().collect()))
    }

    #[test]
    fn a_resumed_training_is_an_unbroken_one() {
        let [unbroken, broken] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let config = config();
        let weights = run(unbroken.path(), &config, config.steps).unwrap().unwrap();
        assert!(run(broken.path(), &config, 17).unwrap().is_none(), "it was stopped");
        assert_eq!(run(broken.path(), &config, config.steps).unwrap().unwrap(), weights);
        assert!((weights[0] - 2.0).abs() < 0.1 && weights[1].abs() < 0.1, "{weights:?}");
    }

    #[test]
    fn only_the_length_of_a_training_may_change() {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &config(), 10).unwrap();
        let other = StageConfig { rate: 0.01, ..config() };
        let refusal = run(folder.path(), &other, 150).unwrap_err().to_string();
        assert!(refusal.contains("other settings"), "{refusal}");
        let longer = StageConfig { steps: 160, save_every: 7, ..config() };
        assert!(run(folder.path(), &longer, 160).unwrap().is_some());
    }
}
