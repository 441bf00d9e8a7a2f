//! Whole fusions in stages, on the tiny models.

use std::collections::BTreeMap;
use std::sync::Mutex;

use burn::tensor::{Tensor, TensorData};
use burn_seqlora::Shard;
use burn_seqlora::compose::Member;
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::fusion::{
    Fusion, FusionFolder, Layer, LayerMember, LeastSquares, Outcome, Progress, Recording, Stage,
    StagedFusion, Statistics, patched, record_activations,
};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::{Gram, PatchSet, Site, WeightPatch};
use burn_seqlora::model::{DiffusionModel, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::train::Flow;

use super::fusion::{TINY, adapter, bank, compose, members, tiny};
use super::orthogonality::name;
use crate::fixtures::relative_error;

/// Returns the change of the only member, and writes down how many inputs each layer had.
#[derive(Debug, Default)]
struct Witness {
    seen: Mutex<BTreeMap<String, Gram>>,
}

impl Fusion for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn description(&self) -> &'static str {
        "as one is"
    }

    fn needs(&self) -> Statistics {
        Statistics::GramAndInputs
    }

    fn memory(&self, _: &Site, _: &[usize]) -> usize {
        0
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = burn_seqlora::Result<LayerMember>>,
    ) -> burn_seqlora::Result<WeightPatch> {
        let member = members.next().expect("one member")?;
        assert!(members.next().is_none());
        let mut seen = self.seen.lock().unwrap();
        assert!(seen.insert(layer.site.name.clone(), member.gram().clone()).is_none());
        Ok(WeightPatch::LowRank(member.factors.expect("it adapts all layers").clone()))
    }
}

/// The text encoder's rows are those from start to end of `photo of a <x>` and `<x>`, those of keys and
/// values the word and the end of both; all other layers have an image's. With one concept, whose change is
/// kept as it is, the stages see what a single run with the concept sees.
pub fn stages_record_what_mix_of_show_does<B: KernelBackend>(tolerance: f64) {
    let model = tiny::<B>(TINY[0]);
    let sites = model.sites();
    let (folder, bank) = bank::<B>(sites, model.token_width(), &[adapter::<B>(sites, 2, 0, 0.05)]);
    let members = members(&[1.0]);
    let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &model.config().scheduler, 3).unwrap();
    let unfinished = FusionFolder::new(folder.path().join("fusion"));
    let witness = Witness::default();
    let staged = StagedFusion {
        fusion: &witness,
        bank: &bank,
        members: &members,
        plan: &plan,
        seed: 5,
        folder: &unfinished,
        shard: Shard::ALL,
    };
    assert_eq!(run(&staged, &model).0.len(), sites.len());
    for stage in Stage::ALL {
        assert!(!unfinished.path().join(stage.name()).join("inputs").exists(), "they are removed");
    }

    let concept = compose::<B>(&bank, &members);
    let prompts = vec![format!("photo of a <{}>", name(0))];
    let recording = Recording { prompts, plan: &plan, seed: 5 };
    let spatial = |site: &Site| Stage::Spatial.contains(site);
    let whole = record_activations(&model, &concept, &concept.adapters, spatial, &recording);
    let (whole, seen) = (whole.unwrap(), witness.seen.into_inner().unwrap());
    assert!(!whole.0.is_empty());
    for site in sites {
        let gram = &seen[&site.name];
        let kept = gram.kept.len() / gram.inputs;
        match Stage::ALL.into_iter().find(|stage| stage.contains(site)).unwrap() {
            // photo, of, a, the word; the word: each with start and end.
            Stage::TextEncoder => assert_eq!((gram.rows, kept), (9, 9), "{}", site.name),
            Stage::CrossAttention => assert_eq!((gram.rows, kept), (4, 4), "{}", site.name),
            Stage::Spatial => {
                let expected = &whole.0[&site.name];
                assert_eq!(gram.rows, expected.rows, "{}", site.name);
                let numbers = |gram: &Gram| {
                    let values: Vec<f32> = gram.to_matrix().iter().map(|x| *x as f32).collect();
                    let data = TensorData::new(values, [gram.inputs, gram.inputs]);
                    Tensor::<B, 2>::from_data(data, &B::Device::default())
                };
                let error = relative_error(&numbers(gram), &numbers(expected));
                assert!(error < tolerance, "{}: {error:.2e}", site.name);
            }
        }
    }
}

