//! A bank of a thousand concepts: opening it, planning the next concept and composing eight.
//!
//! `cargo test --release -p seqlora-tests --test large_bank -- --nocapture` prints seconds and memory.

use std::path::Path;
use std::time::Instant;

use burn::backend::Autodiff;
use burn_seqlora::Flow;
use burn_seqlora::bank::{Bank, BaseModel, ConceptId, ConceptRecord, TrainingRecord, max_overlap};
use burn_seqlora::compose::{Composition, Member};
use burn_seqlora::data::{CaptionOptions, ConceptData, Examination, Examples};
use burn_seqlora::kernels::Flex;
use burn_seqlora::lora::{Part, Role, Site, StoredAdapter, StoredFactors};
use burn_seqlora::methods::SeqLora;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{Examining, PlanOptions, plan};
use rand_chacha::ChaCha8Rng;

const INPUTS: usize = 1024;
const SITES: usize = 4;

fn sites() -> Vec<Site> {
    let site = |number| Site {
        name: format!("layer{number}"),
        inputs: INPUTS,
        outputs: INPUTS,
        part: Part::Denoiser,
        role: Role::CrossAttention,
    };
    (0..SITES).map(site).collect()
}

fn id(concept: usize) -> ConceptId {
    ConceptId::new(format!("concept{concept}")).unwrap()
}

/// Concept i reads input i alone, so that all are orthogonal.
fn adapter(concept: usize) -> StoredAdapter {
    let down = (0..INPUTS).map(|input| if input == concept { 1.0 } else { 0.0 });
    let factors = StoredFactors { rank: 1, up: vec![0.5; INPUTS], down: down.collect() };
    StoredAdapter(sites().into_iter().map(|site| (site.name, factors.clone())).collect())
}

/// Adds concepts up to a number.
fn fill(bank: &mut Bank, count: usize) {
    for concept in bank.concepts().len()..count {
        let adapter = adapter(concept);
        let record = ConceptRecord::new(&id(concept), "thing", [1, 1], true, &adapter);
        let training = TrainingRecord {
            method: "seqlora".into(),
            images: vec![],
            data_digest: String::new(),
            steps: 1,
            initial_loss: 1.0,
            final_loss: 1.0,
            settings: serde_json::json!(TrainConfig::default()),
            trained_by: "tests".into(),
        };
        bank.append(record, &training, &adapter, ([1, 1], vec![0.0])).unwrap();
    }
}

/// A concept without images, which a plan does not look at.
#[derive(Debug)]
struct Next;

impl ConceptData for Next {
    fn id(&self) -> &str {
        "next"
    }

    fn class_word(&self) -> &str {
        "thing"
    }

    fn image_names(&self) -> Vec<String> {
        vec![]
    }

    fn steps(&self) -> Option<usize> {
        None
    }

    fn examine(&self, _: &mut dyn FnMut(usize) -> Flow) -> burn_seqlora::Result<Examination> {
        Ok(Examination { digest: String::new(), largest_image: 1, mask_coverage: None })
    }

    fn check(&self) -> burn_seqlora::Result<()> {
        Ok(())
    }

    fn prompts(&self, _: &CaptionOptions) -> Vec<String> {
        vec![]
    }

    fn caption(&self, _: usize, _: &CaptionOptions, _: &mut ChaCha8Rng) -> String {
        "{}".into()
    }

    fn open(&self, _: usize, _: usize) -> burn_seqlora::Result<Box<dyn Examples>> {
        unreachable!("a plan opens no images")
    }
}

/// Greatest memory of the process so far, in MB.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1e3
}

/// Seconds to open, to plan and to compose eight, the best of ten: each takes milliseconds, and other
/// work on the machine takes longer than that.
fn measure(path: &Path) -> [f64; 3] {
    let once = || {
        let seconds = |since: Instant| since.elapsed().as_secs_f64();
        let start = Instant::now();
        let bank = Bank::open(path).unwrap();
        let opened = seconds(start);
        let start = Instant::now();
        let (sites, config) = (sites(), TrainConfig { rank: 1, ..TrainConfig::default() });
        let next: [&dyn ConceptData; 1] = [&Next];
        let read_on = |_: Examining| Flow::Continue;
        let options = PlanOptions::default();
        let plan = plan::<Autodiff<Flex>>(&bank, &SeqLora, next, &sites, &config, options, read_on);
        let plan = plan.unwrap();
        let left = INPUTS - bank.concepts().len();
        assert_eq!(plan.concepts[0].capacity.ranks, vec![left.min(1); SITES]);
        let planned = seconds(start);
        let start = Instant::now();
        let chosen = |number| Member::new(id(number * bank.concepts().len() / 8));
        let members: Vec<Member> = (0..8).map(chosen).collect();
        let composed = Composition::<Flex>::load(&bank, &members, &sites, &Default::default());
        assert_eq!(composed.unwrap().adapters.site(0).unwrap().down.dims(), [INPUTS, 8]);
        [opened, planned, seconds(start)]
    };
    let runs: Vec<[f64; 3]> = (0..10).map(|_| once()).collect();
    std::array::from_fn(|i| runs.iter().map(|run| run[i]).fold(f64::INFINITY, f64::min))
}

#[test]
fn a_thousand_concepts_cost_no_more_than_four_times_a_quarter_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let base = BaseModel {
        fingerprint: "synthetic".into(),
        tokenizer: None,
        prediction: None,
        name: "synthetic".into(),
        cross_attention_layers: 1,
        token_width: 1,
    };
    let mut bank = Bank::open_or_create(folder.path(), &base, &sites()).unwrap();
    let mut seconds = Vec::new();
    let mut memory = Vec::new();
    for count in [250, 1000] {
        fill(&mut bank, count);
        memory.push(peak_memory());
        let [open, plan, compose] = measure(folder.path());
        memory.push(peak_memory());
        println!(
            "{count} concepts: open {open:.4} s, plan {plan:.3} s, compose 8 {compose:.4} s, \
             peak {:.0} MB before, {:.0} MB after",
            memory[memory.len() - 2],
            memory[memory.len() - 1]
        );
        seconds.push([open, plan, compose]);
    }
    for (what, number) in [("open", 0), ("plan", 1)] {
        let ratio = seconds[1][number] / seconds[0][number].max(1e-2);
        assert!(ratio < 8.0, "{what}: {ratio:.1} times as long for four times the concepts");
    }
    assert!(
        seconds[1][2] < 3.0 * seconds[0][2].max(1e-2),
        "composing depends on its members alone"
    );
    assert!(memory[3] - memory[0] < 100.0, "{memory:?} MB");
    drop(bank);

    // The basis comes from the cache, and holds what the adapters hold.
    let bank = Bank::open(folder.path()).unwrap();
    let start = Instant::now();
    let directions = bank.directions(&sites(), None).unwrap();
    println!("orthonormal basis: {:.3} s", start.elapsed().as_secs_f64());
    assert!(directions.iter().all(|columns| columns.len() == 1000));
    let start = Instant::now();
    assert_eq!(max_overlap(&bank).unwrap(), 0.0, "each concept reads an input of its own");
    println!("mutual coherence of all pairs: {:.3} s", start.elapsed().as_secs_f64());
    let own = |(number, column): (usize, &Vec<f64>)| column[number] == 1.0;
    assert!(directions.iter().all(|columns| columns.iter().enumerate().all(own)));
}
