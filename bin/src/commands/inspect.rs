//! `seqlora inspect`

use std::fs;
use std::path::Path;

use burn_seqlora::bank::{Bank, max_overlap};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Shows a bank or a safetensors file.
pub fn run(args: &Inspect, terminal: &Terminal) -> Result<(), Failure> {
    if args.path.is_dir() { bank(&args.path, terminal) } else { file(&args.path, terminal) }
}

fn bank(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(path)?;
    let records =
        bank.concepts().iter().map(|id| bank.concept(id)).collect::<Result<Vec<_>, _>>()?;
    let overlap = max_overlap(&bank)?;
    let mut used = vec![0; bank.sites().len()];
    // Plain LoRA reserves no directions.
    for record in records.iter().filter(|r| r.config.method.ingredients().orthogonal) {
        used.iter_mut().zip(&record.ranks).for_each(|(used, rank)| *used += rank);
    }
    let concepts: Vec<Value> = records
        .iter()
        .map(|record| {
            json!({
                "id": record.id,
                "class_word": record.class_word,
                "method": record.config.method,
                "ranks": record.ranks,
                "rank": record.ranks.iter().max(),
                "sites": record.ranks.iter().filter(|rank| **rank > 0).count(),
                "words": record.words,
                "images": record.images,
                "steps": record.steps,
                "initial_loss": record.initial_loss,
                "final_loss": record.final_loss,
            })
        })
        .collect();
    let capacity: Vec<Value> = bank
        .sites()
        .iter()
        .zip(&used)
        .map(|(site, used)| {
            json!({ "site": site.name, "inputs": site.inputs, "used": used, "left": site.inputs - used })
        })
        .collect();
    let result = json!({
        "path": path,
        "base": bank.base(),
        "method": bank.method(),
        "concepts": concepts,
        "max_overlap": overlap,
        "capacity": capacity,
    });
    terminal.result(&result, || {
        let head =
            ["concept", "class", "method", "rank", "sites", "steps", "loss"].map(String::from);
        let text = |value: &Value| value.as_str().map_or(value.to_string(), String::from);
        let row = |c: &Value| {
            let loss = format!(
                "{:.4} → {:.4}",
                c["initial_loss"].as_f64().unwrap_or(f64::NAN),
                c["final_loss"].as_f64().unwrap_or(f64::NAN)
            );
            let cell = |key: &str| text(&c[key]);
            vec![
                cell("id"),
                cell("class_word"),
                cell("method"),
                cell("rank"),
                cell("sites"),
                cell("steps"),
                loss,
            ]
        };
        let rows = [vec![head.to_vec()], concepts.iter().map(row).collect()].concat();
        let left = bank
            .sites()
            .iter()
            .zip(&used)
            .filter(|(_, used)| **used > 0)
            .map(|(s, u)| s.inputs - u)
            .min();
        let left = left.map_or(String::new(), |left| {
            format!("\ndirections left in the narrowest layer  {left}")
        });
        format!("base  {}\n\n{}\n\nlargest overlap  {overlap:.1e}{left}", bank.base(), table(&rows))
    })
}

fn file(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let usage = |reason: String| Failure::Usage(format!("{}: {reason}", path.display()));
    let bytes = fs::read(path).map_err(|e| usage(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes)
        .map_err(|e| usage(format!("it is neither a bank nor a safetensors file ({e})")))?;
    let mut names: Vec<_> = tensors.tensors();
    names.sort_by(|a, b| a.0.cmp(&b.0));
    let list: Vec<Value> = names
        .iter()
        .map(|(name, view)| json!({ "name": name, "dtype": format!("{:?}", view.dtype()), "shape": view.shape() }))
        .collect();
    terminal.result(&json!({ "path": path, "tensors": list }), || {
        let head = ["tensor", "type", "shape"].map(String::from).to_vec();
        let row = |(name, view): &(String, safetensors::tensor::TensorView)| {
            vec![name.clone(), format!("{:?}", view.dtype()), format!("{:?}", view.shape())]
        };
        table(&[vec![head], names.iter().map(row).collect()].concat())
    })
}
