//! `seqlora bank list`: what the records say; the other files are not read.

use std::path::Path;

use burn_seqlora::bank::{Bank, ConceptId, ConceptRecord};
use burn_seqlora::error::Error;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// Lists the concepts in their order, and fails if the record of one cannot be read.
pub fn run(path: &Path, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(path)?;
    let lines: Vec<Line> = bank.concepts().iter().map(|id| Line::new(&bank, id)).collect();
    let concepts: Vec<Value> = lines.iter().map(Line::json).collect();
    let removed: Vec<Value> = bank
        .removed_concepts()
        .iter()
        .map(|gone| json!({ "id": gone.id, "group": gone.group }))
        .collect();
    let value = json!({
        "version": 1,
        "bank": path.to_string_lossy(),
        "base": bank.base(),
        "method": bank.method(),
        "concepts": concepts,
        "reserved_for_removed": removed,
    });
    terminal.result(&value, || shown(&bank, &lines))?;
    let damaged: Vec<&str> =
        lines.iter().filter(|line| line.record.is_err()).map(|line| line.id.as_str()).collect();
    match damaged.is_empty() {
        true => Ok(()),
        false => Err(Failure::Damaged(format!(
            "the record of {} in {} cannot be read; `seqlora bank verify` says what helps",
            damaged.join(", "),
            path.display()
        ))),
    }
}

struct Line<'a> {
    id: &'a ConceptId,
    record: Result<ConceptRecord, Error>,
    rank: usize,
}

impl<'a> Line<'a> {
    fn new(bank: &'a Bank, id: &'a ConceptId) -> Self {
        let record = bank.record(id);
        let ranks = record.iter().flat_map(|record| record.sites.values().map(|site| site.rank));
        let rank = ranks.max().unwrap_or(0);
        Self { id, record, rank }
    }

    fn json(&self) -> Value {
        match &self.record {
            Ok(record) => json!({
                "id": self.id,
                "class_word": record.class_word,
                "rank": self.rank,
                "sites": record.sites.len(),
                "words": record.words,
                "embeddings_per_word": record.embeddings_per_word,
                "reserves_directions": record.reserves_directions,
                "group": record.group,
            }),
            Err(error) => json!({ "id": self.id, "problem": error.to_string() }),
        }
    }

    fn cells(&self) -> Vec<String> {
        let id = self.id.to_string();
        match &self.record {
            Ok(record) => vec![
                id,
                record.class_word.clone(),
                self.rank.to_string(),
                record.sites.len().to_string(),
                record.group.clone().unwrap_or_default(),
            ],
            Err(error) => vec![id, "?".into(), "?".into(), "?".into(), error.to_string()],
        }
    }
}

fn shown(bank: &Bank, lines: &[Line]) -> String {
    let head = ["concept", "class", "rank", "sites", "group"].map(String::from).to_vec();
    let rows: Vec<_> = std::iter::once(head).chain(lines.iter().map(Line::cells)).collect();
    let mut text = table(&rows);
    for gone in bank.removed_concepts() {
        text += &format!("\n{} was removed; its directions are reserved", gone.id);
    }
    text
}
