//! A comparison: its settings file, and the runs of the program that it consists of.

use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::results::EvaluationSummary;
use serde::{Deserialize, Serialize};

use super::demos::Demos;
use super::learnt::Learnt;
use super::{Variant, folder_name, workers};
use crate::failure::Failure;
use crate::finished_demo::FinishedDemo;
use crate::measure::{Measurement, cores};
use crate::program::Program;

/// The settings file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// Concepts of each run.
    pub concepts: usize,
    /// One run of everything for each.
    pub seeds: Vec<u64>,
    /// The ways of learning; all others are compared with the first.
    pub variant: Vec<Variant>,
    /// What is made of their banks.
    #[serde(default)]
    pub fusion: Vec<Fused>,
    /// Settings of `seqlora evaluate`.
    pub evaluation: toml::Table,
}

/// Concepts that were learnt by a variant, fused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fused {
    /// Its name in tables.
    pub name: String,
    /// The name of the variant.
    pub of: String,
    /// The name of the fusion.
    pub method: String,
}

/// Everything of one seed.
#[derive(Debug)]
pub struct Run {
    /// The demo of the first variant.
    pub first: FinishedDemo,
    /// The bank of each variant, and what learning it took.
    pub banks: Vec<(PathBuf, Learnt)>,
    /// What each fusion took, and the bytes of its file.
    pub fusions: Vec<(Measurement, u64)>,
}

impl Comparison {
    /// Reads a settings file.
    ///
    /// # Errors
    /// If it cannot be read, or a fusion is of a variant that is not there.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
        let comparison: Self =
            toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        if comparison.variant.is_empty() || comparison.seeds.is_empty() {
            return Err(format!("{}: a variant and a seed are needed", file.display()).into());
        }
        // Workers learn the concepts of its demo.
        if comparison.variant[0].workers != 1 || comparison.variant.iter().any(|v| v.workers == 0) {
            return Err(format!("{}: the first variant has one worker", file.display()).into());
        }
        // `evaluate` takes no others, which would come out after hours of learning.
        let safe = |c: char| c.is_alphanumeric() || " ._+-".contains(c);
        if let Some(name) = comparison.names().find(|name| !name.chars().all(safe)) {
            let text = format!("`{name}` is no name of letters, digits, spaces and . _ + -");
            return Err(format!("{}: {text}", file.display()).into());
        }
        for Fused { name, of, .. } in &comparison.fusion {
            if !comparison.variant.iter().any(|variant| variant.name == *of) {
                return Err(format!("{}: `{name}` is of no variant", file.display()).into());
            }
        }
        Ok(comparison)
    }

    /// The same with one seed.
    pub fn with_seed(&self, seed: u64) -> Self {
        Self { seeds: vec![seed], ..self.clone() }
    }

    /// The names of all rows, in the order of tables.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let variants = self.variant.iter().map(|variant| variant.name.as_str());
        variants.chain(self.fusion.iter().map(|fused| fused.name.as_str()))
    }

    /// Learns a variant with a seed and makes its fusions, as far as that is not there yet.
    ///
    /// # Errors
    /// If the program fails, or the folder holds something else.
    pub fn learn(
        &self,
        program: &Program,
        work: &Path,
        variant: &Variant,
        seed: u64,
    ) -> Result<(PathBuf, Learnt), Failure> {
        let folder = work.join(folder_name(&variant.name)).join(seed.to_string());
        let learnt = match variant.workers {
            1 => {
                // `evaluate` makes the images that are scored.
                let concepts = self.concepts;
                let demos = Demos { program, work, concepts, images: 1, class: None };
                let demo = demos.run(variant, seed)?;
                (demo.bank(), Learnt::of_demo(&demo))
            }
            _ => workers::learn(program, &folder, variant, &self.first(work, seed), seed)?,
        };
        for fused in self.fusion.iter().filter(|fused| fused.of == variant.name) {
            self.fuse(program, work, fused, &learnt.0, seed)?;
        }
        Ok(learnt)
    }

    /// The demo of the first variant.
    fn first(&self, work: &Path, seed: u64) -> FinishedDemo {
        FinishedDemo::new(work.join(folder_name(&self.variant[0].name)).join(seed.to_string()))
    }

    fn fuse(
        &self,
        program: &Program,
        work: &Path,
        fused: &Fused,
        bank: &Path,
        seed: u64,
    ) -> Result<(Measurement, u64), Failure> {
        let file = fused_file(work, fused, seed);
        fs::create_dir_all(file.parent().expect("in a folder of its own"))?;
        let mut command = program.command("fuse");
        command.args(["--model", "builtin", "--method", &fused.method, "--bank"]).arg(bank);
        command.arg("--out").arg(&file);
        let took = program.run_once_into(command, &file)?;
        Ok((took, fs::metadata(&file)?.len()))
    }

    /// All of one seed.
    ///
    /// # Errors
    /// Those of [`Self::learn`].
    pub fn run(&self, program: &Program, work: &Path, seed: u64) -> Result<Run, Failure> {
        let banks = self.variant.iter().map(|variant| self.learn(program, work, variant, seed));
        let banks = banks.collect::<Result<Vec<_>, _>>()?;
        let fusions = self.fusion.iter().map(|fused| {
            let of = banks.iter().zip(&self.variant).find(|(_, variant)| variant.name == fused.of);
            let ((bank, _), _) = of.expect("settings are checked");
            self.fuse(program, work, fused, bank, seed)
        });
        let fusions = fusions.collect::<Result<_, _>>()?;
        Ok(Run { first: self.first(work, seed), banks, fusions })
    }

    /// Evaluates all of one seed by one protocol.
    ///
    /// # Errors
    /// If the program fails.
    pub fn evaluate(
        &self,
        program: &Program,
        work: &Path,
        run: &Run,
        seed: u64,
    ) -> Result<EvaluationSummary, Failure> {
        let folder = work.join("evaluation");
        fs::create_dir_all(&folder)?;
        let (config, out) = (folder.join("settings.toml"), folder.join(seed.to_string()));
        fs::write(&config, toml::to_string(&self.evaluation)?)?;
        let command = || {
            let mut command = program.command("evaluate");
            command.arg(run.first.photos()).args(["--model", "builtin"]);
            command.arg("--config").arg(&config).args(["--pairs", "neighbours", "--out"]).arg(&out);
            for (variant, (bank, _)) in self.variant.iter().zip(&run.banks) {
                command.arg("--bank").arg(named(&variant.name, bank));
            }
            for fused in &self.fusion {
                let of = self.variant.iter().position(|variant| variant.name == fused.of);
                let (bank, _) = &run.banks[of.expect("settings are checked")];
                command.arg("--bank").arg(named(&fused.name, bank));
                command.arg("--fused").arg(named(&fused.name, &fused_file(work, fused, seed)));
            }
            command
        };
        // It makes only what is not there yet, and the report of all.
        program.run_in_parts(command, cores())?;
        program.run(command())?;
        Ok(serde_json::from_str(&fs::read_to_string(out.join("summary.json"))?)?)
    }
}

fn fused_file(work: &Path, fused: &Fused, seed: u64) -> PathBuf {
    work.join(folder_name(&fused.name)).join(format!("{seed}.safetensors"))
}

fn named(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
