//! PyTorch's files (`.pt`, `.pth`, `.bin`): where the numbers of each tensor lie. Nothing is executed.
//!
//! Since version 1.6 `torch.save` writes an uncompressed zip archive of a pickle, which names the
//! tensors, and one entry for each storage of numbers. The numbers are therefore plain bytes of the
//! file, as in safetensors, and [`read`] gives them as safetensors' headers do. burn-store has a reader
//! too; this one allocates nothing on a file's word, and needs neither a decompressor nor all of a
//! storage in memory.

mod archive;
mod global;
mod pickle;

use std::collections::BTreeMap;
use std::fs::File;

use safetensors::tensor::TensorInfo;

use archive::Archive;
use pickle::{Node, Pickle, Tensor, Value};

/// The largest pickle that is read. That of a ViT-H with its text encoder has 0.2 MB.
const LIMIT: u64 = 16 << 20;

/// The most entries of dictionaries that are looked at. A whole pipeline has some 3000 tensors.
const MOST_ENTRIES: usize = 1 << 16;

/// The keys under which training programs put the weights beside other things.
const NESTED: [&str; 3] = ["state_dict", "model", "params"];

/// Whether a file starts as an archive of PyTorch does.
pub(super) fn is_archive(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04")
}

/// Whether a file starts as PyTorch wrote them before version 1.6, or as Python writes a dictionary. As
/// the length of a safetensors header these bytes would be far over its limit.
pub(super) fn is_bare_pickle(start: &[u8]) -> bool {
    start.starts_with(b"\x80\x02\x8a\x0a") || start.starts_with(b"\x80\x02}q")
}

/// The tensors of an archive of `size` bytes, with their places counted from the start of the file.
///
/// # Errors
/// A sentence, if it is damaged or no archive of tensors.
pub(super) fn read(file: &mut File, size: u64) -> Result<BTreeMap<String, TensorInfo>, String> {
    let archive = Archive::read(file, size)?;
    let pickle = archive.find("data.pkl").ok_or("it is a zip archive without `data.pkl`")?;
    let bytes = archive.bytes(file, &pickle, LIMIT)?;
    let pickle = Pickle::read(&bytes)?;
    let (mut tensors, mut bytes) = (BTreeMap::new(), 0);
    for (key, tensor) in weights(&pickle)? {
        let place = archive
            .find(&format!("data/{}", tensor.storage))
            .ok_or_else(|| format!("the numbers of `{key}` are missing"))?;
        let info = info(tensor, place.start, place.size).map_err(|e| format!("`{key}` {e}"))?;
        // A few tied weights share a storage, but a small file must not stand for many large tensors.
        bytes += (info.data_offsets.1 - info.data_offsets.0) as u64;
        if bytes / 2 > size {
            return Err(format!(
                "its tensors share numbers: they have over {bytes} bytes, the file {size}"
            ));
        }
        tensors.insert(key, info);
    }
    Ok(tensors)
}

/// The named tensors of a state dict: of the whole pickle, or of what training programs nest it in.
fn weights(pickle: &Pickle) -> Result<Vec<(String, &Tensor)>, String> {
    let mut entries =
        pickle.entries(pickle.root).ok_or("its pickle is no dictionary of tensors")?;
    let nested = |key: &&str| {
        let (_, value) = entries.iter().find(|(name, _)| name == key)?;
        pickle.entries(*value)
    };
    if let Some(inner) = NESTED.iter().find_map(nested) {
        entries = inner;
    }
    let mut seen = pickle.size(pickle.root).max(entries.len());
    let check = |seen: usize| match seen > MOST_ENTRIES {
        true => Err(format!("its pickle has more than {MOST_ENTRIES} entries")),
        false => Ok(()),
    };
    check(seen)?;
    let mut tensors = tensors_of(pickle, "", &entries);
    if tensors.is_empty() {
        // Mix-of-Show puts the weights of each model into a dictionary of its own.
        for (key, value) in entries {
            seen += pickle.size(value);
            check(seen)?;
            let inner = pickle.entries(value).unwrap_or_default();
            tensors.extend(tensors_of(pickle, &format!("{key}."), &inner));
        }
    }
    match tensors.is_empty() {
        true => Err("its pickle is no dictionary of tensors".into()),
        false => Ok(tensors),
    }
}

/// The entries of a dictionary that are tensors, with their keys after a prefix.
fn tensors_of<'a>(
    pickle: &'a Pickle,
    prefix: &str,
    entries: &[(&str, Value)],
) -> Vec<(String, &'a Tensor)> {
    let tensor = |(key, value): &(&str, Value)| match pickle.node(*value) {
        Some(Node::Tensor(tensor)) => Some((format!("{prefix}{key}"), tensor)),
        _ => None,
    };
    entries.iter().filter_map(tensor).collect()
}

/// Where a tensor's numbers lie in the file, if they are all in its storage and in order.
fn info(tensor: &Tensor, start: u64, size: u64) -> Result<TensorInfo, String> {
    let mut stride = 1u64;
    for (length, found) in tensor.shape.iter().zip(&tensor.strides).rev() {
        // Where there is one entry, no step is taken.
        if *length != 1 && *found != stride {
            return Err("is not stored in order; save it with `.contiguous()`".into());
        }
        stride = stride.checked_mul(*length).ok_or("has a shape that overflows")?;
    }
    let width = (tensor.dtype.bitsize() / 8) as u64;
    let outside = "lies outside its storage";
    let bytes = |count: u64| count.checked_mul(width).ok_or(outside);
    let (from, length) = (bytes(tensor.offset)?, bytes(stride)?);
    let to = from.checked_add(length).filter(|end| *end <= size).ok_or(outside)?;
    let place = |offset: u64| usize::try_from(start + offset).map_err(|_| outside);
    let shape = tensor.shape.iter().map(|n| usize::try_from(*n).map_err(|_| outside));
    Ok(TensorInfo {
        dtype: tensor.dtype,
        shape: shape.collect::<Result<_, _>>()?,
        data_offsets: (place(from)?, place(to)?),
    })
}
