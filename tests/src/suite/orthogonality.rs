//! Laws of a bank that is filled to the last direction.

use burn_seqlora::kernels::matmul::Times;
use std::collections::BTreeMap;
use std::fs;

use burn::backend::Autodiff;
use burn::tensor::Tensor;
use burn_seqlora::Error;
use burn_seqlora::bank::{
    Bank, BaseModel, ConceptId, ConceptRecord, TrainingRecord, max_overlap, read_tensors,
};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::files::FileError;
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::kernels::lora_linear::LoraFactors;
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{
    AdapterSet, Factors, Feasible, Part, Role, Site, StoredAdapter, finish_adapter,
};
use burn_seqlora::methods::Constraint;
use burn_seqlora::rng::Seed;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{CapacityPlan, StepReport, Trainer, plan_ranks};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

use crate::fixtures::{assert_close, assert_close_numbers, largest};
use crate::toy::training::{config, method, train};
use crate::toy::{Net, Precision, Toy, columns, matrix, random};

/// 12 and 8 inputs at rank 3: four concepts take everything.
const WIDTHS: &[usize] = &[12, 8, 6];
const CONCEPTS: usize = 4;

/// A bank of concepts that were all trained on the same minibatches and so want the same
/// directions, with what was seen on the way.
struct Filled {
    _folder: TempDir,
    bank: Bank,
    plans: Vec<CapacityPlan>,
    reports: Vec<StepReport>,
    /// The files of the bank's concepts, after each concept.
    files: Vec<BTreeMap<String, Vec<u8>>>,
}

impl Filled {
    fn new<B: KernelBackend>(precision: Precision) -> Self {
        let toy = Toy { widths: WIDTHS, rank: 3, ..Toy::coupled(precision) };
        let config = TrainConfig { steps: 10, rank: 3, lr_down_ratio: 5.0, ..config() };
        let (net, sites): (Net<Autodiff<B>>, _) = (toy.net(), toy.sites());
        let folder = tempfile::tempdir().unwrap();
        let bank = Bank::open_or_create(folder.path(), &base(), &sites).unwrap();
        let mut filled =
            Self { _folder: folder, bank, plans: vec![], reports: vec![], files: vec![] };
        for concept in 0..CONCEPTS {
            let occupied = filled.bank.directions(&sites, None).unwrap();
            let used: Vec<usize> = occupied.iter().map(Columns::len).collect();
            let plan = plan_ranks(&sites, &used, &config, Constraint::EarlierConcepts);
            let basis = toy.basis(&occupied);
            let bilevel = Trainer {
                objective: &net,
                method: method(&config),
                settings: &config,
                sites: &sites,
                basis: &basis,
            };
            let start = toy.state(&config, &plan.ranks, &occupied, concept as u64);
            let (state, reports) = train::<B>(&bilevel, start, |step| toy.sample(step as u64));
            filled.append(
                &name(concept),
                &finish_adapter(&state.parameters.adapters, &sites, &Feasible::outside(&occupied)),
            );
            filled.plans.push(plan);
            filled.reports.extend(reports);
        }
        filled
    }

    fn append(&mut self, id: &str, adapter: &StoredAdapter) {
        let record = ConceptRecord::new(&ConceptId::new(id).unwrap(), "toy", [1, 1], true, adapter);
        self.bank.append(record, &training(), adapter, ([1, 1], vec![0.0])).unwrap();
        let read = |id: &ConceptId| {
            let entries = fs::read_dir(self.bank.concept_folder(id)).unwrap();
            let read =
                |path: std::path::PathBuf| (path.display().to_string(), fs::read(path).unwrap());
            entries.map(move |entry| read(entry.unwrap().path())).collect::<Vec<_>>()
        };
        self.files.push(self.bank.concepts().iter().flat_map(read).collect());
    }

    /// A and B of every concept that has a share in a site.
    fn factors<B: KernelBackend>(&self, site: usize) -> Vec<(Tensor<B, 2>, Tensor<B, 2>)> {
        let device = B::Device::default();
        let name = &self.bank.sites()[site].name;
        let of = |id: &ConceptId| {
            let adapter = self.bank.adapter(id).unwrap();
            adapter.get(name).map(|factors| factors.to_tensors(&device))
        };
        self.bank.concepts().iter().filter_map(of).collect()
    }
}

