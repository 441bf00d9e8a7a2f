//! The record of a demo in its folder: the settings, and the time that it took over all its runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::check::difference;
use burn_seqlora::error::Error;
use burn_seqlora::files::{read_json, write_json};
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::failure::Failure;

/// `demo.json`
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    settings: Settings,
    /// Seconds of training by method and concept.
    training: BTreeMap<String, BTreeMap<String, f64>>,
    /// Seconds of sampling.
    sampling: f64,
}

/// The times of a demo. They are written at each addition, so they count interrupted runs too.
#[derive(Debug)]
pub struct TimingLog {
    file: PathBuf,
    record: Record,
}

impl TimingLog {
    /// Starts a demo in a folder that is empty or does not exist, or goes on with the demo in it.
    ///
    /// # Errors
    /// If the folder holds a demo with other settings, or something else.
    pub fn open(folder: &Path, settings: &Settings) -> Result<Self, Failure> {
        let file = folder.join("demo.json");
        let usage = |text: String| {
            Err(Failure::Usage(format!("{} {text} another --out", folder.display())))
        };
        if file.exists() {
            let record: Record = read_json(&file)?;
            return match difference(&record.settings, settings) {
                None => Ok(Self { file, record }),
                Some(difference) => usage(format!(
                    "holds a demo with other settings ({difference}): give those to go on, or choose"
                )),
            };
        }
        if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return usage("is not empty and holds no demo; choose".into());
        }
        fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
        let settings = settings.clone();
        let record = Record { settings, training: BTreeMap::new(), sampling: 0.0 };
        write_json(&file, &record)?;
        Ok(Self { file, record })
    }

    /// Adds time spent on training a concept.
    pub fn add_training(&mut self, method: &str, id: &str, seconds: f64) -> Result<(), Failure> {
        let of_method = self.record.training.entry(method.into()).or_default();
        *of_method.entry(id.into()).or_default() += seconds;
        Ok(write_json(&self.file, &self.record)?)
    }

    /// Adds time spent on sampling.
    pub fn add_sampling(&mut self, seconds: f64) -> Result<(), Failure> {
        self.record.sampling += seconds;
        Ok(write_json(&self.file, &self.record)?)
    }

    /// Seconds spent on training a concept with a method.
    pub fn training(&self, method: &str, id: &str) -> f64 {
        self.record.training.get(method).and_then(|ids| ids.get(id)).copied().unwrap_or(0.0)
    }

    /// All seconds, of training and sampling.
    pub fn seconds(&self) -> f64 {
        let training = self.record.training.values().flat_map(BTreeMap::values);
        training.sum::<f64>() + self.record.sampling
    }
}
