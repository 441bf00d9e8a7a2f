//! The demos of variants.

use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::MetricInfo;
use burn_seqlora::eval::report::{MethodSummary, Summary};
use burn_seqlora::files::write_atomic;

use super::{Variant, folder_name};
use crate::failure::Failure;
use crate::measure::Measurement;
use crate::program::Program;

/// What all demos have in common.
#[derive(Debug)]
pub struct Demos<'a> {
    /// The program.
    pub program: &'a Program,
    /// Where they go: `<variant>/<seed>`.
    pub work: &'a Path,
    /// Concepts of each.
    pub concepts: usize,
    /// Images of each concept that are sampled just learnt and at the end.
    pub images: usize,
    /// The class of all concepts, if they have one in common.
    pub class: Option<&'a str>,
}

/// A demo that has ended, and what it says of its only method.
#[derive(Debug)]
pub struct Demo {
    /// Where it is.
    pub folder: PathBuf,
    /// The metrics of its scores.
    pub metrics: Vec<MetricInfo>,
    /// The scores.
    pub method: MethodSummary,
    /// What the whole demo took.
    pub took: Measurement,
}

impl Demos<'_> {
    /// Runs a variant's demo with a seed, unless it is there.
    ///
    /// # Errors
    /// If the folder holds a demo with other settings, or the program fails.
    pub fn run(&self, variant: &Variant, seed: u64) -> Result<Demo, Failure> {
        let Variant { name, method, settings, .. } = variant;
        let folder = self.work.join(folder_name(name));
        let (config, out) = (folder.join("settings.toml"), folder.join(seed.to_string()));
        let settings = toml::to_string(settings)?;
        match fs::read_to_string(&config) {
            Ok(before) if before == settings => {}
            Ok(_) => {
                return Err(
                    format!("{} holds another variant than `{name}`", folder.display()).into()
                );
            }
            // Another part may read it meanwhile.
            Err(_) => {
                fs::create_dir_all(&folder)?;
                write_atomic(&config, settings.as_bytes())?;
            }
        }
        // One that is there is not run again, but refused if its settings are others.
        let mut command = self.program.command("demo");
        command.args(["--method", method, "--config"]).arg(&config);
        command.args(["--concepts", &self.concepts.to_string(), "--seed", &seed.to_string()]);
        command.args(["--images", &self.images.to_string(), "--out"]).arg(&out);
        if let Some(class) = self.class {
            command.args(["--class", class]);
        }
        let took = self.program.run_once(command, &folder.join(format!("{seed}.json")))?;
        let file = out.join("summary.json");
        let Summary { methods, metrics, .. } = serde_json::from_str(&fs::read_to_string(&file)?)?;
        let found = methods.into_iter().find(|summary| summary.name == *method);
        let method = found.ok_or_else(|| format!("{} lacks {method}", file.display()))?;
        Ok(Demo { folder: out, metrics, method, took })
    }
}

impl Demo {
    /// The bank with the adapters.
    pub fn bank(&self) -> PathBuf {
        self.folder.join(&self.method.name)
    }
}
