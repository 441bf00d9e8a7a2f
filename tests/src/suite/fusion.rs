//! Fusions on toys, whose activations can be written down, and on the tiny models.

use burn_seqlora::kernels::matmul::Times;
use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData, backend::Backend};
use burn_seqlora::bank::{Bank, BaseModel, ConceptRecord};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::diffusion::{SamplerKind, SamplerPlan};
use burn_seqlora::fusion::{
    Fusion, FusionRun, FusionSolver, GramSource, Layer, LayerMember, LeastSquares, LoraClr, Mean,
    MixOfShow, Recording, StatisticsFolder, Sum, merged, patched, record_activations,
};
use burn_seqlora::jvp::Dual;
use burn_seqlora::kernels::lora_linear::LoraFactors;
use burn_seqlora::kernels::{DualOps, KernelBackend};
use burn_seqlora::lora::directions::{Columns, fresh_directions};
use burn_seqlora::lora::{
    ActivationProbe, ActivationStatistics, DualAdapters, Gram, Part, PatchSet, Role, Site,
    StoredAdapter, StoredFactors, WeightPatch,
};
use burn_seqlora::model::{Denoiser, DiffusionModel, LatentCodec, TextEncoder};
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::rng::Seed;
use burn_seqlora::text::TextBatch;
use nalgebra::DMatrix;
use tempfile::TempDir;

use super::orthogonality::{base, id, name, training};
use crate::fixtures::{self, Fixture, assert_close, largest, relative_error};
use crate::toy::{Net, Toy, matrix, random};

/// Two layers that see different things.
const TWO_LAYERS: Toy = Toy { widths: &[7, 5, 6], rank: 2, dtype: DType::F32 };
/// One layer.
const ONE_LAYER: Toy = Toy { widths: &[10, 8], rank: 2, dtype: DType::F32 };

/// Random factors at every site, whose product is `size` times as large as a usual weight.
pub(super) fn adapter<B: Backend>(
    sites: &[Site],
    rank: usize,
    concept: usize,
    size: f64,
) -> StoredAdapter {
    let numbers = |shape, counter, scale: f64| {
        let matrix = random::<B, 2>(shape, counter, DType::F32).mul_scalar(scale);
        matrix.to_data().iter::<f32>().collect::<Vec<f32>>()
    };
    let factors = |(number, site): (usize, &Site)| {
        let counter = (10_000 * (concept + 1) + 2 * number) as u64;
        let down = numbers([rank, site.inputs], counter, (site.inputs as f64).powf(-0.5));
        let up = numbers([site.outputs, rank], counter + 1, size);
        (site.name.clone(), StoredFactors { rank, up, down })
    };
    StoredAdapter(sites.iter().enumerate().map(factors).collect())
}

/// A bank of these adapters, with one word of one random embedding each.
pub(super) fn bank<B: Backend>(
    sites: &[Site],
    token_width: usize,
    adapters: &[StoredAdapter],
) -> (TempDir, Bank) {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel { token_width, ..base() };
    let mut bank = Bank::open_or_create(folder.path(), &base, sites).unwrap();
    for (concept, adapter) in adapters.iter().enumerate() {
        let record = ConceptRecord::new(&id(concept), "toy", [1, 1], false, adapter);
        let word = random::<B, 2>([1, token_width], concept as u64, DType::F32).mul_scalar(0.01);
        let embeddings = ([1, token_width], word.to_data().iter::<f32>().collect());
        bank.append(record, &training(), adapter, embeddings).unwrap();
    }
    (folder, bank)
}

pub(super) fn members(scales: &[f64]) -> Vec<Member> {
    scales.iter().enumerate().map(|(i, scale)| Member { id: name(i), scale: *scale }).collect()
}

pub(super) fn compose<B: KernelBackend>(bank: &Bank, members: &[Member]) -> Composition<B> {
    Composition::load(bank, members, bank.sites(), &B::Device::default()).unwrap()
}

/// ΔW of each patch on the device.
fn deltas<B: Backend>(patches: &PatchSet, sites: &[Site]) -> Vec<Tensor<B, 2>> {
    let delta = |site: &Site| {
        let data = TensorData::new(patches.0[&site.name].delta(), [site.outputs, site.inputs]);
        Tensor::from_data(data, &B::Device::default())
    };
    sites.iter().map(delta).collect()
}