pub(super) fn name(concept: usize) -> String {
    format!("concept{concept}")
}

pub(super) fn id(concept: usize) -> ConceptId {
    ConceptId::new(name(concept)).unwrap()
}

pub(super) fn base() -> BaseModel {
    BaseModel {
        fingerprint: "toy".into(),
        tokenizer: None,
        prediction: None,
        name: "toy".into(),
        cross_attention_layers: 1,
        token_width: 1,
    }
}

pub(super) fn training() -> TrainingRecord {
    TrainingRecord {
        method: "seqlora".into(),
        images: vec![],
        data_digest: String::new(),
        steps: 10,
        initial_loss: 1.0,
        final_loss: 1.0,
        settings: serde_json::json!(config()),
        trained_by: "tests".into(),
    }
}

fn norm<B: KernelBackend>(matrix: Tensor<B, 2>) -> f64 {
    Factors::new(vec![Some(matrix)]).norm()
}

/// ΔW = A Bᵀ
fn delta<B: KernelBackend>((a, b): &(Tensor<B, 2>, Tensor<B, 2>)) -> Tensor<B, 2> {
    a.clone().times(b.clone().transpose())
}

/// Tests 7 and 12: B_jᵀB_i stays below 1e-6 until nothing is left, m = 8 and r = 3 give the ranks
/// 3, 3, 2, 0, and nothing on the way is NaN.
pub fn concepts_stay_orthogonal_until_layers_are_full<B: KernelBackend>(precision: Precision) {
    let mut filled = Filled::new::<B>(precision);
    let ranks = |id: &ConceptId| filled.bank.concept(id).unwrap().0.ranks(filled.bank.sites());
    let ranks: Vec<_> = filled.bank.concepts().iter().map(ranks).collect();
    assert_eq!(ranks, [[3, 3], [3, 3], [3, 2], [3, 0]]);
    let warned: Vec<_> = filled.plans.iter().map(|p| (p.shrunk.len(), p.full.len())).collect();
    assert_eq!(warned, [(0, 0), (0, 0), (1, 0), (0, 1)]);
    for report in &filled.reports {
        let StepReport { step, loss, hypergradient, overlap, .. } = report;
        assert!(loss.is_finite() && hypergradient.is_finite(), "step {step}: {report:?}");
        assert!(*overlap < 1e-6, "step {step}: overlap {overlap:.2e}");
    }
    let overlap = max_overlap(&filled.bank).unwrap();
    assert!(overlap < 1e-6, "{overlap:.2e}");
    let twin = filled.bank.adapter(&name(0)).unwrap();
    filled.append("twin", &twin);
    let overlap = max_overlap(&filled.bank).unwrap();
    assert!((overlap - 1.0).abs() < 1e-6, "a twin overlaps wholly: {overlap}");
}

/// Test 8: ΔW_i x = 0 for x in span(B_j), in both orders, and ‖Σ ΔW_i‖² = Σ ‖ΔW_i‖².
pub fn adapters_ignore_each_others_inputs<B: KernelBackend>(precision: Precision) {
    let filled = Filled::new::<B>(precision);
    for site in 0..2 {
        let factors = filled.factors::<B>(site);
        for (i, adapter) in factors.iter().enumerate() {
            for (j, (_, other)) in factors.iter().enumerate().filter(|(j, _)| *j != i) {
                let excited = norm(delta(adapter).times(other.clone()));
                let rest = excited / norm(delta(adapter));
                assert!(rest < 1e-6, "ΔW_{i} B_{j} = {rest:.2e}");
            }
        }
        let sum = factors.iter().map(delta).reduce(|a, b| a + b).unwrap();
        let squares: f64 = factors.iter().map(|f| norm(delta(f)).powi(2)).sum();
        assert_close_numbers("Pythagoras", norm(sum).powi(2), squares, squares, 1e-6);
    }
}

/// Test 8: what is in the bank stays as it is, bit for bit, whatever is learnt later.
pub fn earlier_concepts_stay_as_they_are<B: KernelBackend>(precision: Precision) {
    let filled = Filled::new::<B>(precision);
    let last = filled.files.last().unwrap();
    assert_eq!(last.len(), 4 * CONCEPTS);
    for files in &filled.files {
        for (name, bytes) in files {
            assert_eq!(&last[name], bytes, "{name}");
        }
    }
}

