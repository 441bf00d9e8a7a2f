//! Whether `audit` predicts what concepts do to each other's images: its numbers for every ordered pair, and the
//! identity that the one loses when the other is added.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::results::EvaluationSummary;
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::program::{Program, RunOptions};

/// Which bank.
#[derive(Debug, Args)]
pub struct Options {
    /// A demo that has ended: its photos are the references.
    #[arg(long, value_name = "DIR")]
    demo: PathBuf,
    /// A bank with the demo's concepts.
    #[arg(long, value_name = "DIR")]
    bank: PathBuf,
    /// Images of each concept, alone and with each other one.
    #[arg(long, default_value_t = 4, value_name = "N")]
    images: usize,
    /// Sampling steps.
    #[arg(long, default_value_t = 12, value_name = "N")]
    sampling_steps: usize,
    #[command(flatten)]
    run: RunOptions,
}

/// A concept, and another one that is added.
#[derive(Debug, Serialize)]
struct Pair {
    /// The concept whose images they are.
    on: String,
    /// The concept that is added.
    by: String,
    /// Identity alone, and with the other one.
    alone: f64,
    together: f64,
    /// What `audit` says, by the name of its number; none where a pair shares no such layer.
    audit: Numbers,
}

/// All numbers.
#[derive(Debug, Serialize)]
struct Outcome {
    /// Rank correlations of what is lost with each of the audit's numbers.
    rank_correlations: Numbers,
    pairs: Vec<Pair>,
}

/// A line of `audit --json`.
#[derive(Debug, Deserialize)]
struct Disturbance {
    by: String,
    on: Option<String>,
    text_encoder: Option<f64>,
    keys_and_values: Option<f64>,
    other_layers: Option<f64>,
}

/// A pair of `audit --json`.
#[derive(Debug, Deserialize)]
struct Weights {
    adapters: [String; 2],
    mean_relative_to_random: f64,
    cosine: f64,
}

impl Options {
    /// Draws what is missing, scores and audits it, and prints the rank correlations.
    pub fn run(self) -> Result<(), Failure> {
        let program = self.run.program();
        fs::create_dir_all(&self.run.work)?;
        let ids = self.concepts()?;
        self.draw(&program, &ids)?;
        let scores = self.scores(&program, &ids)?;
        let audit: Value = serde_json::from_str(&self.audit(&program)?)?;
        let found = audit_numbers(&audit)?;
        let pairs = ids.iter().flat_map(|on| ids.iter().map(move |by| (on, by)));
        let pair = |(on, by): (&String, &String)| {
            let score = |method: String| {
                let score = scores.get(&(method.clone(), on.clone())).copied();
                score.ok_or_else(|| Failure::from(format!("<{on}> has no score in `{method}`")))
            };
            let audit = found.get(&(on.clone(), by.clone())).cloned().unwrap_or_default();
            let (alone, together) = (score(ALONE.into())?, score(with(by))?);
            Ok(Pair { on: on.clone(), by: by.clone(), alone, together, audit })
        };
        let pairs: Vec<Pair> =
            pairs.filter(|(on, by)| on != by).map(pair).collect::<Result<_, Failure>>()?;
        let outcome = Outcome { rank_correlations: correlations(&pairs), pairs };
        println!("{}", outcome.to_markdown());
        self.run.write_json(&outcome)
    }

    fn concepts(&self) -> Result<Vec<String>, Failure> {
        let file = self.demo.join("summary.json");
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let summary: burn_seqlora::eval::report::Summary = serde_json::from_str(&text)?;
        Ok(summary.concepts.into_iter().map(|concept| concept.id).collect())
    }

    /// Images of each concept alone, and with each other one, always from the same noise.
    fn draw(&self, program: &Program, ids: &[String]) -> Result<(), Failure> {
        for on in ids {
            let alone = self.run.work.join(ALONE).join(on);
            self.generate(program, on, None, &alone)?;
            for by in ids {
                let folder = self.run.work.join(with(by)).join(on);
                match on == by {
                    // Every method has images of every concept.
                    true => copy(&alone, &folder)?,
                    false => self.generate(program, on, Some(by), &folder)?,
                }
            }
        }
        Ok(())
    }

    fn generate(
        &self,
        program: &Program,
        on: &str,
        by: Option<&str>,
        folder: &Path,
    ) -> Result<(), Failure> {
        let mut command = program.command("generate");
        command.args(["--model", "builtin", "--bank"]).arg(&self.bank).args(["--concept", on]);
        if let Some(by) = by {
            command.args(["--concept", by]);
        }
        command.args(["--prompt", &format!("a photo of a <{on}>"), "--seed", "0"]);
        command.args(["--num", &self.images.to_string(), "--out"]).arg(folder);
        command.args(["--steps", &self.sampling_steps.to_string()]);
        let note = format!("{}.{on}.json", by.map_or_else(|| ALONE.into(), with));
        program.run_once(command, &self.run.work.join(note)).map(drop)
    }

    /// Identity by method and concept.
    fn scores(
        &self,
        program: &Program,
        ids: &[String],
    ) -> Result<BTreeMap<(String, String), f64>, Failure> {
        let out = self.run.work.join("evaluation");
        let mut command = program.command("evaluate");
        command.arg(self.demo.join("photos")).args(["--model", "builtin"]);
        command.args(["--metric", "identity", "--out"]).arg(&out);
        for method in ids.iter().map(|id| with(id)).chain([ALONE.to_string()]) {
            let folder = self.run.work.join(&method);
            command.arg("--images").arg(format!("{method}={}", folder.display()));
        }
        program.run(command)?;
        let text = fs::read_to_string(out.join("summary.json"))?;
        let summary: EvaluationSummary = serde_json::from_str(&text)?;
        let rows = summary.concepts.into_iter();
        Ok(rows.filter_map(|row| Some(((row.method, row.concept), row.end?))).collect())
    }