/// λ A Bᵀ of each member at a site.
fn changes<B: KernelBackend>(bank: &Bank, members: &[Member], site: usize) -> Vec<Tensor<B, 2>> {
    let change = |member: &Member| {
        let set = compose::<B>(bank, std::slice::from_ref(member)).adapters;
        let LoraFactors { up, down } = set.site(site)?;
        Some(up.primal.times(down.primal.transpose()))
    };
    members.iter().filter_map(change).collect()
}

fn host<B: Backend>(tensor: &Tensor<B, 2>) -> DMatrix<f64> {
    let [rows, columns] = tensor.dims();
    DMatrix::from_row_iterator(rows, columns, tensor.to_data().iter::<f64>())
}

/// A bank of toy concepts, each with inputs of its own.
struct ToyConcepts<B: KernelBackend> {
    net: Net<B>,
    sites: Vec<Site>,
    bank: Bank,
    inputs: Vec<Tensor<B, 2>>,
    _folder: TempDir,
}

impl<B: KernelBackend> ToyConcepts<B> {
    fn new(toy: Toy, inputs: Vec<Tensor<B, 2>>) -> Self {
        let sites = toy.sites();
        let adapter = |concept| adapter::<B>(&sites, toy.rank, concept, 1.0);
        let adapters: Vec<_> = (0..inputs.len()).map(adapter).collect();
        let (_folder, bank) = bank::<B>(&sites, 1, &adapters);
        Self { net: toy.net(), sites, bank, inputs, _folder }
    }

    /// What each concept's layers see of its own inputs with its own factors.
    fn statistics(&self) -> BTreeMap<String, ActivationStatistics> {
        let run = |(concept, input): (usize, &Tensor<B, 2>)| {
            let probe = Arc::new(ActivationProbe::new(&self.sites, |_| true));
            let set = compose::<B>(&self.bank, &[Member::new(name(concept))]).adapters;
            self.net.forward(&set.with_probe(probe.clone()), input.clone());
            (name(concept), probe.statistics(&self.sites).unwrap())
        };
        self.inputs.iter().enumerate().map(run).collect()
    }

    fn run<'a>(
        &'a self,
        fusion: &'a dyn Fusion,
        members: &'a [Member],
        grams: Option<&'a dyn GramSource>,
    ) -> FusionRun<'a> {
        FusionRun::new(fusion, &self.bank, members, &self.sites, grams).unwrap()
    }

    fn fuse(&self, run: &FusionRun) -> burn_seqlora::Result<PatchSet> {
        let patches = run.patches(|site| self.net.weights[site].clone());
        Ok(PatchSet(patches.collect::<Result<_, _>>()?))
    }
}

/// The closed form from Gram matrices equals the least squares solution by SVD on all activations, which
/// are computed here a second time. More concepts take no more memory per layer.
pub fn least_squares_is_a_direct_solve<B: KernelBackend>(tolerance: f64) {
    let inputs = (0..3).map(|i| random([9, 7], 900 + i, DType::F32)).collect();
    let concepts = ToyConcepts::<B>::new(TWO_LAYERS, inputs);
    let (members, statistics) = (members(&[0.5, 1.0, -2.0]), concepts.statistics());
    let fusion = LeastSquares { ridge: 1e-3 };
    let run = concepts.run(&fusion, &members, Some(&statistics));
    let patches = concepts.fuse(&run).unwrap();
    for (number, site) in concepts.sites.iter().enumerate() {
        let rows = |(concept, input): (usize, &Tensor<B, 2>)| {
            assert_eq!(statistics[&name(concept)].0[&site.name].rows, 9);
            let set = compose::<B>(&concepts.bank, &[Member::new(name(concept))]).adapters;
            let first = Net { weights: concepts.net.weights[..number].to_vec() };
            let x = first.forward(&set, input.clone());
            host(&if number == 0 { x } else { x.silu() }.primal)
        };
        let rows: Vec<DMatrix<f64>> = concepts.inputs.iter().enumerate().map(rows).collect();
        let energy: f64 = rows.iter().map(DMatrix::norm_squared).sum();
        let ridge = (fusion.ridge * energy / site.inputs as f64).sqrt();
        let count = 9 * members.len();
        let mut x = DMatrix::zeros(count + site.inputs, site.inputs);
        let mut y = DMatrix::zeros(count + site.inputs, site.outputs);
        let changes = changes::<B>(&concepts.bank, &members, number);
        for (i, (rows, change)) in rows.iter().zip(changes).enumerate() {
            x.rows_mut(9 * i, 9).copy_from(rows);
            y.rows_mut(9 * i, 9).copy_from(&(rows * host(&change).transpose()));
        }
        x.rows_mut(count, site.inputs).fill_diagonal(ridge);
        let expected = x.svd(true, true).solve(&y, 0.0).unwrap().transpose();
        let fused = host(&deltas::<B>(&patches, &concepts.sites)[number]);
        let error = largest((fused - &expected).iter().copied()) / expected.amax();
        assert!(error < tolerance, "{}: {error:.2e}", site.name);
    }
    let alone = concepts.run(&fusion, &members[..1], Some(&statistics)).memory();
    // Other members take none.
    assert_eq!(run.memory(), alone);
}

