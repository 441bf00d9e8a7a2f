//! The prompts with which a data set says that its concepts are evaluated.

use std::path::Path;

use seqlora_files::read_text;

use super::dreambooth::DreamBoothIndex;
use super::error::DataError;
use super::layout::DataLayout;
use super::manifest::Manifest;
use super::source::ConceptSource;

/// The classes of google/dreambooth whose subjects live, and so have prompts of their own.
const LIVE: [&str; 2] = ["cat", "dog"];

/// For each concept its evaluation prompts with `{}` for the concept, if the data bring any: the lists of
/// CustomConcept101, and those in google/dreambooth's index. Blank lines and spaces around prompts are left out.
///
/// # Errors
/// If a list cannot be read. An empty one is no error here.
pub fn evaluation_prompts(
    path: &Path,
    manifest: &Manifest,
) -> Result<Vec<Option<Vec<String>>>, DataError> {
    if manifest.layout == DataLayout::DreamBooth {
        let folders = [path.to_path_buf(), path.join("dataset")];
        let is_there =
            |folder: &&std::path::PathBuf| folder.join(DreamBoothIndex::FILE_NAME).exists();
        let folder = folders.iter().find(is_there).map_or(path, |folder| folder.as_path());
        let index = DreamBoothIndex::read(folder)?;
        let of_class = |concept: &ConceptSource| {
            let live = LIVE.contains(&concept.class_word.as_str());
            let prompts = if live { &index.live_prompts } else { &index.object_prompts };
            (!prompts.is_empty()).then(|| prompts.clone())
        };
        return Ok(manifest.concepts.iter().map(of_class).collect());
    }
    let of_file = |concept: &ConceptSource| {
        let Some(file) = &concept.prompts else { return Ok(None) };
        Ok(Some(lines(&read_text(file)?)))
    };
    manifest.concepts.iter().map(of_file).collect()
}

/// The lines of a list.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    lines.filter(|line| !line.is_empty()).map(String::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{discover, tree};

    #[test]
    fn lists_belong_to_the_concepts_that_name_them() {
        let entry = |dir: &str, class: &str| {
            format!(
                r#"{{"instance_prompt": "photo of a <new1> {class}", "class_prompt": "{class}",
                "instance_data_dir": "./{dir}", "class_data_dir": "./r",
                "prompt_filename": "prompts/{class}.txt"}}"#
            )
        };
        let json = format!("[{}, {}]", entry("pet_cat1", "cat"), entry("wearable_shoes1", "shoes"));
        let files = [
            ("dataset.json", json.as_str()),
            ("pet_cat1/1.png", ""),
            ("wearable_shoes1/1.png", ""),
            ("prompts/cat.txt", "Photo of a {}. \n{} on a beach"),
            ("prompts/shoes.txt", "{} \n\n a pair of {}\u{2019}s\n"),
        ];
        let (_guard, root) = tree(&files);
        let manifest = discover(&root.join("dataset.json")).unwrap();
        let prompts = evaluation_prompts(&root.join("dataset.json"), &manifest).unwrap();
        let expected =
            [vec!["Photo of a {}.", "{} on a beach"], vec!["{}", "a pair of {}\u{2019}s"]];
        for (found, expected) in prompts.iter().zip(expected) {
            assert_eq!(found.as_ref().unwrap(), &expected);
        }
        std::fs::remove_file(root.join("prompts/cat.txt")).unwrap();
        let error = evaluation_prompts(&root.join("dataset.json"), &manifest).unwrap_err();
        assert!(error.to_string().contains("prompts/cat.txt"), "{error}");
    }

    #[test]
    fn what_lives_has_other_prompts_in_dreambooth() {
        let index = "subject_name,class\ndog6,dog\nvase,vase\n\nObject Prompts\n\
                     'a {0} {1} on a rug'.format(unique_token, class_token),\nLive Subject Prompts\n\
                     'a {0} {1} in a hat'.format(unique_token, class_token)\n";
        let files = [
            ("dataset/prompts_and_classes.txt", index),
            ("dataset/dog6/0.png", ""),
            ("dataset/vase/0.png", ""),
        ];
        let (_guard, root) = tree(&files);
        let manifest = discover(&root).unwrap();
        let prompts = evaluation_prompts(&root, &manifest).unwrap();
        assert_eq!(
            prompts,
            [Some(vec!["a {} in a hat".to_string()]), Some(vec!["a {} on a rug".into()])]
        );
        let (_guard, root) = tree(&[("dog/0.png", "")]);
        assert_eq!(evaluation_prompts(&root, &discover(&root).unwrap()).unwrap(), [None]);
    }
}
