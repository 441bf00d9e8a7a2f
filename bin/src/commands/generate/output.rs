//! What a run leaves behind: numbered images, and the list of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::TensorData;
use burn_seqlora::error::Error;
use serde_json::json;

use super::latents::write_latents;
use super::orders::Order;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// The images of a run so far, and what becomes of them however it ends.
#[derive(Debug)]
pub struct Made {
    so_far: Mutex<SoFar>,
    /// Held while a batch that has been sampled is decoded and written.
    writing: Mutex<()>,
    orders: Vec<Order>,
    /// The file for the final latents, and the shape of those of an image.
    latents: Option<(PathBuf, [usize; 3])>,
    terminal: Terminal,
}

#[derive(Debug, Default)]
struct SoFar {
    files: Vec<PathBuf>,
    /// The final latents of all images, if they are to be saved.
    latents: Vec<f32>,
}

impl Made {
    /// None yet, of these that are wanted.
    pub fn new(
        orders: Vec<Order>,
        latents: Option<(PathBuf, [usize; 3])>,
        terminal: &Terminal,
    ) -> Self {
        let (so_far, writing) = Default::default();
        Self { so_far, writing, orders, latents, terminal: terminal.clone() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.so_far().files.len()
    }

    /// Those that are wanted and not there yet.
    pub fn orders_left(&self) -> &[Order] {
        &self.orders[self.count()..]
    }

    /// Adds a batch: the files that were written, and their final latents if these are to be saved.
    pub fn add(&self, files: Vec<PathBuf>, latents: impl FnOnce() -> TensorData) {
        let latents = self.latents.is_some().then(latents);
        let mut so_far = self.so_far();
        so_far.files.extend(files);
        so_far.latents.extend(latents.iter().flat_map(TensorData::iter::<f32>));
    }

    /// While it lives, an interrupt waits: a batch is decoded and written.
    pub fn begin_writing(&self) -> MutexGuard<'_, ()> {
        lock(&self.writing)
    }

    /// Writes the latents of what is there, if they are wanted.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_latents(&self) -> Result<(), Failure> {
        self.write_latents(&self.so_far())
    }

    fn write_latents(&self, SoFar { files, latents }: &SoFar) -> Result<(), Failure> {
        match &self.latents {
            Some((file, [channels, height, width])) if !files.is_empty() => {
                write_latents(file, [files.len(), *channels, *height, *width], latents)
            }
            _ => Ok(()),
        }
    }

    /// Writes the latents, and lists the images.
    ///
    /// # Errors
    /// If the file or standard output cannot be written.
    pub fn finish(&self, interrupted: bool) -> Result<(), Failure> {
        let so_far = self.so_far();
        self.write_latents(&so_far)?;
        let files = &so_far.files;
        let image = |(file, order): (&PathBuf, &Order)| {
            let Order { prompt, seed, number, .. } = order;
            json!({ "file": file.to_string_lossy(), "prompt": prompt, "seed": seed, "number": number })
        };
        let images: Vec<_> = files.iter().zip(&self.orders).map(image).collect();
        let result = json!({ "version": 2, "images": images, "interrupted": interrupted });
        self.terminal.result(&result, || {
            files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join("\n")
        })
    }

    /// What Ctrl-C ends.
    pub fn interrupted(&self) -> Failure {
        Failure::Interrupted(format!("stopped after {} images", self.count()))
    }

    /// [`finish`](Self::finish) of a run that ends while images are made.
    pub fn finish_interrupted(&self) {
        let _writing = self.begin_writing();
        let finished = self.finish(true);
        self.terminal.error(&finished.err().unwrap_or_else(|| self.interrupted()));
    }

    fn so_far(&self) -> MutexGuard<'_, SoFar> {
        lock(&self.so_far)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