/// Concepts with orthogonal inputs are each reproduced on their own inputs; their sum is not, since there
/// each concept acts on the others' inputs.
pub fn concepts_with_orthogonal_inputs_are_exact<B: KernelBackend>(tolerance: f64) {
    let basis = fresh_directions(10, 9, &Columns::new(), &mut Seed::new(3).at(0));
    let input = |(i, span): (usize, &[Vec<f64>])| {
        let coordinates = random::<B, 2>([20, 3], 910 + i as u64, DType::F32);
        coordinates.times(matrix::<B>(&span.to_vec(), DType::F32).transpose())
    };
    let inputs = basis.chunks(3).enumerate().map(input).collect();
    let concepts = ToyConcepts::<B>::new(ONE_LAYER, inputs);
    let (members, statistics) = (members(&[1.0; 3]), concepts.statistics());
    let errors = |fusion: &dyn Fusion| -> Vec<f64> {
        let run = concepts.run(fusion, &members, Some(&statistics));
        let fused = deltas::<B>(&concepts.fuse(&run).unwrap(), &concepts.sites).remove(0);
        let own = changes::<B>(&concepts.bank, &members, 0);
        let error = |(input, own): (&Tensor<B, 2>, Tensor<B, 2>)| {
            let output = |delta: Tensor<B, 2>| input.clone().times(delta.transpose());
            relative_error(&output(fused.clone()), &output(own))
        };
        concepts.inputs.iter().zip(own).map(error).collect()
    };
    let added = errors(&Sum);
    let least_squares = LeastSquares { ridge: 1e-6 };
    let closed_form = MixOfShow { solver: FusionSolver::ClosedForm };
    for fusion in [&least_squares as &dyn Fusion, &closed_form, &MixOfShow::default()] {
        for (fused, added) in errors(fusion).into_iter().zip(&added) {
            assert!(fused < tolerance && *added > 0.1, "{fusion:?} {fused:.2e}, sum {added:.2e}");
        }
    }
}

/// L-BFGS with many iterations arrives where the closed form is.
pub fn gradient_fusion_goes_to_the_closed_form<B: KernelBackend>(tolerance: f64) {
    let inputs = (0..3).map(|i| random([9, 7], 950 + i, DType::F32)).collect();
    let concepts = ToyConcepts::<B>::new(TWO_LAYERS, inputs);
    let (members, statistics) = (members(&[0.5, 1.0, -2.0]), concepts.statistics());
    let fused = |solver| {
        let fusion = MixOfShow { solver };
        let run = concepts.run(&fusion, &members, Some(&statistics));
        deltas::<B>(&concepts.fuse(&run).unwrap(), &concepts.sites)
    };
    let closed = fused(FusionSolver::ClosedForm);
    let after = |iterations| {
        let spatial_iterations = iterations;
        fused(FusionSolver::Lbfgs { prompt_iterations: 1, spatial_iterations })
    };
    for (site, (found, closed)) in after(500).iter().zip(&closed).enumerate() {
        assert_close(&format!("ΔW of layer {site}"), found, closed, tolerance);
    }
    let error = relative_error(&after(2)[0], &closed[0]);
    assert!(error > 1e-2, "two iterations are not enough: {error:.2e}");
}