/// All fusions that need inputs run through the stages with two concepts, and each says beforehand what
/// memory it takes.
pub fn every_fusion_goes_through_the_stages<B: KernelBackend>(_: f64) {
    let model = tiny::<B>(TINY[1]);
    let sites = model.sites();
    let adapters = [0, 1].map(|i| adapter::<B>(sites, 2, i, 0.05));
    let (folder, bank) = bank::<B>(sites, model.token_width(), &adapters);
    let members = members(&[1.0, 0.5]);
    let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &model.config().scheduler, 2).unwrap();
    for fusion in burn_seqlora::fusion::all() {
        let unfinished = FusionFolder::new(folder.path().join(fusion.name()));
        let staged = StagedFusion {
            fusion: fusion.as_ref(),
            bank: &bank,
            members: &members,
            plan: &plan,
            seed: 0,
            folder: &unfinished,
            shard: Shard::ALL,
        };
        assert!(staged.memory(sites).unwrap() > 0);
        let mut steps = 0;
        let count = |_: Progress| {
            steps += 1;
            Flow::Continue
        };
        let Outcome::Fused(fused) = staged.run(&model, count).unwrap() else {
            panic!("nothing stops {}", fusion.name())
        };
        let recorded = if fusion.needs() == Statistics::None { 0 } else { 6 };
        assert_eq!(steps, recorded + fused.0.len(), "{}", fusion.name());
        assert_eq!(steps, staged.steps(sites).unwrap());
        patched::<B, _>(&model, &fused).unwrap();
    }
}

/// A fusion that is stopped at each step and goes on, and one whose work three runs share in turns, give the patches
/// of an unbroken one, with no concept recorded and no layer fused twice. Another fusion does not go on there.
pub fn a_stopped_fusion_goes_on<B: KernelBackend>(_: f64) {
    let model = tiny::<B>(TINY[0]);
    let sites = model.sites();
    let adapters = [0, 1, 2, 3].map(|i| adapter::<B>(sites, 2, i, 0.05));
    let (folder, bank) = bank::<B>(sites, model.token_width(), &adapters);
    let members = members(&[1.0; 4]);
    let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &model.config().scheduler, 1).unwrap();
    let path = |name: &str| FusionFolder::new(folder.path().join(name));
    let (whole, broken, shared) = (path("whole"), path("broken"), path("shared"));
    let fusion = LeastSquares::default();
    let staged = StagedFusion {
        fusion: &fusion,
        bank: &bank,
        members: &members,
        plan: &plan,
        seed: 0,
        folder: &whole,
        shard: Shard::ALL,
    };
    let expected = run(&staged, &model);

    // It stops before the third concept or after the third layer that it has not seen before.
    let stopped = StagedFusion { folder: &broken, ..staged };
    let (mut seen, mut fused) = (Vec::new(), None);
    while fused.is_none() {
        let mut new = 0;
        let outcome = stopped.run(&model, |progress| {
            let step = format!("{progress:?}");
            if !seen.contains(&step) {
                seen.push(step);
                new += 1;
            }
            if new == 3 { Flow::Stop } else { Flow::Continue }
        });
        match outcome.unwrap() {
            Outcome::Fused(patches) => fused = Some(patches),
            outcome => assert_eq!((outcome, new), (Outcome::Stopped, 3)),
        }
    }
    assert_eq!(fused.unwrap(), expected);
    let stronger = [&members[..3], &[Member { scale: 0.5, ..members[3].clone() }]].concat();
    let other = StagedFusion { members: &stronger, ..stopped };
    let error = other.run(&model, |_| Flow::Continue).unwrap_err().to_string();
    assert!(error.contains("other concepts or with other settings"), "{error}");

    let mut done = Vec::new();
    let mut turn = |number| {
        let staged = StagedFusion { folder: &shared, shard: Shard { number, count: 3 }, ..staged };
        let outcome = staged.run(&model, |progress| {
            done.push(format!("{progress:?}"));
            Flow::Continue
        });
        outcome.unwrap()
    };
    assert_eq!(turn(2), Outcome::Waiting(Stage::TextEncoder));
    // Each stage has two rounds: inputs and layers.
    let mut rounds = 0;
    while [0, 1, 2].map(&mut turn).iter().any(|end| !matches!(end, Outcome::Fused(_))) {
        rounds += 1;
        assert!(rounds < 7, "it does not end");
    }
    let steps = staged.steps(sites).unwrap();
    done.sort();
    done.dedup();
    assert_eq!(done.len(), steps);
    let last = StagedFusion { folder: &shared, ..staged };
    assert_eq!(run(&last, &model), expected);
}

/// The patches of a fusion that nothing stops.
fn run<B: KernelBackend>(staged: &StagedFusion, model: &StableDiffusion<B>) -> PatchSet {
    match staged.run(model, |_| Flow::Continue).unwrap() {
        Outcome::Fused(patches) => patches,
        outcome => panic!("{outcome:?}"),
    }
}
