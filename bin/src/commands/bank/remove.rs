//! `seqlora bank remove`

use burn_seqlora::bank::{Bank, Directions, Removal};
use serde_json::json;

use crate::args::RemoveConcept;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Removes a concept.
pub fn run(args: &RemoveConcept, terminal: &Terminal) -> Result<(), Failure> {
    let directions = if args.free_directions { Directions::Free } else { Directions::Keep };
    let mut bank = Bank::open_to_change(&args.bank)?;
    let removal = bank.remove(&args.id, directions)?;
    let [reserved, freed]: [usize; 2] =
        [&removal.reserved, &removal.freed].map(|ranks| ranks.iter().sum());
    let value = json!({
        "version": 1,
        "bank": args.bank.to_string_lossy(),
        "id": removal.id,
        "was_listed": removal.was_listed,
        "reserved_directions": reserved,
        "freed_directions": freed,
        "concepts": bank.concepts(),
    });
    terminal.result(&value, || shown(&removal, reserved, freed))
}

fn shown(removal: &Removal, reserved: usize, freed: usize) -> String {
    let Removal { id, was_listed, .. } = removal;
    let layers = |ranks: &[usize]| ranks.iter().filter(|rank| **rank > 0).count();
    let removed = match was_listed {
        true => format!("{id} is removed"),
        false => format!("{id} had been removed before"),
    };
    match (reserved, freed) {
        (0, 0) => removed,
        (0, freed) => {
            let layers = layers(&removal.freed);
            format!("{removed}; {freed} directions of {layers} layers are free again")
        }
        (reserved, _) => {
            let layers = layers(&removal.reserved);
            format!(
                "{removed}; later concepts stay orthogonal to its {reserved} directions of {layers} \
                 layers (--free-directions gives them up)"
            )
        }
    }
}
