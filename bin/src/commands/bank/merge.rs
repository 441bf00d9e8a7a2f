//! `seqlora bank merge`

use burn_seqlora::bank::{Bank, max_overlap, merge_banks};
use burn_seqlora::error::Result;
use serde_json::json;

use crate::args::MergeBanks;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Merges banks into a new one.
pub fn run(args: &MergeBanks, terminal: &Terminal) -> Result<(), Failure> {
    let banks = args.banks.iter().map(|bank| Bank::open(bank)).collect::<Result<Vec<_>>>()?;
    let merged = merge_banks(&banks, &args.out)?;
    let (out, concepts, overlap) = (&args.out, merged.concepts(), max_overlap(&merged)?);
    let value = json!({
        "version": 1,
        "bank": out.to_string_lossy(),
        "merged": args.banks.iter().map(|bank| bank.to_string_lossy()).collect::<Vec<_>>(),
        "concepts": concepts,
        "max_overlap": overlap,
    });
    terminal.result(&value, || {
        let (banks, out) = (banks.len(), out.display());
        format!(
            "{} concepts of {banks} banks are in {out}; overlap {overlap:.1e} at most",
            concepts.len()
        )
    })
}