/// §1.9: a composition is W₀ + Σ λ_i A_i B_iᵀ.
pub fn a_composition_is_the_weighted_sum<B: KernelBackend>(precision: Precision) {
    let filled = Filled::new::<B>(precision);
    let scales = [0.5, 1.0, -2.0];
    let members: Vec<Member> = scales
        .iter()
        .enumerate()
        .map(|(concept, scale)| Member { id: name(concept), scale: *scale })
        .collect();
    let device = B::Device::default();
    let composition =
        Composition::<B>::load(&filled.bank, &members, filled.bank.sites(), &device).unwrap();
    for site in 0..2 {
        let LoraFactors { up, down } = composition.adapters.site(site).unwrap();
        let stacked = delta(&(up.primal, down.primal));
        let factors = filled.factors::<B>(site);
        let terms = factors.iter().zip(scales).map(|(f, scale)| delta(f).mul_scalar(scale));
        let sum = terms.reduce(|a, b| a + b).unwrap();
        assert_close("Σ λ ΔW", &stacked, &sum, precision.exact.max(1e-6));
    }
}

/// Test 8: the bank's gauge keeps A Bᵀ, also where columns of B depend on each other, and its B is
/// orthonormal and orthogonal to what is occupied, also where almost all of B lies in there.
pub fn the_gauge_keeps_the_product<B: KernelBackend>(precision: Precision) {
    let (inputs, outputs) = (40, 5);
    let directions = |count, occupied: &Columns, seed| {
        fresh_directions(inputs, count, occupied, &mut Seed::new(seed).at(0))
    };
    // As the bank stores them: rounded to f32, and so not quite orthonormal.
    let round = |column: Vec<f64>| column.into_iter().map(|x| x as f32 as f64).collect();
    let occupied: Columns = directions(20, &vec![], 1).into_iter().map(round).collect();
    let q = matrix::<B>(&occupied, precision.dtype);
    let up = random::<B, 2>([outputs, 3], 90, precision.dtype);
    let free = matrix::<B>(&directions(2, &occupied, 2), precision.dtype);
    let mixed = random::<B, 2>([2, 3], 91, precision.dtype);
    let finish = |down: Tensor<B, 2>| {
        let set = AdapterSet {
            up: Factors::new(vec![Some(up.clone())]),
            down: Factors::new(vec![Some(down)]),
        };
        let site = Site {
            name: "s".into(),
            inputs,
            outputs,
            part: Part::Denoiser,
            role: Role::CrossAttention,
        };
        let stored = finish_adapter(&set, &[site], &[Feasible::from(occupied.clone())]);
        stored.get("s").unwrap().to_tensors::<B>(&up.device())
    };

    let down = free.clone().times(mixed);
    let (a, b) = finish(down.clone());
    assert_eq!(b.dims(), [inputs, 2], "three columns in a plane");
    let expected = delta(&(up.clone(), down));
    assert_close("A Bᵀ", &delta(&(a, b)).cast(precision.dtype), &expected, 1e-5);

    let inside = q.times(random::<B, 2>([20, 3], 92, precision.dtype)).mul_scalar(100.0);
    let (_, b) = finish(inside + random([inputs, 3], 93, precision.dtype));
    let b = columns(&b);
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    for (i, x) in b.iter().enumerate() {
        let outside = occupied.iter().chain(&b[..i]).map(|y| dot(x, y));
        let overlap = largest(outside.chain([dot(x, x) - 1.0]));
        assert!(overlap < 1e-6, "{overlap:.2e}");
    }
}

/// Test 7: bf16 keeps orthogonality to 3e-4 at best, so a bank refuses it.
pub fn half_precision_banks_are_refused<B: KernelBackend>(precision: Precision) {
    let filled = Filled::new::<B>(precision);
    let folder = filled.bank.concept_folder(&id(0));
    let file = folder.join("adapter.safetensors");
    let bytes = vec![0; 2 * 6];
    let view = |shape: [usize; 2]| TensorView::new(Dtype::BF16, shape.to_vec(), &bytes).unwrap();
    let tensors = [("layer1.lora_up", view([6, 1])), ("layer1.lora_down", view([1, 6]))];
    fs::write(&file, safetensors::serialize(tensors, None).unwrap()).unwrap();
    match read_tensors(&file) {
        Err(Error::File(FileError::Damaged { reason, .. })) => {
            assert!(reason.contains("is not f32"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}