/// Mix-of-Show's and LoRACLR's fusions of one layer, as PyTorch makes them from rows: the iterates on the
/// way as well as the end.
pub fn fusions_are_those_of_pytorch<B: KernelBackend>(_: f64) {
    let fixture = Fixture::open("fusion.safetensors");
    let weight = fixture.float::<B, 2>("weight");
    let [outputs, inputs] = weight.dims();
    let (part, role, name_of_site) = (Part::Denoiser, Role::SelfAttention, "layer0".to_string());
    let sites = [Site { name: name_of_site.clone(), inputs, outputs, part, role }];
    let numbers = |name: String| -> Vec<f32> {
        fixture.values(&name).into_iter().map(|x| x as f32).collect()
    };
    let adapter = |concept: usize| {
        let (up, down) = (numbers(format!("{concept}.up")), numbers(format!("{concept}.down")));
        let factors = StoredFactors { rank: down.len() / inputs, up, down };
        StoredAdapter([(name_of_site.clone(), factors)].into())
    };
    let statistics = |concept: usize| {
        let kept = numbers(format!("{concept}.inputs"));
        let rows = kept.len() / inputs;
        let x = DMatrix::from_row_slice(rows, inputs, &kept);
        let values = (x.transpose() * x).iter().copied().collect();
        let gram = Gram { rows, inputs, values, kept };
        (name(concept), ActivationStatistics([(name_of_site.clone(), gram)].into()))
    };
    let (_folder, bank) = bank::<B>(&sites, 1, &[0, 1, 2].map(adapter));
    let members = members(&[1.0, 0.75, 1.5]);
    let statistics: BTreeMap<_, _> = [0, 1, 2].map(statistics).into();
    let compare = |what: String, fusion: &dyn Fusion| {
        let run = FusionRun::new(fusion, &bank, &members, &sites, Some(&statistics)).unwrap();
        let patches = PatchSet(run.patches(|_| weight.clone()).collect::<Result<_, _>>().unwrap());
        assert_close(&what, &deltas::<B>(&patches, &sites)[0], &fixture.float::<B, 2>(&what), 1e-5);
    };
    for iterations in [1, 2, 5, 15, 40] {
        let solver = FusionSolver::Lbfgs { prompt_iterations: 1, spatial_iterations: iterations };
        compare(format!("lbfgs.{iterations}"), &MixOfShow { solver });
    }
    for margin in ["0.5", "22.0"] {
        let fusion = LoraClr { lr: 0.02, margin: margin.parse().unwrap(), ..LoraClr::default() };
        compare(format!("loraclr.{margin}"), &fusion);
    }
}

/// A single concept whose inputs span all dimensions is returned as it is, without a ridge. If they do
/// not, a ridge is required; ΔW is then returned on the span of the inputs, and is zero outside of it.
pub fn one_concept_is_returned_on_its_span<B: KernelBackend>(tolerance: f64) {
    let members = members(&[1.0]);
    let fused = |input: Tensor<B, 2>, fusion: &dyn Fusion| {
        let concepts = ToyConcepts::<B>::new(ONE_LAYER, vec![input]);
        let statistics = concepts.statistics();
        let run = concepts.run(fusion, &members, Some(&statistics));
        let patches = concepts.fuse(&run)?;
        let own = changes::<B>(&concepts.bank, &members, 0).remove(0);
        Ok::<_, burn_seqlora::Error>((deltas::<B>(&patches, &concepts.sites).remove(0), own))
    };
    let all = random([40, 10], 920, DType::F32);
    let (delta, own) = fused(all, &LeastSquares { ridge: 0.0 }).unwrap();
    assert_close("ΔW", &delta, &own, tolerance);

    let six = random::<B, 2>([40, 6], 921, DType::F32);
    let some = Tensor::cat(vec![six, Tensor::zeros([40, 4], &B::Device::default())], 1);
    let error = fused(some.clone(), &LeastSquares { ridge: 0.0 }).unwrap_err().to_string();
    assert!(error.contains("layer0") && error.contains("`ridge`"), "{error}");
    let closed_form = MixOfShow { solver: FusionSolver::ClosedForm };
    for (fusion, tolerance) in [
        (&LeastSquares::default() as &dyn Fusion, 1e-3),
        (&closed_form, tolerance),
        (&MixOfShow::default(), 1e-3),
    ] {
        let (delta, own) = fused(some.clone(), fusion).unwrap();
        let seen = |delta: &Tensor<B, 2>| delta.clone().narrow(1, 0, 6);
        assert_close("ΔW on the span", &seen(&delta), &seen(&own), tolerance);
        assert!(largest(delta.narrow(1, 6, 4).to_data().iter()) < 1e-6);
    }
}

