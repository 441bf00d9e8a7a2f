//! Blind matching: can somebody who sees only references and generated images tell which belong together?
//!
//! `draw` makes sheets of a demo whose concepts are of one class, one column for each concept. On the sheet of
//! references the columns are numbered from left to right; on the other sheets they are shuffled. The key
//! lies in a folder of its own; its SHA-256 is printed, to be noted before anybody answers. `score` compares
//! answers with the key.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::report::Summary;
use burn_seqlora::rng::Seed;
use clap::{Args, Subcommand};
use image::imageops::{FilterType, replace, resize};
use image::{Rgb, RgbImage};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// Pixels of an image on a sheet.
const SIDE: u32 = 192;

const GAP: u32 = 12;

/// References of each concept on their sheet.
const REFERENCES: usize = 2;

/// The options of `blind`.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Draws the sheets.
    Draw {
        /// The folder of a demo
        #[arg(long)]
        demo: PathBuf,
        /// The method whose images are drawn
        #[arg(long, default_value = "seqlora")]
        method: String,
        /// The seed of the shuffle, and the number of the image of each concept
        #[arg(long, default_value_t = 0)]
        shuffle: usize,
        /// Where the sheets go
        #[arg(long)]
        out: PathBuf,
        /// Where the key goes
        #[arg(long)]
        key: PathBuf,
    },
    /// Prints the share of right answers.
    Score {
        /// The key
        #[arg(long)]
        key: PathBuf,
        /// Answers in the form of the key
        #[arg(long)]
        answers: PathBuf,
    },
}

/// For each sheet, the number of the reference (from 1) that each column from left to right belongs to.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
struct Key(BTreeMap<String, Vec<usize>>);

impl Options {
    /// Draws or scores.
    pub fn run(self) -> Result<(), Failure> {
        match self.action {
            Action::Draw { demo, method, shuffle, out, key } => {
                draw(&demo, &method, shuffle, &out, &key)
            }
            Action::Score { key, answers } => score(&key, &answers),
        }
    }
}

fn draw(
    demo: &Path,
    method: &str,
    shuffle: usize,
    out: &Path,
    key_file: &Path,
) -> Result<(), Failure> {
    let summary: Summary = serde_json::from_str(&fs::read_to_string(demo.join("summary.json"))?)?;
    let ids: Vec<&str> = summary.concepts.iter().map(|concept| concept.id.as_str()).collect();
    let images = demo.join("images");
    let sheets = [
        ("learnt", format!("{method}/ID/learnt")),
        ("end", format!("{method}/ID/end")),
        ("base", "base/ID".to_string()),
        ("described", "described/ID".to_string()),
    ];
    fs::create_dir_all(out)?;
    let references = |number: usize| {
        let of = |id: &&str| read(&demo.join("photos").join(id).join(format!("{number}.png")));
        ids.iter().map(of).collect::<Result<Vec<_>, _>>()
    };
    let rows = (0..REFERENCES).map(references).collect::<Result<Vec<_>, _>>()?;
    sheet(&rows).save(out.join("references.png"))?;
    let mut key = BTreeMap::new();
    for (name, folder) in sheets {
        let order = permutation(ids.len(), &Seed::new(shuffle as u64).fork(name));
        let image = |at: &usize| {
            let folder = images.join(folder.replace("ID", ids[*at]));
            read(&folder.join(format!("{}.png", shuffle % summary.images)))
        };
        let row = order.iter().map(image).collect::<Result<Vec<_>, _>>()?;
        sheet(&[row]).save(out.join(format!("{name}.png")))?;
        key.insert(name.to_string(), order.iter().map(|at| at + 1).collect());
    }
    let text = serde_json::to_string_pretty(&Key(key))? + "\n";
    let digest = Sha256::digest(text.as_bytes());
    fs::write(key_file, &text)?;
    println!("{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Ok(())
}

fn score(key: &Path, answers: &Path) -> Result<(), Failure> {
    let read = |file: &Path| -> Result<Key, Failure> {
        Ok(serde_json::from_str(&fs::read_to_string(file)?)?)
    };
    let (Key(key), Key(answers)) = (read(key)?, read(answers)?);
    for (name, right) in &key {
        let Some(answers) = answers.get(name) else { continue };
        if answers.len() != right.len() {
            return Err(format!("`{name}` has {} answers of {}", answers.len(), right.len()).into());
        }
        let count = answers.iter().zip(right).filter(|(answer, right)| answer == right).count();
        println!("{name}: {count} of {}", right.len());
    }
    Ok(())
}

/// A random order of `0..count`.
fn permutation(count: usize, seed: &Seed) -> Vec<usize> {
    let mut order: Vec<(u64, usize)> = (0..count)
        .map(|at| {
            let digest = Sha256::digest(format!("{seed:?} {at}"));
            (u64::from_le_bytes(digest[..8].try_into().expect("eight bytes")), at)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, at)| at).collect()
}

fn read(file: &Path) -> Result<RgbImage, Failure> {
    let image = image::open(file).map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(resize(&image.into_rgb8(), SIDE, SIDE, FilterType::Nearest))
}

/// Images in rows, with white between them.
fn sheet(rows: &[Vec<RgbImage>]) -> RgbImage {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0) as u32;
    let size = |count: u32| count * (SIDE + GAP) + GAP;
    let (width, height) = (size(columns), size(rows.len() as u32));
    let mut sheet = RgbImage::from_pixel(width, height, Rgb([255; 3]));
    for (y, row) in rows.iter().enumerate() {
        for (x, image) in row.iter().enumerate() {
            let at = |number: usize| i64::from(GAP + number as u32 * (SIDE + GAP));
            replace(&mut sheet, image, at(x), at(y));
        }
    }
    sheet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permutation_has_every_number_once_and_depends_on_the_seed() {
        let of = |seed: u64| permutation(8, &Seed::new(seed));
        let mut sorted = of(1);
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_ne!(of(1), of(2));
        assert_eq!(of(1), of(1));
    }
}
