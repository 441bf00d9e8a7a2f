//! The concepts of a data path, whatever its layout.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DataError;
use super::found::{Discovery, FoundConcept};
use super::layout::DataLayout;
use super::limits;
use super::listing::{folder_of, list};
use super::source::{ConceptSource, Skipped};
use super::{concept_list, folders, toml_manifest};

/// The concepts found under a path, in the order in which they will be learnt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The layout that was recognised.
    pub layout: DataLayout,
    /// At least one concept; ids are unique.
    pub concepts: Vec<ConceptSource>,
    /// Files and folders that were left out, with the reason.
    pub skipped: Vec<Skipped>,
}

/// What the user may specify in addition to the path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverOptions {
    /// The class word, which overrides the one in the data. Only for a path with one concept.
    pub class_word: Option<String>,
    /// The concept's id, which overrides the one in the data. Only for a path with one concept.
    pub id: Option<String>,
    /// A folder with images of other things of the class. Only for a path with one concept.
    pub class_images: Option<PathBuf>,
    /// The folder that the paths in a TOML or JSON file are relative to; by default the folder of
    /// that file.
    pub images_root: Option<PathBuf>,
}

impl Manifest {
    /// Recognises the layout of `path` and lists its concepts. Images are not decoded here.
    ///
    /// # Errors
    /// If no layout is recognised ([`DataError::NoImages`], which lists them all), if a manifest
    /// holds a bad value or names missing files, if an id is invalid or used twice, or if an option
    /// does not fit the data.
    pub fn discover(path: &Path, options: &DiscoverOptions) -> Result<Self, DataError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let root = options.images_root.as_deref();
        let Discovery { layout, concepts: mut found, skipped } = match extension.as_str() {
            _ if path.is_dir() => folders::read(path, root)?,
            "toml" => toml_manifest::read(path, root)?,
            "json" => concept_list::read(path, root)?,
            _ => return Err(not_a_data_path(path)),
        };
        check_counts(path, &found)?;
        override_single(&mut found, options)?;
        if let Some(folder) = &options.class_images {
            add_class_images(&mut found, folder)?;
        }
        check_unique(&found)?;
        let concepts = found.into_iter().map(FoundConcept::check).collect::<Result<_, _>>()?;
        Ok(Self { layout, concepts, skipped })
    }
}

/// The images of a folder as those of the only concept's class.
fn add_class_images(found: &mut [FoundConcept], folder: &Path) -> Result<(), DataError> {
    let option = |reason: String| DataError::Option { name: "class_images", reason };
    let [concept] = found else {
        let reason = format!(
            "it applies to one concept, but the data hold {}; write a TOML manifest with the key \
             `class_images` for each concept",
            found.len()
        );
        return Err(option(reason));
    };
    if !folder.is_dir() {
        return Err(option(format!("{} is not a folder", folder.display())));
    }
    let listing = list(folder)?;
    concept.class_images = if listing.images.is_empty() {
        // kohya's folder of folders such as `1_dog`.
        let nested = listing.folders.iter().map(|folder| Ok(list(folder)?.into_images().0));
        nested.collect::<Result<Vec<_>, DataError>>()?.concat()
    } else {
        listing.into_images().0
    };
    match concept.class_images.is_empty() {
        true => Err(option(format!("{} holds no images", folder.display()))),
        false => Ok(()),
    }
}

/// Applies the options that are only allowed for a single concept.
fn override_single(found: &mut [FoundConcept], options: &DiscoverOptions) -> Result<(), DataError> {
    for (name, value) in [("class", &options.class_word), ("id", &options.id)] {
        let Some(value) = value else { continue };
        let [concept] = found else {
            let count = found.len();
            let reason = format!(
                "it applies to one concept, but the data hold {count}; pass the folder of one \
                 concept, or write a TOML manifest with the key `{name}` for each concept"
            );
            return Err(DataError::Option { name, reason });
        };
        match name {
            "id" => concept.id = value.clone(),
            _ => concept.class_word = Some(value.clone()),
        }
    }
    Ok(())
}

fn check_counts(path: &Path, found: &[FoundConcept]) -> Result<(), DataError> {
    let images = found.iter().map(|concept| concept.images.len()).sum();
    let counts = [("concepts", found.len(), limits::CONCEPTS), ("images", images, limits::IMAGES)];
    match counts.into_iter().find(|(_, count, most)| count > most) {
        None => Ok(()),
        Some((what, count, most)) => {
            let reason = format!("{count} of them; at most {most} are read");
            Err(DataError::manifest(path, what, reason))
        }
    }
}

fn check_unique(found: &[FoundConcept]) -> Result<(), DataError> {
    let mut seen: HashMap<String, &FoundConcept> = HashMap::new();
    for concept in found {
        // On macOS and Windows, `Dog` and `dog` would be the same folder of the bank.
        if let Some(first) = seen.insert(concept.id.to_lowercase(), concept) {
            return Err(DataError::DuplicateId {
                id: concept.id.clone(),
                first: first.origin.clone(),
                second: concept.origin.clone(),
            });
        }
    }
    Ok(())
}

fn not_a_data_path(path: &Path) -> DataError {
    let found =
        if path.exists() { "a file that is neither .toml nor .json" } else { "no such path" };
    let near = path.is_file().then(|| folder_of(path).to_path_buf());
    DataError::NoImages { path: path.to_path_buf(), found: found.into(), near }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{error, summary, tree};

    fn options(class_word: Option<&str>, id: Option<&str>) -> DiscoverOptions {
        let owned = |text: Option<&str>| text.map(str::to_string);
        DiscoverOptions { class_word: owned(class_word), id: owned(id), ..Default::default() }
    }

    #[test]
    fn options_name_the_only_concept() {
        let (_guard, root) = tree(&[("dog6/1.png", ""), ("01/1.png", "")]);
        let one = Manifest::discover(&root.join("dog6"), &options(Some("corgi"), Some("rex")));
        assert_eq!(summary(&one.unwrap()), ["rex/corgi/1"]);
        assert!(error(&root.join("01")).contains("does not tell the class word"));
        let both = Manifest::discover(&root, &options(Some("dog"), None)).unwrap_err();
        assert!(both.to_string().contains("the data hold 2"), "{both}");
        let bad = Manifest::discover(&root.join("dog6"), &options(None, Some("a/b"))).unwrap_err();
        assert!(bad.to_string().contains("`a/b` is not a valid concept id"), "{bad}");
    }

    #[test]
    fn ids_that_would_share_a_folder_are_refused() {
        let (_guard, root) = tree(&[("my dog/1.png", ""), ("My-Dog/1.png", "")]);
        let message = error(&root);
        assert!(message.contains("my dog") && message.contains("used twice"), "{message}");
    }
}
