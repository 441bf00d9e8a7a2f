//! CustomConcept101's `dataset.json`, which is also the concepts list of diffusers' Custom Diffusion.

use std::path::{Path, PathBuf};

use seqlora_files::read_text;
use serde::Deserialize;

use super::error::DataError;
use super::found::{Discovery, FoundConcept};
use super::layout::DataLayout;
use super::listing::{folder_of, list};
use super::names;
use super::source::Skipped;

/// Name of the list in the CustomConcept101 repository.
pub(crate) const FILE_NAME: &str = "dataset.json";

/// One concept of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListEntry {
    /// `photo of a <new1> barn`; sometimes without the article.
    instance_prompt: String,
    class_prompt: String,
    instance_data_dir: String,
    /// Regularisation images, which the published archive does not contain and training does not use.
    #[serde(rename = "class_data_dir")]
    _class_data_dir: Option<String>,
    prompt_filename: Option<String>,
}

/// Reads the list `path`. Its folders are relative to `images_root`, or to the list itself.
///
/// # Errors
/// If the file is not such a list, if folders are missing (the error counts all of them), or if a
/// folder holds no images.
pub(crate) fn read(path: &Path, images_root: Option<&Path>) -> Result<Discovery, DataError> {
    let root = images_root.unwrap_or(folder_of(path));
    let entries = parse(path)?;
    let folders: Vec<_> = entries.iter().map(|e| find(root, &e.instance_data_dir)).collect();
    let absent = entries.iter().zip(&folders).filter(|(_, folder)| folder.is_none());
    let missing: Vec<_> = absent.map(|(entry, _)| entry.instance_data_dir.clone()).collect();
    if !missing.is_empty() {
        let (path, root) = (path.to_path_buf(), root.to_path_buf());
        return Err(DataError::MissingFolders { path, root, missing, total: entries.len() });
    }
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for (number, (entry, folder)) in entries.iter().zip(folders.iter().flatten()).enumerate() {
        found.push(concept(path, number, entry, folder, &mut skipped)?);
    }
    Ok(Discovery { layout: DataLayout::CustomConcept101, concepts: found, skipped })
}

fn parse(path: &Path) -> Result<Vec<ListEntry>, DataError> {
    let text = read_text(path)?;
    let json: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| DataError::manifest(path, "JSON", error))?;
    let Some(items) = json.as_array().filter(|items| !items.is_empty()) else {
        let reason = "expected a list of concepts [{\"instance_prompt\": ..., ...}, ...]";
        return Err(DataError::manifest(path, "top level", reason));
    };
    if items[0].is_array() {
        let reason = "a list of concept pairs for evaluation; pass dataset.json to learn from";
        return Err(DataError::manifest(path, "top level", reason));
    }
    let entry = |(number, item): (usize, &serde_json::Value)| {
        ListEntry::deserialize(item)
            .map_err(|error| DataError::manifest(path, format!("concept {number}"), error))
    };
    items.iter().enumerate().map(entry).collect()
}

fn concept(
    path: &Path,
    number: usize,
    entry: &ListEntry,
    folder: &Path,
    skipped: &mut Vec<Skipped>,
) -> Result<FoundConcept, DataError> {
    let (images, rest) = list(folder)?.into_images();
    skipped.extend(rest);
    if images.is_empty() {
        let reason = format!("no images in {}", folder.display());
        let key = format!("concept {number}, instance_data_dir");
        return Err(DataError::manifest(path, key, reason));
    }
    let (template, class) = template(&entry.instance_prompt, &entry.class_prompt);
    Ok(FoundConcept {
        id: names::slug(last_component(&entry.instance_data_dir)),
        class_word: Some(class),
        templates: vec![template],
        prompts: entry.prompt_filename.as_ref().map(|file| folder_of(path).join(file)),
        origin: format!("{}: concept {number}", path.display()),
        ..FoundConcept::named("", images, folder)
    })
}

