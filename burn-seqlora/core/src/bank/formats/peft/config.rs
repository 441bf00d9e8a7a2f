//! `adapter_config.json`: the rank and the scale of every module.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::{Regex, RegexBuilder};
use seqlora_files::read_json;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Bytes that a compiled pattern may take, and how many there may be of a kind; the regular expressions
/// come from somebody else's file. PEFT writes one for each module at most.
const PATTERN_BYTES: usize = 1 << 17;
const MOST_PATTERNS: usize = 1 << 11;

/// The key of the modules that were adapted: a list of the ends of their paths, or a regular expression.
const TARGETS: &str = "target_modules";

/// Settings that do not change ΔW, whatever their values: which modules were adapted, how the training
/// went, and where the model came from.
const IRRELEVANT: [&str; 21] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    TARGETS,
    "task_type",
    "velora_config",
];

/// Initialisations that leave the base model's weights alone. The others (PiSSA, OLoRA, CorDA, LoftQ,
/// LoRA-GA) subtract the first factors from them, so that ΔW belongs to other weights than ours.
const PLAIN_INITIALISATIONS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// What of the file decides ΔW, and which modules it lists.
#[derive(Debug)]
pub struct Config {
    rank: usize,
    alpha: f64,
    ranks: Patterns<usize>,
    alphas: Patterns<f64>,
    /// Whether the scale is `alpha / √r` (rank-stabilised LoRA) instead of `alpha / r`.
    rank_stabilised: bool,
    /// The paths of modules that it lists.
    targets: Vec<String>,
}

/// The file's keys that are understood.
#[derive(Debug, Deserialize)]
struct Keys {
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f64>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    init_lora_weights: Value,
    /// All other keys.
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is damaged, or describes anything but plain LoRA of linear layers; names the key.
    pub fn read(file: &Path) -> Result<Self> {
        Self::new(file, read_json(file)?)
    }

    /// The configuration in a JSON object of a file.
    ///
    /// # Errors
    /// As in [`read`](Self::read).
    pub fn from_value(file: &Path, value: Value) -> Result<Self> {
        Self::new(file, serde_json::from_value(value).map_err(|e| Error::damaged(file, e))?)
    }

    fn new(file: &Path, keys: Keys) -> Result<Self> {
        keys.check().map_err(|reason| Error::damaged(file, reason))?;
        let targets = keys.targets();
        Ok(Self {
            rank: keys.r,
            alpha: keys.lora_alpha,
            ranks: Patterns::new(file, "rank_pattern", keys.rank_pattern)?,
            alphas: Patterns::new(file, "alpha_pattern", keys.alpha_pattern)?,
            rank_stabilised: keys.use_rslora,
            targets,
        })
    }

    /// r of a module.
    pub fn rank(&self, module: &str) -> usize {
        *self.ranks.find(module).unwrap_or(&self.rank)
    }

    /// What the product of a module's factors is multiplied with.
    pub fn scale(&self, module: &str) -> f64 {
        self.scale_at(module, self.rank(module))
    }

    /// The same where the factors tell the rank.
    pub fn scale_at(&self, module: &str, rank: usize) -> f64 {
        let rank = rank as f64;
        let alpha = self.alphas.find(module).unwrap_or(&self.alpha);
        alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// The paths that it lists and that are none of these and the end of none (PEFT's `check_target_module_exists`).
    pub fn missing(&self, modules: impl Iterator<Item = String>) -> Vec<String> {
        let paths: BTreeSet<Vec<u8>> = modules.map(|path| backwards(&path)).collect();
        let is_missing = |target: &&String| {
            let end = backwards(target);
            paths.range(end.clone()..).next().is_none_or(|path| !path.starts_with(&end))
        };
        self.targets.iter().filter(is_missing).cloned().collect()
    }
}

/// A path from its end on, so that paths with the same end lie together.
fn backwards(path: &str) -> Vec<u8> {
    path.bytes().rev().chain(*b".").collect()
}

impl Keys {
    /// The paths of modules that it lists. Names without a dot are kinds of layers, such as the `add_k_proj` of
    /// diffusers' scripts, of which a model may have none.
    fn targets(&self) -> Vec<String> {
        let Some(Value::Array(names)) = self.others.get(TARGETS) else { return Vec::new() };
        let paths = names.iter().filter_map(Value::as_str).filter(|name| name.contains('.'));
        paths.map(String::from).collect()
    }

