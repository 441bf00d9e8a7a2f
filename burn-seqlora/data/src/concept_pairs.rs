//! CustomConcept101's `dataset_multiconcept.json`: pairs of concepts that are evaluated in one image.

use std::path::Path;

use seqlora_files::read_text;
use serde::Deserialize;

use super::concept_list::last_component;
use super::error::DataError;
use super::evaluation_prompts::lines;
use super::listing::folder_of;
use super::{limits, names};

/// Two concepts and the prompts for images of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConceptPair {
    /// The ids of the concepts that `{0}` and `{1}` stand for, made of their folders' names as
    /// [`Manifest::discover`](crate::Manifest::discover) does. Their classes are those of the concepts: the
    /// published list calls one chair a sofa.
    pub concepts: [String; 2],
    /// The prompts; some name `{1}` first.
    pub prompts: Vec<String>,
}

/// Two concepts and the file with their prompts.
type PairEntry = (ConceptEntry, ConceptEntry, PromptsEntry);

#[derive(Debug, Deserialize)]
struct ConceptEntry {
    instance_data_dir: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptsEntry {
    prompt_filename_compose: String,
}

/// Reads a list of pairs. Files of prompts are relative to it.
///
/// # Errors
/// If it is no such list, or a file of prompts cannot be read.
pub fn read_pairs(path: &Path) -> Result<Vec<ConceptPair>, DataError> {
    let text = read_text(path)?;
    let entries: Vec<serde_json::Value> =
        serde_json::from_str(&text).map_err(|error| DataError::manifest(path, "JSON", error))?;
    if entries.is_empty() || entries.len() > limits::CONCEPTS {
        let reason = format!("{} pairs; expected from 1 to {}", entries.len(), limits::CONCEPTS);
        return Err(DataError::manifest(path, "top level", reason));
    }
    let pair = |(number, entry): (usize, &serde_json::Value)| {
        let wrong = |reason: String| DataError::manifest(path, format!("pair {number}"), reason);
        let (first, second, prompts) = PairEntry::deserialize(entry).map_err(|error| {
            wrong(format!(
                "{error}; expected two concepts and {{\"prompt_filename_compose\": ...}}"
            ))
        })?;
        let id = |entry: &ConceptEntry| {
            let id = names::slug(last_component(&entry.instance_data_dir));
            names::check_id(&id, &format!("{}: pair {number}", path.display()))?;
            Ok::<_, DataError>(id)
        };
        let file = folder_of(path).join(&prompts.prompt_filename_compose);
        Ok(ConceptPair {
            concepts: [id(&first)?, id(&second)?],
            prompts: lines(&read_text(&file)?),
        })
    };
    entries.iter().enumerate().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::tree;

    #[test]
    fn pairs_are_known_by_their_folders() {
        let concept = |dir: &str| {
            format!(
                r#"{{"instance_prompt": "photo of a <new1> sofa", "class_prompt": "sofa",
                "instance_data_dir": "./benchmark_dataset/{dir}", "class_data_dir": "./r",
                "prompt_filename": "prompts/sofa.txt"}}"#
            )
        };
        let pair = |prompts: &str| {
            format!("[[{}, {}, {prompts}]]", concept("furniture_chair3"), concept("pet_dog1"))
        };
        let good = pair(r#"{"prompt_filename_compose": "prompts/a_b.txt"}"#);
        let missing = pair(r#"{"prompt_filename_compose": "prompts/no.txt"}"#);
        let files = [
            ("pairs.json", good.as_str()),
            ("missing.json", &missing),
            ("wrong.json", &pair(r#"{"prompts": "x"}"#)),
            ("single.json", "[{}]"),
            ("none.json", "[]"),
            ("prompts/a_b.txt", "the {1} on the {0}. \n\n{0} and {1}"),
        ];
        let (_guard, root) = tree(&files);
        let pairs = read_pairs(&root.join("pairs.json")).unwrap();
        assert_eq!(pairs[0].concepts, ["furniture_chair3", "pet_dog1"]);
        assert_eq!(pairs[0].prompts, ["the {1} on the {0}.", "{0} and {1}"]);
        for (file, expected) in [
            ("missing.json", "prompts/no.txt"),
            ("wrong.json", "pair 0: "),
            ("single.json", "expected two concepts"),
            ("none.json", "0 pairs"),
        ] {
            let error = read_pairs(&root.join(file)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