/// A sum is the composition at every site, also where a concept is missing, and N times the mean.
pub fn a_sum_is_the_composition<B: KernelBackend>(_: f64) {
    let sites = TWO_LAYERS.sites();
    let mut adapters: Vec<_> = (0..3).map(|i| adapter::<B>(&sites, 2, i, 1.0)).collect();
    adapters[1].0.remove("layer1");
    let (_folder, bank) = bank::<B>(&sites, 1, &adapters);
    let members = members(&[0.5, 1.0, -2.0]);
    let set = compose::<B>(&bank, &members).adapters;
    let fuse = |fusion: &dyn Fusion| {
        let run = FusionRun::new(fusion, &bank, &members, &sites, None).unwrap();
        let patches = run.patches(|_| -> Tensor<B, 2> { unreachable!("no weight is needed") });
        deltas::<B>(&PatchSet(patches.collect::<Result<_, _>>().unwrap()), &sites)
    };
    let (sum, mean) = (fuse(&Sum), fuse(&Mean));
    for site in 0..sites.len() {
        let LoraFactors { up, down } = set.site(site).unwrap();
        let expected = up.primal.times(down.primal.transpose());
        assert_close("sum", &sum[site], &expected, 1e-6);
        assert_close("mean", &mean[site].clone().mul_scalar(3.0), &sum[site], 1e-6);
    }
}

/// Half of the base model, and all members.
#[derive(Debug)]
struct Half;

impl Fusion for Half {
    fn name(&self) -> &'static str {
        "half"
    }

    fn description(&self) -> &'static str {
        "on half of the base model"
    }

    fn memory(&self, site: &Site, _: &[usize]) -> usize {
        2 * size_of::<f64>() * site.inputs * site.outputs
    }

    fn fuse(
        &self,
        layer: &Layer,
        members: &mut dyn Iterator<Item = burn_seqlora::Result<LayerMember>>,
    ) -> burn_seqlora::Result<WeightPatch> {
        let mut delta = layer.weight() * -0.5;
        for member in members {
            let LayerMember { scale, factors, .. } = member?;
            if let Some((up, down)) = factors.as_ref().map(StoredFactors::to_matrices) {
                delta += up * down.transpose() * scale;
            }
        }
        layer.dense_patch(&delta)
    }
}

/// A fusion defined outside of the library gets the base weights and the members. A fusion that needs
/// statistics is refused without them.
pub fn a_fusion_of_ones_own_runs<B: KernelBackend>(_: f64) {
    let inputs = (0..2).map(|i| random([3, 7], 930 + i, DType::F32)).collect();
    let concepts = ToyConcepts::<B>::new(TWO_LAYERS, inputs);
    let members = members(&[1.0, -0.5]);
    let patches = concepts.fuse(&concepts.run(&Half, &members, None)).unwrap();
    for (number, delta) in deltas::<B>(&patches, &concepts.sites).iter().enumerate() {
        let sum = changes::<B>(&concepts.bank, &members, number).into_iter().reduce(|a, b| a + b);
        let expected = sum.unwrap() - concepts.net.weights[number].clone().mul_scalar(0.5);
        assert_close("ΔW", delta, &expected, 1e-6);
    }
    let fusion = LeastSquares::default();
    let refused = FusionRun::new(&fusion, &concepts.bank, &members, &concepts.sites, None);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("least-squares") && error.contains("statistics"), "{error}");
}

pub(super) const TINY: [&str; 2] = ["tiny-sd1", "tiny-sd2"];

pub(super) fn tiny<B: KernelBackend>(name: &str) -> StableDiffusion<B> {
    StableDiffusion::load(&fixtures::path(name), &B::Device::default()).unwrap()
}

/// What text encoder and denoiser make of a prompt with the first concept and of noise.
fn predict<B: KernelBackend>(
    model: &StableDiffusion<B>,
    concept: &Composition<B>,
    adapters: &DualAdapters<B>,
) -> Tensor<B, 4> {
    let pieces = concept.vocabulary.split(&format!("a photo of a <{}>", name(0))).unwrap();
    let tokens = model.tokenize(&pieces).unwrap();
    let (layers, device) = (model.cross_attention_layers(), B::Device::default());
    let batch = TextBatch::new(&[tokens], &concept.vocabulary, layers, &device);
    let conditioning = model.encode_text(&batch, concept.embeddings.as_ref(), adapters);
    let side = model.resolution() / model.downscale();
    let noise = random([1, model.latent_channels(), side, side], 940, DType::F32);
    let timestep = Tensor::from_data([500.0], &device);
    model.predict(Dual::constant(noise), timestep, &conditioning, adapters).primal
}