    fn check(&self) -> Result<(), String> {
        if self.peft_type != "LORA" {
            return Err(format!("`peft_type` is {}, and only LORA can be read", self.peft_type));
        }
        if let Some(name) = self.init_lora_weights.as_str()
            && !PLAIN_INITIALISATIONS.contains(&name)
        {
            return Err(format!(
                "`init_lora_weights` is {name}, which changes the base model's weights too; save it \
                 with `path_initial_model_for_weight_conversion`"
            ));
        }
        let unknown = |(key, value): &(&String, &Value)| {
            !IRRELEVANT.contains(&key.as_str()) && !is_unset(value)
        };
        match self.others.iter().find(unknown) {
            Some((key, value)) => {
                Err(format!("`{key}` is {value}, and only plain LoRA of linear layers can be read"))
            }
            None => Ok(()),
        }
    }
}

/// Whether a setting is one of the values by which PEFT says that it is not used.
fn is_unset(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text == "none",
        Value::Array(entries) => entries.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Values for modules whose name ends as a regular expression says (PEFT's `get_pattern_key`). The first
/// that matches counts; PEFT writes them sorted.
#[derive(Debug)]
struct Patterns<T>(Vec<(Regex, T)>);

impl<T> Patterns<T> {
    fn new(file: &Path, key: &str, patterns: BTreeMap<String, T>) -> Result<Self> {
        if patterns.len() > MOST_PATTERNS {
            let count = patterns.len();
            let reason =
                format!("`{key}` has {count} patterns, and at most {MOST_PATTERNS} are read");
            return Err(Error::damaged(file, reason));
        }
        let compile = |(pattern, value): (String, T)| {
            let whole = format!(r"^(?:.*\.)?(?:{pattern})$");
            let regex = RegexBuilder::new(&whole)
                .size_limit(PATTERN_BYTES)
                .dfa_size_limit(PATTERN_BYTES)
                .build();
            let reason = |e| format!("`{key}`: cannot use `{pattern}`: {e}");
            Ok((regex.map_err(|e| Error::damaged(file, reason(e)))?, value))
        };
        Ok(Self(patterns.into_iter().map(compile).collect::<Result<_>>()?))
    }

    fn find(&self, module: &str) -> Option<&T> {
        self.0.iter().find(|(regex, _)| regex.is_match(module)).map(|(_, value)| value)
    }
}

/// The file for modules with these ranks, each with alpha equal to its rank: a scale of one.
///
/// # Panics
/// If there are none.
pub fn plain(ranks: &BTreeMap<&str, usize>) -> Value {
    let rank = *ranks.values().max().expect("at least one module");
    let others: BTreeMap<_, _> = ranks.iter().filter(|(_, other)| **other != rank).collect();
    json!({
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": ranks.keys().collect::<Vec<_>>(),
        "bias": "none",
        "inference_mode": true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration with some keys changed.
    fn config(changes: Value) -> Result<Config> {
        let mut config = plain(&BTreeMap::from([("down.0.to_k", 4)]));
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), config.to_string()).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn patterns_match_the_end_of_a_name() {
        let patterns = json!({ "a.to_k": 2, r"down\.\d+\..*to_q": 8, "^b.to_v": 1 });
        let config = config(json!({ "rank_pattern": patterns })).unwrap();
        let cases = [
            ("a.to_k", 2),
            ("up.a.to_k", 2),
            ("aa.to_k", 4),
            ("a.to_k.0", 4),
            ("down.3.x.to_q", 8),
            ("b.to_v", 1),
            ("a.b.to_v", 4),
        ];
        for (module, rank) in cases {
            assert_eq!(config.rank(module), rank, "{module}");
        }
    }

    #[test]
    fn listed_modules_are_ends_of_paths() {
        let missing = |targets: Value| {
            let modules = ["x.down.0.to_k", "mid.to_out.0", "a.b"].map(String::from);
            config(json!({ "target_modules": targets })).unwrap().missing(modules.into_iter())
        };
        let listed = ["down.0.to_k", "to_out.0", "own.0.to_k", "up.0.to_k", "a.b", "a", "add_k"];
        assert_eq!(missing(json!(listed)), ["own.0.to_k", "up.0.to_k"]);
        assert_eq!(missing(json!(r".*\.(to_k|to_v)")), [""; 0]);
        assert_eq!(missing(Value::Null), [""; 0]);
    }

    #[test]
    fn the_scale_is_alpha_over_the_modules_own_rank() {
        let keys =
            json!({ "lora_alpha": 6, "rank_pattern": { "q": 2 }, "alpha_pattern": { "v": 1 } });
        let linear = config(keys.clone()).unwrap();
        assert_eq!(["k", "q", "v"].map(|name| linear.scale(name)), [1.5, 3.0, 0.25]);
        let mut keys = keys;
        keys["use_rslora"] = true.into();
        let root = config(keys).unwrap();
        assert_eq!(["k", "q", "v"].map(|name| root.scale(name)), [3.0, 6.0 / 2f64.sqrt(), 0.5]);
    }

    #[test]
    fn what_is_no_plain_lora_is_refused_by_name() {
        let cases = [
            ("peft_type", json!("LOHA")),
            ("use_dora", json!(true)),
            ("bias", json!("all")),
            ("lora_bias", json!(true)),
            ("modules_to_save", json!(["conv_in"])),
            ("fan_in_fan_out", json!(true)),
            ("layer_replication", json!([[0, 4], [2, 5]])),
            ("a_later_idea", json!({ "strength": 2 })),
            ("init_lora_weights", json!("pissa_niter_4")),
            ("rank_pattern", json!({ "(": 1 })),
            ("rank_pattern", json!({ "(a{1000}){1000}": 1 })),
        ];
        for (key, value) in cases {
            let error = config(json!({ key: value })).unwrap_err().to_string();
            assert!(error.contains(&format!("`{key}`")), "{error}");
        }
        let unset = json!({ "use_dora": false, "modules_to_save": null, "later": {}, "more": [] });
        config(unset).unwrap();
        config(json!({ "init_lora_weights": true, "lora_dropout": 0.1 })).unwrap();
    }
}
