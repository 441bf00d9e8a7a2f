//! The tensors of a checkpoint: their names and shapes follow from the run, and are not taken on the
//! file's word.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::backend::Backend;
use seqlora_files::{read_bytes, sha256};

use super::checkpoint_record::CheckpointRecord;
use crate::bank::{NamedTensors, parse_tensors};
use crate::error::{Error, Result};
use crate::lora::Site;
use crate::methods::TrainState;
use crate::read;

/// The tensors of a site that have the shape of A, and those that have the shape of B.
const OF_UP: [&str; 3] = ["up", "inner_first", "inner_second"];
const OF_DOWN: [&str; 3] = ["down", "outer_first", "outer_second"];
const OF_EMBEDDINGS: [&str; 3] = ["embeddings", "embeddings_first", "embeddings_second"];

/// Bytes of a safetensors header, and of a tensor's entry in it with a long name.
const HEADER: u64 = 1 << 16;
const ENTRY: u64 = 1 << 10;

/// What a run has by name: `[outputs, rank]` like A, `[inputs, rank]` like B, and the token embeddings.
fn expected(
    sites: &[Site],
    ranks: &[usize],
    embeddings: [usize; 2],
) -> BTreeMap<String, [usize; 2]> {
    let of_site = |(site, rank): (&Site, &usize)| {
        let named = |names: [&'static str; 3], rows: usize| {
            let (site, rank) = (site.name.clone(), *rank);
            names.map(|name| (format!("{site}.{name}"), [rows, rank]))
        };
        [named(OF_UP, site.outputs), named(OF_DOWN, site.inputs)]
    };
    let adapted = sites.iter().zip(ranks).filter(|(_, rank)| **rank > 0);
    let of_sites = adapted.map(of_site).collect::<Vec<_>>().into_iter().flatten().flatten();
    of_sites.chain(OF_EMBEDDINGS.map(|name| (name.to_string(), embeddings))).collect()
}

/// Reads the tensors of a run with these ranks at its sites and token embeddings of this shape.
///
/// # Errors
/// If the file is not the one that `record` was written for, or a tensor is missing, left over, of another
/// shape, or cannot be the state of an optimizer.
pub fn read(
    file: &Path,
    record: &CheckpointRecord,
    (sites, ranks, embeddings): (&[Site], &[usize], [usize; 2]),
) -> Result<NamedTensors> {
    let expected = expected(sites, ranks, embeddings);
    let bytes: u64 = expected.values().map(|[rows, columns]| 4 * (rows * columns) as u64).sum();
    let bytes = read_bytes(file, bytes + HEADER + ENTRY * expected.len() as u64)?;
    if record.checksum_with(&sha256(&bytes)) != record.checksum {
        return Err(Error::damaged(file, "it is not the file that state.json was written for"));
    }
    let tensors = parse_tensors(file, &bytes)?;
    let damaged = |reason: String| Err(Error::damaged(file, reason));
    if let Some(name) = expected.keys().find(|name| !tensors.contains_key(*name)) {
        return damaged(format!("`{name}` is missing"));
    }
    for (name, (shape, values)) in &tensors {
        match expected.get(name) {
            None => return damaged(format!("`{name}` belongs to no layer of this run")),
            Some(wanted) if wanted != shape => {
                return damaged(format!("`{name}` has shape {shape:?}, expected {wanted:?}"));
            }
            Some(_) if name.ends_with("_second") && values.iter().any(|v| *v < 0.0) => {
                return damaged(format!(
                    "`{name}` is a mean of squares and holds negative numbers"
                ));
            }
            Some(_) => {}
        }
    }
    Ok(tensors)
}

/// The tensors of a state by name.
pub fn to_tensors<B: Backend>(sites: &[Site], state: &TrainState<B>) -> NamedTensors {
    let adapters = &state.parameters.adapters;
    let kinds = [
        ("up", &adapters.up),
        ("down", &adapters.down),
        ("inner_first", &state.inner.first),
        ("inner_second", &state.inner.second.mean),
        ("outer_first", &state.outer.first),
        ("outer_second", &state.outer.second.mean),
    ];
    let of_sites = kinds.into_iter().flat_map(|(kind, factors)| {
        factors.iter().map(move |(site, t)| (format!("{}.{kind}", sites[site].name), t))
    });
    let embeddings = [
        ("embeddings", state.parameters.embeddings.clone()),
        ("embeddings_first", state.embeddings.first.get(0)),
        ("embeddings_second", state.embeddings.second.mean.get(0)),
    ];
    let of_embeddings = embeddings.into_iter().filter_map(|(name, t)| Some((name.to_string(), t?)));
    let named = of_sites.chain(of_embeddings);
    named.map(|(name, t)| (name, (t.dims(), read::data(t).iter::<f32>().collect()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};

    #[test]
    fn names_and_shapes_follow_from_the_run() {
        let site = |name: &str| Site {
            name: name.into(),
            inputs: 5,
            outputs: 7,
            part: Part::Denoiser,
            role: Role::CrossAttention,
        };
        let expected = expected(&[site("a"), site("b")], &[2, 0], [3, 4]);
        assert_eq!(expected.len(), 9);
        assert_eq!(expected["a.inner_second"], [7, 2]);
        assert_eq!(expected["a.outer_first"], [5, 2]);
        assert_eq!(expected["embeddings_second"], [3, 4]);
    }
}
