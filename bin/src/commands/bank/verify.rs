//! `seqlora bank verify`: whether a bank is what it says.

use std::path::Path;

use burn_seqlora::bank::{Bank, LARGEST_OVERLAP, PairOverlap, Verification};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::terminal::Terminal;

/// Verifies a bank, and fails if something is wrong.
pub fn run(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(path)?;
    let found = bank.verify()?;
    terminal.result(&value(path, &found), || shown(&found))?;
    if found.is_sound() {
        return Ok(());
    }
    let mut damaged: Vec<&str> =
        found.problems().map(|(id, _)| id.map_or("the cache", |id| id.as_str())).collect();
    damaged.dedup();
    Err(Failure::Damaged(format!("{} is not what it says: {}", path.display(), damaged.join(", "))))
}

fn value(path: &Path, found: &Verification) -> Value {
    let pair = |pair: &PairOverlap| json!({ "concepts": pair.concepts, "overlap": pair.overlap, "site": pair.site });
    let sites: Vec<Value> = found.sites.iter().map(|site| pair(&site.worst)).collect();
    let problems: Vec<Value> = found
        .problems()
        .map(|(id, problem)| {
            json!({
                "concept": id,
                "file": problem.file.to_string_lossy(),
                "problem": problem.text,
                "remedy": problem.remedy,
            })
        })
        .collect();
    let concepts: Vec<&str> = found.concepts.iter().map(|state| state.id.as_str()).collect();
    let reserved: Vec<&str> = found.reserved.iter().map(|state| state.id.as_str()).collect();
    json!({
        "version": 1,
        "bank": path.to_string_lossy(),
        "sound": found.is_sound(),
        "concepts": concepts,
        "reserved_for_removed": reserved,
        "overlap_bound": LARGEST_OVERLAP,
        "worst": found.worst.as_ref().map(pair),
        "sites": sites,
        "problems": problems,
    })
}

fn shown(found: &Verification) -> String {
    let mut text = format!("concepts  {}", found.concepts.len());
    if !found.reserved.is_empty() {
        text += &format!(", and {} removed whose directions are reserved", found.reserved.len());
    }
    text += &match &found.worst {
        None => "\noverlap   no two concepts adapt the same layer".into(),
        Some(PairOverlap { concepts: [a, b], overlap, site }) => format!(
            "\noverlap   {overlap:.1e} at most, of {a} and {b} at {site}; concepts that are kept apart \
             may have {LARGEST_OVERLAP:.0e}"
        ),
    };
    for (id, problem) in found.problems() {
        let id = id.map_or(String::new(), |id| format!("{id}: "));
        text += &format!("\n{id}{}\n    file    {}", problem.text, problem.file.display());
        text += &format!("\n    remedy  {}", problem.remedy);
    }
    text += if found.is_sound() { "\nsound" } else { "" };
    text
}