/// The model predicts the same with factors of ΔW and with W₀ + ΔW in place of W₀, at all or at some of
/// the sites; so each site's weight is that of its own layer.
pub fn patched_models_predict_what_compositions_do<B: KernelBackend>(tolerance: f64) {
    for model in TINY {
        let model = tiny::<B>(model);
        let sites = model.sites();
        for (number, Site { name, inputs, outputs, .. }) in sites.iter().enumerate() {
            assert_eq!(model.site_weight(number).dims(), [*outputs, *inputs], "{name}");
        }
        let adapters = [0, 1].map(|i| adapter::<B>(sites, 6, i, 0.05));
        let (_folder, bank) = bank::<B>(sites, model.token_width(), &adapters);
        let members = members(&[1.0, 0.5]);
        let composition = compose::<B>(&bank, &members);
        let low_rank = predict(&model, &composition, &composition.adapters);
        let base = predict(&model, &composition, &DualAdapters::none());
        let changed = relative_error(&low_rank, &base);
        assert!(changed > 1e-2, "{changed:.2e}");

        let run = FusionRun::new(&Sum, &bank, &members, sites, None).unwrap();
        let patches = run.patches(|site| model.site_weight(site)).collect::<Result<_, _>>();
        let sum = PatchSet(patches.unwrap());
        let dense = |(name, patch): (&String, &WeightPatch)| {
            let site = sites.iter().find(|site| site.name == *name).unwrap();
            let Site { outputs, inputs, .. } = *site;
            (name.clone(), WeightPatch::Dense { outputs, inputs, values: patch.delta() })
        };
        let dense = PatchSet(sum.0.iter().map(dense).collect());
        let merged = merged(&model, &composition.adapters);
        let replaced = (0..sites.len()).filter(|site| merged.weight(*site).is_some()).count();
        assert!(replaced > 0 && replaced < sites.len(), "{replaced} of {}", sites.len());
        for (what, adapters) in [
            ("low-rank patches", patched(&model, &sum).unwrap()),
            ("dense patches", patched(&model, &dense).unwrap()),
            ("merged", merged),
        ] {
            let output = predict(&model, &composition, &adapters);
            assert_close(what, &output, &low_rank, tolerance / 10.0);
        }
    }
}

/// From a bank to a fused model: least squares on the activations of a concept's own samples reproduces
/// the concept, also for noise that was not sampled.
pub fn a_concept_survives_its_fusion<B: KernelBackend>(_: f64) {
    let model = tiny::<B>(TINY[0]);
    let sites = model.sites();
    let (folder, bank) = bank::<B>(sites, model.token_width(), &[adapter::<B>(sites, 2, 0, 0.05)]);
    let members = members(&[1.0]);
    let concept = compose::<B>(&bank, &members);
    let own = concept.adapters.clone();
    let plan = SamplerPlan::new(SamplerKind::DpmPlusPlus2M, &model.config().scheduler, 10).unwrap();
    let record = || {
        let recording = Recording::of(&name(0), &plan, 0);
        record_activations(&model, &concept, &own, |_| true, &recording).unwrap()
    };
    let statistics = record();
    assert_eq!(statistics, record(), "recording is deterministic");
    assert_eq!(statistics.0.len(), sites.len());
    let on_disk = StatisticsFolder::new(folder.path());
    on_disk.write(&name(0), statistics).unwrap();

    let fusion = LeastSquares::default();
    let run = FusionRun::new(&fusion, &bank, &members, sites, Some(&on_disk)).unwrap();
    let patches = run.patches(|site| model.site_weight(site)).collect::<Result<_, _>>().unwrap();
    let fused = patched(&model, &PatchSet(patches)).unwrap();
    let output = |adapters: &DualAdapters<B>| predict(&model, &concept, adapters);
    let (expected, base) = (output(&own), output(&DualAdapters::none()));
    let (left, whole) =
        (relative_error(&output(&fused), &expected), relative_error(&base, &expected));
    println!("fused {left:.2e}, base {whole:.2e}");
    assert!(left < 0.05 * whole, "fused {left:.2e}, base {whole:.2e}");
}
