//! Concepts as files of other tools, each read again and compared.

use std::fs;
use std::path::{Path, PathBuf};

use super::formats::{AdapterCard, AdapterFormat, open, write_textual_inversion};
use super::{Bank, ConceptRecord, Matrix};
use crate::compose::Member;
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter, StoredFactors};

/// The largest difference between ΔW and what is read again, relative to the largest entry: formats
/// store f32, and only a scale may be rounded.
const TOLERANCE: f64 = 1e-6;

/// A file or folder that was written and read again.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportedAdapter {
    /// The file, or the folder if there are several.
    pub path: PathBuf,
    /// The modules that it holds; all were found again.
    pub modules: usize,
    /// The largest difference of their ΔW from the bank's, relative to the largest entry.
    pub error: f64,
}

/// A concept's words as other tools store them: an embedding for each.
#[derive(Debug, Clone, PartialEq)]
pub struct WordEmbeddings {
    /// `[words, width]`
    pub embeddings: Matrix,
    /// How many embeddings of the bank each stands for: one, or one for each cross-attention layer.
    pub embeddings_per_word: usize,
    /// What taking their mean loses: the norm of the difference relative to theirs.
    pub error: f64,
}

/// The sum of adapters as one of the sum of their ranks: `[λ₁A₁ … λ_N A_N]` and `[B₁ … B_N]`.
///
/// # Errors
/// If a concept is not in the bank, given twice or damaged.
pub fn composed_adapter(bank: &Bank, members: &[Member]) -> Result<StoredAdapter> {
    crate::compose::check_members(bank, members)?;
    let mut composed = StoredAdapter::default();
    for member in members {
        for (site, factors) in member.adapter(bank, bank.sites())?.0 {
            let scaled = scaled(factors, member.scale);
            let sum = match composed.0.remove(&site) {
                Some(earlier) => concatenated(&earlier, &scaled),
                None => scaled,
            };
            composed.0.insert(site, sum);
        }
    }
    Ok(composed)
}

fn scaled(mut factors: StoredFactors, scale: f64) -> StoredFactors {
    factors.up.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    factors
}

fn concatenated(first: &StoredFactors, second: &StoredFactors) -> StoredFactors {
    let rows = first.up.chunks(first.rank).zip(second.up.chunks(second.rank));
    StoredFactors {
        rank: first.rank + second.rank,
        up: rows.flat_map(|(a, b)| a.iter().chain(b).copied()).collect(),
        down: [&first.down[..], &second.down].concat(),
    }
}

/// Writes an adapter into a folder, which is created, reads it again and compares ΔW of every module.
///
/// # Errors
/// If it cannot be written, or what is read again is another adapter.
pub fn export_adapter(
    format: &dyn AdapterFormat,
    folder: &Path,
    adapter: &StoredAdapter,
    card: &AdapterCard,
    sites: &[Site],
) -> Result<ExportedAdapter> {
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    format.write(folder, adapter, card)?;
    let path = match format.file_name(&card.name) {
        Some(file) => folder.join(file),
        None => folder.into(),
    };
    let (found, foreign) = open(&path)?;
    let read = foreign.matched(|site| found.module_names(site), sites)?;
    let differs = |reason: String| Err(Error::damaged(&path, reason));
    if found.name() != format.name() {
        return differs(format!(
            "it was written as {}, and is read as {}",
            format.name(),
            found.name()
        ));
    }
    if !read.adapter.0.keys().eq(adapter.0.keys()) || !read.others.is_empty() {
        return differs(format!("{} modules were written, others are read", adapter.0.len()));
    }
    let mut error = 0f64;
    for (site, factors) in &adapter.0 {
        let difference = difference(factors, &read.adapter.0[site]);
        if difference.is_nan() || difference > TOLERANCE {
            return differs(format!(
                "ΔW of `{site}` differs by {difference:.1e} where it is read again"
            ));
        }
        error = error.max(difference);
    }
    Ok(ExportedAdapter { path, modules: adapter.0.len(), error })
}

/// The largest difference of two ΔW relative to the largest entry of the first.
fn difference(expected: &StoredFactors, found: &StoredFactors) -> f64 {
    let delta = |factors: &StoredFactors| {
        let (up, down) = factors.to_matrices();
        up * down.transpose()
    };
    let expected = delta(expected);
    let difference = (delta(found) - &expected).amax();
    match expected.amax() {
        0.0 => difference,
        largest => difference / largest,
    }
}

/// A concept's words with one embedding each: the mean of those that it has.
///
/// # Errors
/// If the concept's files are damaged.
pub fn word_embeddings(bank: &Bank, record: &ConceptRecord) -> Result<WordEmbeddings> {
    let ([_, width], values) = bank.embeddings(record)?;
    let count = record.embeddings_per_word;
    let (mut means, mut lost, mut total) = (Vec::new(), 0.0, 0.0);
    for word in values.chunks(count * width) {
        for place in 0..width {
            let column = || word.iter().skip(place).step_by(width).map(|x| f64::from(*x));
            let mean = column().sum::<f64>() / count as f64;
            lost += column().map(|x| (x - mean).powi(2)).sum::<f64>();
            total += column().map(|x| x * x).sum::<f64>();
            means.push(mean as f32);
        }
    }
    let error = if total > 0.0 { (lost / total).sqrt() } else { 0.0 };
    let embeddings = ([record.words, width], means);
    Ok(WordEmbeddings { embeddings, embeddings_per_word: count, error })
}

/// Writes a concept's words as `<folder>/<id>.safetensors`.
///
/// # Errors
/// If the concept's files are damaged, or the file cannot be written.
pub fn export_words(
    bank: &Bank,
    record: &ConceptRecord,
    folder: &Path,
) -> Result<(PathBuf, WordEmbeddings)> {
    let words = word_embeddings(bank, record)?;
    fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
    let file = folder.join(format!("{}.safetensors", record.id));
    write_textual_inversion(&file, &words.embeddings)?;
    Ok((file, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn factors(rank: usize, start: usize) -> StoredFactors {
        let numbers = |count: usize| (start..start + count).map(|x| x as f32 / 7.0).collect();
        StoredFactors { rank, up: numbers(2 * rank), down: numbers(3 * rank) }
    }

    #[test]
    fn the_ranks_of_a_sum_add_up() {
        let (a, b) = (factors(2, 1), factors(1, 5));
        let sum = concatenated(&a, &scaled(b.clone(), -0.5));
        let delta = |f: &StoredFactors| {
            let (up, down) = f.to_matrices();
            up * down.transpose()
        };
        let expected = delta(&a) - delta(&b) * 0.5;
        assert_eq!(sum.rank, 3);
        assert!((delta(&sum) - &expected).amax() < 1e-6, "{}", delta(&sum));
        assert!(difference(&sum, &concatenated(&a, &b)) > 0.1);
    }
}
