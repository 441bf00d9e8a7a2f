//! What a run leaves behind: numbered images, and the list of them.

use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::error::Error;
use serde_json::json;

use super::orders::Order;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// The images of a run so far.
#[derive(Debug, Default)]
pub struct Made {
    /// Their files.
    pub files: Vec<PathBuf>,
    /// The final latents of all of them, if they are to be saved.
    pub latents: Vec<f32>,
}

/// Lists the images.
///
/// # Errors
/// If standard output cannot be written.
pub fn report(
    files: &[PathBuf],
    orders: &[Order],
    interrupted: bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let image = |(file, order): (&PathBuf, &Order)| {
        let Order { prompt, seed, number, .. } = order;
        json!({ "file": file.to_string_lossy(), "prompt": prompt, "seed": seed, "number": number })
    };
    let images: Vec<_> = files.iter().zip(orders).map(image).collect();
    let result = json!({ "version": 2, "images": images, "interrupted": interrupted });
    terminal.result(&result, || {
        files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n")
    })
}

/// Images in a folder are numbered below this.
const LARGEST_NUMBER: usize = 1 << 31;

/// The number after the greatest that an image in the folder has: nothing is written over.
///
/// # Errors
/// If the folder cannot be read.
pub fn first_free(folder: &Path) -> Result<usize, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let number = |path: PathBuf| {
        let image = path.extension().is_some_and(|extension| extension == "png");
        image.then(|| path.file_stem()?.to_str()?.parse::<usize>().ok()).flatten()
    };
    let numbers = entries.filter_map(|entry| number(entry.ok()?.path()));
    // Larger ones, such as dates, are no numbers of ours, and adding to them could overflow.
    let taken = numbers.filter(|number| *number < LARGEST_NUMBER).max();
    Ok(taken.map_or(0, |number| number + 1))
}
