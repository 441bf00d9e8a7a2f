//! `evaluate --plan`: how much there will be to do, before anything is loaded.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use burn_seqlora::FoundModel;
use burn_seqlora::bank::Bank;
use burn_seqlora::eval::protocol::{
    ImageGroup, MethodPlan, Protocol, ScoreSet, Stage, images, score_sets,
};
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::kernels::matmul::Times;
use burn_seqlora::models::unet::UNetConfig;
use burn_seqlora::scorers::registry;
use serde_json::json;

use super::memory::Needs;
use super::settings::Settings;
use crate::args::Evaluate;
use crate::commands::builtin;
use crate::device::Job;
use crate::failure::Failure;
use crate::machine;
use crate::terminal::{Terminal, bytes, seconds, table};

/// A run that is only planned.
pub struct Plan<'a> {
    pub args: &'a Evaluate,
    pub settings: &'a Settings,
    pub protocol: Protocol,
    pub found: FoundModel,
    pub needs: Needs,
    /// Width and height in pixels.
    pub size: [usize; 2],
    pub terminal: &'a Terminal,
}

/// The share of the speed of a large matrix product at which a UNet runs: the built-in model on two cores with
/// other jobs beside it, measured over 88 images. SD1.5's pass of 85 · 10⁹ multiplications in 1.16 s (README) is
/// 147 · 10⁹ operations per second on two cores with AVX-512, a similar share.
const EFFICIENCY: f64 = 0.6;

/// Bytes of a PNG per pixel: photographs take 1.5 to 2 of the 3.
const PNG: usize = 2;

/// Bytes of a score on disk: its line, and that in `per_image.csv`.
const SCORE: usize = 300;

/// Tokens of an encoded prompt.
const TOKENS: f64 = 77.0;

/// What is counted.
struct Counts {
    images: usize,
    models: usize,
    sets: usize,
    scores: usize,
}

impl Job for Plan<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let methods = self.methods()?;
        let groups = images(&self.protocol, &methods, Some("base"), self.size);
        let sets = score_sets(&self.protocol, &methods, &groups, self.size);
        let metrics = self.metrics();
        let counts = count(&groups, &sets, metrics);
        let config = self.found.config();
        let step = 2.0 * products(&config.unet, self.size, config.vae.downscale());
        let guided = if self.protocol.sampling.guidance > 1.0 { 2.0 } else { 1.0 };
        let work = step * guided * (self.protocol.sampling.steps * counts.images) as f64;
        let time = work / (EFFICIENCY * speed::<B>(&device));
        let disk =
            counts.images * (PNG * self.size[0] * self.size[1] + 4096) + counts.scores * SCORE;
        let needs = self.needs;
        let available = machine::memory().map(|memory| memory.available);
        let duration = Duration::try_from_secs_f64(time).unwrap_or(Duration::MAX);
        let result = json!({
            "version": 1,
            "concepts": self.protocol.concepts.len(),
            "prompts": self.protocol.concepts.iter().map(|c| c.prompts.len()).sum::<usize>(),
            "seeds": self.protocol.seeds.len(),
            "methods": methods.iter().map(|method| &method.name).collect::<Vec<_>>(),
            "images": counts.images,
            "models": counts.models,
            "score_sets": counts.sets,
            "scores": counts.scores,
            "seconds": time,
            "memory": { "parts": needs, "total": needs.total(), "available": available },
            "disk": disk,
            "deviations": self.protocol.deviations(),
        });
        self.terminal.result(&result, || {
            let Counts { images, models, sets, scores } = counts;
            let [all, weights, sampling, references, disk] =
                [needs.total(), needs.weights, needs.sampling, needs.references, disk].map(bytes);
            let rows = [
                ("images", format!("{images} by {models} models")),
                ("scores", format!("{scores} in {sets} sets, by {metrics} metrics")),
                ("time", format!("about {} of sampling, from the speed of a matrix product", long(duration))),
                ("memory", format!("about {all}: weights {weights}, sampling {sampling}, references {references}")),
                ("disk", format!("about {disk}")),
            ];
            let rows: Vec<Vec<String>> =
                rows.into_iter().map(|(name, text)| vec![name.to_string(), text]).collect();
            let notes = self.protocol.deviations().join("\n  ");
            format!("{}\nnot as in {}:\n  {notes}", table(&rows), self.protocol.profile.name())
        })
    }
}