    fn audit(&self, program: &Program) -> Result<String, Failure> {
        let mut command = program.command("audit");
        command.arg(&self.bank).args(["--model", "builtin", "--json"]);
        program.output(command)
    }
}

/// The methods of the evaluation.
const ALONE: &str = "alone";

fn with(id: &str) -> String {
    format!("with-{id}")
}

fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// The audit's numbers of a pair, by name.
type Numbers = BTreeMap<&'static str, f64>;

/// The audit's numbers by the concept that is disturbed and the one that does it.
fn audit_numbers(audit: &Value) -> Result<BTreeMap<(String, String), Numbers>, Failure> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut found: BTreeMap<(String, String), Numbers> = BTreeMap::new();
    for value in list(&audit["activations"]["disturbances"]) {
        let Disturbance { by, on, text_encoder, keys_and_values, other_layers } =
            serde_json::from_value(value)?;
        let Some(on) = on else { continue };
        let numbers = found.entry((on, by)).or_default();
        for (name, number) in [
            ("text encoder", text_encoder),
            ("keys and values", keys_and_values),
            ("other layers", other_layers),
        ] {
            numbers.extend(number.map(|number| (name, number)));
        }
    }
    for value in list(&audit["weights"]) {
        let Weights { adapters: [a, b], mean_relative_to_random, cosine } =
            serde_json::from_value(value)?;
        for pair in [(a.clone(), b.clone()), (b, a)] {
            let numbers = found.entry(pair).or_default();
            numbers.insert("weights, relative to random", mean_relative_to_random);
            numbers.insert("weights, |cosine|", cosine.abs());
        }
    }
    Ok(found)
}

/// Of what each pair loses with each of the audit's numbers that all pairs have.
fn correlations(pairs: &[Pair]) -> Numbers {
    let names = pairs.first().into_iter().flat_map(|pair| pair.audit.keys().copied());
    let lost: Vec<f64> = pairs.iter().map(|pair| pair.alone - pair.together).collect();
    let of = |name: &'static str| {
        let numbers = pairs.iter().map(|pair| pair.audit.get(name).copied());
        Some((name, spearman(&numbers.collect::<Option<Vec<f64>>>()?, &lost)?))
    };
    names.filter_map(of).collect()
}

/// Spearman's rank correlation; `None` if one side is constant.
fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = (ranks(x), ranks(y));
    let mean = (x.len() as f64 - 1.0) / 2.0;
    let product =
        |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let norm = (product(&x, &x) * product(&y, &y)).sqrt();
    (norm > 0.0).then(|| product(&x, &y) / norm)
}

/// The place of each value, from 0; equal values share the mean of their places.
fn ranks(values: &[f64]) -> Vec<f64> {
    let place = |value: &f64| {
        let smaller = values.iter().filter(|other| *other < value).count();
        let equal = values.iter().filter(|other| *other == value).count();
        smaller as f64 + (equal as f64 - 1.0) / 2.0
    };
    values.iter().map(place).collect()
}

impl Outcome {
    fn to_markdown(&self) -> String {
        let mut text =
            String::from("| number of `audit` | rank correlation with the loss |\n|---|---|\n");
        for (name, correlation) in &self.rank_correlations {
            text += &format!("| {name} | {correlation:+.2} |\n");
        }
        let lost: Vec<f64> = self.pairs.iter().map(|pair| pair.alone - pair.together).collect();
        let mean = lost.iter().sum::<f64>() / lost.len().max(1) as f64;
        let most = lost.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        text + &format!("\n{} pairs; lost in the mean {mean:.3}, at most {most:.3}", lost.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ranks_are_compared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        let close = |found: Option<f64>, expected: f64| (found.unwrap() - expected).abs() < 1e-12;
        assert!(close(spearman(&[1.0, 2.0, 3.0], &[1.0, 10.0, 100.0]), 1.0));
        assert!(close(spearman(&[1.0, 2.0, 3.0], &[0.0, -1.0, -5.0]), -1.0));
        // Ranks 0 1 2 3 and 1 0 3 2: 1 - 6 · 4 / (4 · 15).
        assert!(close(spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]), 0.6));
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
    }

    #[test]
    fn numbers_belong_to_ordered_pairs() {
        let disturbs =
            |by: &str, on: &str, x: f64| json!({ "by": by, "on": on, "keys_and_values": x });
        let audit = json!({
            "activations": { "disturbances": [disturbs("a", "b", 0.5), disturbs("b", "a", 0.1)] },
            "weights": [{ "adapters": ["a", "b"], "mean_relative_to_random": 2.0, "cosine": -0.25 }],
        });
        let found = audit_numbers(&audit).unwrap();
        let pair = |on: &str, by: &str| found[&(on.to_string(), by.to_string())].clone();
        assert_eq!(pair("b", "a")["keys and values"], 0.5);
        assert_eq!(pair("a", "b")["keys and values"], 0.1);
        for pair in [pair("a", "b"), pair("b", "a")] {
            assert_eq!((pair["weights, |cosine|"], pair.len()), (0.25, 3));
        }
    }
}
