//! How much of what held-out captions tell is seen in the pictures drawn from them.

use seqlora_core::diffusion::{SamplerKind, SamplerPlan, SchedulerConfig};
use seqlora_core::error::Error;
use seqlora_core::rng::Seed;
use seqlora_core::train::Flow;
use seqlora_kernels::TrainBackend;
use serde::{Deserialize, Serialize};

use super::denoising::{Denoising, Drawing, TextToLatents};
use super::model::PretrainError;
use super::scenes::to_pixels;
use crate::judge::{AttributeAccuracy, Judge, Reading};
use crate::world::{Description, Scene, SceneOptions, Split};

/// Pictures that are drawn at once.
const CHUNK: usize = 25;

/// How captions are drawn to be measured.
const SAMPLER: SamplerKind = SamplerKind::DpmPlusPlus2M;
const STEPS: usize = 25;

/// Classifier-free guidance that suits such a model: of 2, 3, 4 and 5.5 this and 2 gave the built-in
/// one its best colours, this and 4 its best classes.
pub const GUIDANCE: f64 = 3.0;

/// How much of what captions tell the judge sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrawingReport {
    /// How they were drawn.
    pub sampling: String,
    /// Captions of each kind; at least one combination in each was never shown in training.
    pub captions: usize,
    /// In pictures drawn from captions of one object.
    pub one_object: Agreeing,
    /// Of two objects.
    pub two_objects: Agreeing,
    /// In the world's own pictures of the scenes whose captions gave `two_objects`: where the judge
    /// errs itself, no drawing can be right.
    pub renders: Agreeing,
}

/// Shares of what agrees with captions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreeing {
    /// Of pictures: all of their objects agree.
    pub pictures: AttributeAccuracy,
    /// Of objects, each taken by itself.
    pub objects: AttributeAccuracy,
}

/// What draws, and what judges.
#[derive(Debug)]
pub struct Artist<'a, B: TrainBackend> {
    /// From latents to pictures, and the tokenizer.
    pub task: &'a Denoising<'a, B>,
    /// The noise.
    pub scheduler: &'a SchedulerConfig,
    /// What is measured.
    pub network: &'a TextToLatents<B::InnerBackend>,
    /// What tells what a picture shows.
    pub judge: &'a Judge<B::InnerBackend>,
}

impl DrawingReport {
    /// Draws held-out captions and asks the judge. `progress` gets the number of pictures drawn;
    /// `None` if it stopped the drawing.
    ///
    /// # Errors
    /// If a caption cannot be tokenized, or there is no such sampler.
    pub fn measure<B: TrainBackend>(
        artist: &Artist<'_, B>,
        captions: usize,
        device: &B::Device,
        mut progress: impl FnMut(usize) -> Flow,
    ) -> Result<Option<Self>, PretrainError> {
        let Artist { task, scheduler, network, judge } = *artist;
        let plan = SamplerPlan::new(SAMPLER, scheduler, STEPS).map_err(Error::from)?;
        let seed = task.seed.fork("held-out captions");
        let mut drawing = Drawing { plan, guidance: GUIDANCE, seed: seed.fork("noise") };
        let asked = |pairs: f64| -> Vec<Asked> {
            (0..captions as u64).map(|number| Asked::new(&seed, number, pairs)).collect()
        };
        let mut count = 0;
        let mut drawn = |asked: &[Asked]| -> Result<Option<Agreeing>, PretrainError> {
            let mut readings = Vec::new();
            for (chunk, asked) in asked.chunks(CHUNK).enumerate() {
                let texts: Vec<_> = asked.iter().map(|asked| asked.caption.clone()).collect();
                drawing.seed = seed.fork("noise").fork(&(chunk * CHUNK).to_string());
                readings.extend(judge.read(task.draw(network, &texts, &drawing)?.clamp(-1.0, 1.0)));
                count += asked.len();
                if progress(count) == Flow::Stop {
                    return Ok(None);
                }
            }
            Ok(Some(Agreeing::of(&readings, asked)))
        };
        let (one, two) = (asked(0.0), asked(1.0));
        let Some(one_object) = drawn(&one)? else { return Ok(None) };
        let Some(two_objects) = drawn(&two)? else { return Ok(None) };
        let scenes: Vec<_> = two.iter().map(|asked| asked.scene.clone()).collect();
        let renders = judge.read(to_pixels(&scenes, judge.side(), device));
        Ok(Some(Self {
            sampling: format!("{SAMPLER}, {STEPS} steps, guidance {GUIDANCE}"),
            captions,
            one_object,
            two_objects,
            renders: Agreeing::of(&renders, &two),
        }))
    }
}

impl Agreeing {
    fn of(readings: &[Reading], asked: &[Asked]) -> Self {
        let pairs = || readings.iter().zip(asked);
        let one = |object| Description { objects: vec![object], ..Description::default() };
        let objects = pairs().flat_map(|(seen, asked)| {
            asked.told.objects.iter().map(move |object| seen.agreement(&one(*object)))
        });
        Self {
            pictures: pairs().map(|(seen, asked)| seen.agreement(&asked.told)).collect(),
            objects: objects.collect(),
        }
    }
}

/// A scene that training left out, what is told of it, and how.
struct Asked {
    scene: Scene,
    told: Description,
    caption: String,
}

impl Asked {
    fn new(seed: &Seed, number: u64, pairs: f64) -> Self {
        let mut rng = seed.fork("caption").at(number);
        let scene = Scene::random(seed, number, &SceneOptions { split: Split::HeldOut, pairs });
        let told = scene.told(&mut rng);
        let caption = told.caption(&mut rng);
        Self { scene, told, caption }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Found;

    fn asked(number: u64, pairs: f64) -> Asked {
        Asked::new(&Seed::new(1), number, pairs)
    }

    #[test]
    fn captions_tell_what_is_asked_of_the_judge() {
        for number in 0..50 {
            let Asked { told, caption, .. } = asked(number, 1.0);
            assert_eq!(told.objects.len(), 2);
            let read = Description::parse(&caption).expect("its own English");
            assert_eq!(read.objects[0].class, told.objects[0].class, "{caption}");
            assert_eq!(read.relation, told.relation, "{caption}");
        }
    }

    /// Of two objects, the judge sees the first alone, as it is.
    #[test]
    fn an_object_counts_though_the_other_one_is_missing() {
        let asked = [asked(0, 1.0)];
        let [scene] = asked.each_ref().map(|asked| asked.scene.truth());
        let first = &scene.objects[0];
        let found = Found {
            class: first.class,
            probability: 1.0,
            colour: first.colour.expect("an ordinary object"),
            pattern: first.pattern.expect("an ordinary object"),
            centre: (0.5, 0.5),
        };
        let reading = Reading { classes: vec![found], background: scene.background };
        let agreeing = Agreeing::of(&[reading], &asked);
        assert_eq!(agreeing.pictures.class, Some(0.0));
        assert_eq!((agreeing.objects.class, agreeing.objects.relation), (Some(0.5), None));
    }
}