impl Plan<'_> {
    /// The methods as far as they are known; without any, one that has learnt all concepts.
    fn methods(&self) -> Result<Vec<MethodPlan>, Failure> {
        let count = self.protocol.concepts.len();
        let plan = |name: &str, places: Vec<usize>, concepts: usize, fused: bool| MethodPlan {
            name: name.into(),
            places,
            models: (0..=concepts)
                .map(|n| (n == concepts || (n > 0 && !fused)).then(|| format!("{name} {n}")))
                .collect(),
        };
        if self.args.bank.is_empty() {
            return Ok(vec![plan("all concepts", (0..count).collect(), count, false)]);
        }
        let of_bank = |named: &crate::args::Named| {
            let bank = Bank::open(&named.path)?;
            let ids = bank.concepts();
            let place = |c: &burn_seqlora::eval::protocol::ConceptProtocol| {
                ids.iter().position(|id| *id == *c.id.as_str()).ok_or_else(|| {
                    let path = named.path.display();
                    Failure::Usage(format!("{path} holds no concept `{}`", c.id))
                })
            };
            let places = self.protocol.concepts.iter().map(place).collect::<Result<_, _>>()?;
            let fused = self.args.fused.iter().any(|fused| fused.name == named.name);
            Ok(plan(&named.name, places, ids.len(), fused))
        };
        self.args.bank.iter().map(of_bank).collect()
    }

    /// How many metrics there will be, weights that are missing aside.
    fn metrics(&self) -> usize {
        let settings = &self.settings.metrics;
        let more = settings.external.len() + settings.imported.len();
        match &settings.names {
            Some(names) => names.len() + more,
            None if builtin::is_chosen(self.args.model.as_ref()) => 2 + more,
            None if more > 0 => more,
            None => registry::DEFAULT.len(),
        }
    }
}

fn count(groups: &[ImageGroup], sets: &[ScoreSet], metrics: usize) -> Counts {
    let mut keys: Vec<&str> =
        groups.iter().flat_map(|group| &group.images).map(|image| image.key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let mut models: Vec<(Option<usize>, Stage)> =
        groups.iter().map(|g| (g.method, g.stage)).collect();
    models.dedup();
    let of_set =
        |set: &ScoreSet| set.sections.iter().map(|section| section.images.len()).sum::<usize>();
    Counts {
        images: keys.len(),
        models: models.len(),
        sets: sets.len(),
        scores: metrics * sets.iter().map(of_set).sum::<usize>(),
    }
}

/// Multiplications of one pass of a UNet for one image: convolutions, projections and attention.
fn products(config: &UNetConfig, size: [usize; 2], scale: usize) -> f64 {
    let channels: Vec<f64> = config.block_out_channels.iter().map(|c| *c as f64).collect();
    let layers = config.layers_per_block;
    let places = |level: usize| {
        size.iter().map(|side| ((side / scale) >> level).max(1) as f64).product::<f64>()
    };
    let resnet = |t: f64, from: f64, to: f64| 9.0 * t * (from * to + to * to) + t * from * to;
    let width = config.cross_attention_dim as f64;
    let transformer = |t: f64, c: f64| {
        // Projections in and out, self-attention, cross-attention, and the gated layer of 4 c.
        2.0 * t * c * c
            + (4.0 * t * c * c + 2.0 * t * t * c)
            + (2.0 * t * c * c + 2.0 * TOKENS * width * c + 2.0 * t * TOKENS * c)
            + 12.0 * t * c * c
    };
    let attends = |blocks: &[String], number: usize| {
        blocks.get(number).is_some_and(|name| name.starts_with("CrossAttn"))
    };
    let levels = channels.len();
    let mut total = 9.0 * places(0) * channels[0] * 2.0 * config.in_channels as f64;
    for (level, c) in channels.iter().enumerate() {
        let t = places(level);
        let before = if level == 0 { *c } else { channels[level - 1] };
        let after = channels.get(level + 1).unwrap_or(c);
        for layer in 0..layers {
            total += resnet(t, if layer == 0 { before } else { *c }, *c);
        }
        for layer in 0..=layers {
            total += resnet(t, c + if layer == 0 { *after } else { *c }, *c);
        }
        if attends(&config.down_block_types, level) {
            total += layers as f64 * transformer(t, *c);
        }
        if attends(&config.up_block_types, levels - 1 - level) {
            total += (layers + 1) as f64 * transformer(t, *c);
        }
        total += 9.0 * t * c * c;
    }
    let (t, c) = (places(levels - 1), channels[levels - 1]);
    total + 2.0 * resnet(t, c, c) + transformer(t, c)
}

/// Operations per second in products of matrices of 512 × 512 numbers, measured for a quarter of a second.
fn speed<B: TrainBackend>(device: &B::Device) -> f64 {
    const SIDE: usize = 512;
    let a = Tensor::<B, 2>::ones([SIDE, SIDE], device).div_scalar(SIDE as f64);
    let product = || a.clone().times(a.clone()).sum().into_data();
    // The first one may compile a kernel.
    product();
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_millis(250) {
        product();
        count += 1;
    }
    f64::from(count) * 2.0 * (SIDE as f64).powi(3) / start.elapsed().as_secs_f64()
}

/// Hours and days as people write them.
fn long(duration: Duration) -> String {
    match duration.as_secs_f64() / 3600.0 {
        hours if hours < 2.0 => seconds(duration),
        hours if hours < 48.0 => format!("{hours:.0} h"),
        hours => format!("{:.0} days", hours / 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Published counts for SD1.5 at 512 × 512 pixels are 339 to 400 · 10⁹ multiplications.
    #[test]
    fn products_of_stable_diffusion() {
        let config = UNetConfig { cross_attention_dim: 768, ..UNetConfig::default() };
        let count = products(&config, [512, 512], 8);
        assert!((3.2e11..4.4e11).contains(&count), "{count:e}");
        let small = products(&config, [256, 256], 8);
        // A quarter of the places, and less than that of attention.
        assert!(count / small > 4.0 && count / small < 5.5, "{}", count / small);
    }
}
