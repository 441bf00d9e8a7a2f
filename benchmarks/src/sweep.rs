//! The method's free choices on the drawn world: one demo per variant and seed, and their table.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn_seqlora::eval::Estimate;
use burn_seqlora::eval::report::{MethodSummary, Summary};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Which variants, how often.
#[derive(Debug, Args)]
pub struct Options {
    /// The variants.
    #[arg(long, default_value = "benchmarks/sweep.toml", value_name = "FILE")]
    variants: PathBuf,
    /// Only variants whose name contains this; may be given several times.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Demos per variant, with seeds from 0.
    #[arg(long, default_value_t = 3, value_name = "N")]
    seeds: u64,
    /// Concepts per demo.
    #[arg(long, default_value_t = 4, value_name = "N")]
    concepts: usize,
    /// Pictures of each concept, each time it is asked for.
    #[arg(long, default_value_t = 4, value_name = "N")]
    pictures: usize,
    /// The program.
    #[arg(long, default_value = "target/release/seqlora", value_name = "FILE")]
    seqlora: PathBuf,
    /// Where the demos go; those that are there already are not run again.
    #[arg(long, value_name = "DIR")]
    work: PathBuf,
    /// Writes the rows.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The file of variants.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variants {
    variant: Vec<Variant>,
}

/// One way of learning.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    name: String,
    method: String,
    /// What differs from the demo's settings.
    #[serde(default)]
    settings: toml::Table,
}

/// What became of a variant: means over the concepts of all seeds.
#[derive(Debug, Serialize)]
struct Row {
    variant: Variant,
    identity_learnt: Estimate,
    identity_end: Estimate,
    forgetting: Estimate,
    recognised_end: Estimate,
    final_loss: Estimate,
    max_overlap: f64,
    seconds_per_concept: Estimate,
}

impl Options {
    /// Runs the demos that are missing, and prints the table.
    pub fn run(self) -> Result<(), Failure> {
        let variants: Variants = toml::from_str(&fs::read_to_string(&self.variants)?)?;
        let wanted = |variant: &Variant| {
            self.only.is_empty() || self.only.iter().any(|part| variant.name.contains(part))
        };
        let mut rows = Vec::new();
        println!("{HEAD}");
        for variant in variants.variant.into_iter().filter(wanted) {
            let demos = (0..self.seeds).map(|seed| self.demo(&variant, seed));
            let demos = demos.collect::<Result<Vec<_>, _>>()?;
            let row = Row::new(variant, &demos);
            println!("{}", row.line());
            rows.push(row);
        }
        if let Some(file) = &self.json {
            fs::write(file, serde_json::to_string_pretty(&rows)? + "\n")?;
        }
        Ok(())
    }

    fn demo(&self, variant: &Variant, seed: u64) -> Result<MethodSummary, Failure> {
        let Variant { name, method, settings } = variant;
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let folder = self.work.join(name.chars().map(letter).collect::<String>());
        let (config, out) = (folder.join("settings.toml"), folder.join(seed.to_string()));
        let settings = toml::to_string(settings)?;
        match fs::read_to_string(&config) {
            Ok(before) if before != settings => {
                return Err(
                    format!("{} holds another variant than `{name}`", folder.display()).into()
                );
            }
            _ => {}
        }
        fs::create_dir_all(&folder)?;
        fs::write(&config, settings)?;
        // One that is there is not run again, but refused if its settings are others.
        let mut command = Command::new(&self.seqlora);
        command.args(["demo", "--quiet", "--method", method, "--config"]).arg(&config);
        command.args(["--concepts", &self.concepts.to_string(), "--seed", &seed.to_string()]);
        command.args(["--pictures", &self.pictures.to_string()]);
        let status = command.arg("--out").arg(&out).stdout(std::process::Stdio::null());
        let status = status.status()?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}").into());
        }
        summary(&out, method)
    }
}

fn summary(demo: &Path, method: &str) -> Result<MethodSummary, Failure> {
    let file = demo.join("summary.json");
    let summary: Summary = serde_json::from_str(&fs::read_to_string(&file)?)?;
    let mut methods: BTreeMap<String, MethodSummary> = summary.methods;
    methods.remove(method).ok_or_else(|| format!("{} lacks {method}", file.display()).into())
}

const HEAD: &str = "\
| variant | just learnt | at the end | forgetting | recognised at the end | loss | overlap | s per concept |
|---|---|---|---|---|---|---|---|";

impl Row {
    fn new(variant: Variant, demos: &[MethodSummary]) -> Self {
        let concepts = || demos.iter().flat_map(|demo| &demo.concepts);
        let estimate = |of: fn(&burn_seqlora::eval::report::LearntConcept) -> f64| {
            Estimate::of(&concepts().map(of).collect::<Vec<_>>())
        };
        // The last concept of a demo has nothing after it.
        let earlier = demos.iter().flat_map(|demo| demo.concepts.split_last().expect("concepts").1);
        let lost: Vec<f64> = earlier.map(|c| c.identity_learnt - c.identity_end).collect();
        Self {
            variant,
            identity_learnt: estimate(|c| c.identity_learnt),
            identity_end: estimate(|c| c.identity_end),
            forgetting: Estimate::of(&lost),
            recognised_end: estimate(|c| c.recognised[1]),
            final_loss: estimate(|c| c.final_loss),
            max_overlap: demos.iter().map(|demo| demo.max_overlap).fold(0.0, f64::max),
            seconds_per_concept: estimate(|c| c.seconds),
        }
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} | {:.1e} | {:.1} |",
            self.variant.name,
            self.identity_learnt,
            self.identity_end,
            self.forgetting,
            self.recognised_end,
            self.final_loss,
            self.max_overlap,
            self.seconds_per_concept.mean,
        )
    }
}