/// `photo of a <new1> barn` becomes the template `photo of a {}` and the class word `barn`.
///
/// One published entry says "<new1> dice plushie" with the class "dice", and its evaluation prompts
/// say "dice plushie". So the words after the token become the class word if they contain the class
/// and at most one word more; otherwise the words after the class stay in the template.
fn template(prompt: &str, class: &str) -> (String, String) {
    let class = class.trim();
    let token = prompt.find('<').and_then(|start| {
        let end = prompt[start..].find('>')? + start + 1;
        Some((prompt[..start].trim_end(), prompt[end..].trim()))
    });
    let Some((before, tail)) = token else {
        return ("a photo of a {}".into(), class.into());
    };
    let join = |tail: &str| format!("{before} {{}}{tail}").trim_start().to_string();
    let words = |text: &str| text.split_whitespace().count();
    if tail.contains(class) && words(tail) <= words(class) + 1 {
        return (join(""), tail.to_string());
    }
    let rest = tail.strip_prefix(class).unwrap_or(tail).trim();
    let space = if rest.is_empty() { "" } else { " " };
    (join(&format!("{space}{rest}")), class.to_string())
}

/// The folder `root/dir`, or `root/<last part of dir>` if `root` is the folder that holds them all.
fn find(root: &Path, dir: &str) -> Option<PathBuf> {
    let dir = dir.trim_start_matches("./");
    [root.join(dir), root.join(last_component(dir))].into_iter().find(|folder| folder.is_dir())
}

pub(crate) fn last_component(dir: &str) -> &str {
    dir.trim_end_matches('/').rsplit('/').next().unwrap_or(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{error, summary, tree};
    use crate::{DiscoverOptions, Manifest};

    #[test]
    fn templates_keep_the_article_and_lose_the_token() {
        let cases = [
            ("photo of a <new1> barn", "barn", "photo of a {}", "barn"),
            ("photo of <new1> sunglasses", "sunglasses", "photo of {}", "sunglasses"),
            ("photo of a <new1> dice plushie", "dice", "photo of a {}", "dice plushie"),
            ("photo of a <new12> dog on the grass", "dog", "photo of a {} on the grass", "dog"),
            ("<new1>", "cat", "{}", "cat"),
            ("a photo of a sks dog", "dog", "a photo of a {}", "dog"),
        ];
        for (prompt, class, expected, word) in cases {
            assert_eq!(template(prompt, class), (expected.into(), word.into()), "{prompt}");
        }
    }

    #[test]
    fn folders_are_found_next_to_the_list_or_under_images_root() {
        let entry = |dir: &str, class: &str| {
            format!(
                r#"{{"instance_prompt": "photo of a <new1> {class}", "class_prompt": "{class}",
                "instance_data_dir": "./benchmark_dataset/{dir}", "class_data_dir": "./r",
                "prompt_filename": "prompts/{class}.txt"}}"#
            )
        };
        let json = format!("[{}, {}]", entry("scene_barn", "barn"), entry("pet_cat1", "cat"));
        let files = [
            ("dataset.json", json.as_str()),
            ("benchmark_dataset/scene_barn/1.png", ""),
            ("elsewhere/scene_barn/1.png", ""),
            ("elsewhere/pet_cat1/1.png", ""),
            ("pairs.json", "[[{}, {}]]"),
            ("wrong.json", r#"[{"instance_promt": "x"}]"#),
        ];
        let (_guard, root) = tree(&files);
        let message = error(&root);
        assert!(message.contains("1 of 2 image folders"), "{message}");
        assert!(message.contains("./benchmark_dataset/pet_cat1; set `images_root`"), "{message}");

        let images_root = Some(root.join("elsewhere"));
        let options = DiscoverOptions { images_root, ..Default::default() };
        let manifest = Manifest::discover(&root.join("dataset.json"), &options).unwrap();
        assert_eq!(summary(&manifest), ["scene_barn/barn/1", "pet_cat1/cat/1"]);
        assert_eq!(manifest.concepts[0].templates, ["photo of a {}"]);
        assert_eq!(manifest.concepts[1].prompts, Some(root.join("prompts/cat.txt")));

        assert!(error(&root.join("pairs.json")).contains("pass dataset.json"));
        assert!(error(&root.join("wrong.json")).contains("concept 0: unknown field"));
    }
}
