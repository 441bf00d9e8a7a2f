//! What a run may cost on a GPU, as `budget.json` says.

use std::collections::BTreeMap;

use burn_seqlora::precision::Precision;
use seqlora_dry_cuda::{Architecture, Counters};

use crate::runs::{Run, runs};

/// A figure for each name.
type Costs = BTreeMap<String, u64>;

/// By what was run.
const BUDGET: &str = include_str!("../../budget.json");

#[test]
fn runs_stay_within_their_budget() {
    let budget: BTreeMap<String, Costs> = serde_json::from_str(BUDGET).unwrap();
    let is_budgeted =
        |run: &&Run| run.architecture == Architecture::Hopper && run.precision == Precision::F32;
    let costs = |run: &Run| (run.what.to_string(), costs(&run.counters));
    let found: BTreeMap<String, Costs> = runs().iter().filter(is_budgeted).map(costs).collect();
    let is_within = |(what, costs): (&String, &Costs)| {
        let Some(budget) = budget.get(what) else { return false };
        costs.iter().all(|(name, &cost)| {
            budget.get(name).is_some_and(|&most| {
                // A budget that is far from what is needed would not notice growth.
                let (cost, most) = (cost as f64, most as f64);
                cost <= 1.05 * most && cost >= 0.8 * most
            })
        })
    };
    let now = serde_json::to_string_pretty(&found).unwrap();
    assert!(
        found.len() == budget.len() && found.iter().all(is_within),
        "a figure grew by more than 5 %, or shrank by more than 20; tests/dry-cuda/budget.json has\n\
         {BUDGET}\nand now it is\n{now}"
    );
}

fn costs(counters: &Counters) -> Costs {
    let costs = [
        ("launches", counters.total_launches() as u64),
        ("metadata copies", counters.total_metadata_copies() as u64),
        ("allocated bytes", counters.allocated_bytes),
        ("peak bytes", counters.peak_bytes),
        ("host reads", counters.reads as u64),
    ];
    costs.map(|(name, cost)| (name.to_string(), cost)).into()
}
