//! Settings: the file, with what was typed over it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn_seqlora::eval::Direction;
use burn_seqlora::eval::protocol::{EvaluationConfig, PairConfig, Protocol, Shift, parse_prompts};
use burn_seqlora::scorers::external::ExternalConfig;
use burn_seqlora::toy_world::pretrain::GUIDANCE;
use serde::{Deserialize, Serialize};

use super::data::Data;
use crate::args::{Compute, Evaluate};
use crate::commands::builtin;
use crate::failure::Failure;
use crate::prompt_file;
use crate::settings::read;

/// A settings file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What is evaluated.
    pub protocol: EvaluationConfig,
    /// By what.
    pub metrics: MetricSettings,
}

/// The metrics, and where their weights and scores come from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MetricSettings {
    /// Their names.
    pub names: Option<Vec<String>>,
    /// The folder or file of the weights of a metric, by their key.
    pub weights: BTreeMap<String, PathBuf>,
    /// Folders in which weights are looked for.
    pub folders: Vec<PathBuf>,
    /// Programs that score.
    pub external: Vec<ExternalConfig>,
    /// Tables of scores.
    pub imported: Vec<ImportedConfig>,
}

/// A table of scores that was made elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportedConfig {
    /// The metric's name in tables.
    pub name: String,
    /// The CSV file.
    pub table: PathBuf,
    /// The column with the scores.
    #[serde(default = "value")]
    pub column: String,
    /// Which scores are better.
    pub better: Direction,
}

fn value() -> String {
    "value".into()
}

/// Prompts that the built-in model understands.
const BUILTIN: [&str; 4] =
    ["a photo of a {}", "a {} on grass", "a {} in the snow", "a photo of a {} at night"];

impl Settings {
    /// Reads the settings, and checks what does not depend on the data.
    pub fn read(args: &Evaluate, compute: &Compute) -> Result<Self, Failure> {
        let mut settings: Self = match &args.config {
            Some(file) => read(file)?,
            None => Self::default(),
        };
        let protocol = &mut settings.protocol;
        protocol.profile = args.profile.unwrap_or(protocol.profile);
        let seeds = (!args.seeds.is_empty()).then(|| args.seeds.clone());
        let seeds = seeds.or(compute.seed.map(|seed| vec![seed]));
        protocol.seeds = seeds.or(protocol.seeds.take());
        protocol.sampler = args.sampler.or(protocol.sampler);
        protocol.steps = args.steps.or(protocol.steps);
        let builtin = builtin::is_chosen(args.model.as_ref());
        let usual = builtin.then_some(GUIDANCE);
        protocol.guidance = args.guidance.or(protocol.guidance).or(usual);
        protocol.size = args.size.map(|(width, height)| [width, height]).or(protocol.size);
        if args.shift {
            protocol.shifts = Shift::ALL.to_vec();
        }
        if let Some(file) = &args.prompts {
            let text = prompt_file::read("--prompts", file)?.join("\n");
            let name = file.display().to_string();
            protocol.prompts = Some(parse_prompts(&name, &text).map_err(Failure::usage)?);
        }
        if builtin {
            let prompts = || BUILTIN.map(String::from).to_vec();
            protocol.prompts.get_or_insert_with(prompts);
            protocol.box_prompt.get_or_insert_with(|| "a {}".into());
        }
        if !args.metric.is_empty() {
            settings.metrics.names = Some(args.metric.clone());
        }
        Ok(settings)
    }

    /// The protocol for the data.
    pub fn protocol(&self, args: &Evaluate, data: &Data) -> Result<Protocol, Failure> {
        let mut config = self.protocol.clone();
        config.pair.extend(data.pairs.clone());
        if builtin::is_chosen(args.model.as_ref()) {
            config.unrelated.get_or_insert_with(|| builtin::unrelated(&data.classes()));
            for PairConfig { prompts, .. } in &mut config.pair {
                let both = ["a {0} left of a {1}", "a photo of a {0} and a {1}"];
                prompts.get_or_insert_with(|| both.map(String::from).to_vec());
            }
        }
        Protocol::new(&config, data.given()).map_err(Failure::usage)
    }
}
