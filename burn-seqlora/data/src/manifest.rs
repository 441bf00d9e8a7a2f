//! What to learn from: the concepts of a data path, whatever its layout.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::caption::ConceptKind;
use super::error::DataError;
use super::listing::folder_of;
use super::{concept_list, folders, names, toml_manifest};

/// The concepts found under a path, in the order in which they will be learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The layout that was recognised.
    pub layout: Layout,
    /// At least one concept; ids are unique.
    pub concepts: Vec<ConceptSource>,
    /// Files and folders that were left out, with the reason.
    pub skipped: Vec<Skipped>,
}

/// How a data path is organised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// A folder of images: one concept.
    Flat,
    /// A folder of such folders.
    Folders,
    /// A folder of kohya's `<repeats>_<class>` folders.
    Kohya,
    /// A folder with Hugging Face's `metadata.jsonl`: one concept with captions.
    ImageFolder,
    /// The google/dreambooth data set with its `prompts_and_classes.txt`.
    DreamBooth,
    /// Our own TOML manifest.
    Toml,
    /// A CustomConcept101 `dataset.json`.
    CustomConcept101,
}

/// One concept and where its training data lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConceptSource {
    /// Unique name, safe as a folder name: `[A-Za-z0-9._-]+`.
    pub id: String,
    /// What the subject is, in plain words ("dog", "stuffed animal").
    pub class_word: String,
    /// Which built-in prompts fit the subject.
    pub kind: ConceptKind,
    /// Training images, at least one.
    pub images: Vec<ImageSource>,
    /// Training prompts, each with one `{}` where the concept's words go; empty: the built-in
    /// ones of `kind`.
    pub templates: Vec<String>,
    /// Training steps, where the manifest asks for a number.
    pub steps: Option<usize>,
    /// kohya's folder prefix; 1 unless given. It has no effect: training counts steps, not epochs, and
    /// all images of a concept are drawn alike.
    pub repeats: usize,
    /// File of evaluation prompts, where the manifest names one.
    pub prompts: Option<PathBuf>,
}

/// One training image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageSource {
    /// The image file.
    pub path: PathBuf,
    /// Its caption as written by the user.
    pub caption: Option<String>,
    /// Its subject mask: white is the subject.
    pub mask: Option<PathBuf>,
}

/// A file or folder that takes no part in training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// The file or folder.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: String,
}

/// What the user says beside the path.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiscoverOptions {
    /// Class word, instead of the one in the data. Only for a path with one concept.
    pub class_word: Option<String>,
    /// Concept id, instead of the one in the data. Only for a path with one concept.
    pub id: Option<String>,
    /// Where the folders named in a TOML or JSON file lie, if not beside that file.
    pub images_root: Option<PathBuf>,
}

/// A concept as a reader found it; [`Manifest::discover`] completes and checks it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    /// `None` if the data do not tell.
    pub(crate) class_word: Option<String>,
    /// `None`: follows from the class word.
    pub(crate) kind: Option<ConceptKind>,
    pub(crate) images: Vec<ImageSource>,
    pub(crate) templates: Vec<String>,
    pub(crate) steps: Option<usize>,
    pub(crate) repeats: usize,
    pub(crate) prompts: Option<PathBuf>,
    /// Folder, or file and key, for messages.
    pub(crate) origin: String,
}

/// Layout, concepts and left-out files, before the checks.
pub(crate) type Reading = (Layout, Vec<Found>, Vec<Skipped>);

impl Manifest {
    /// Recognises the layout of `path` and lists its concepts. Images are not decoded here.
    ///
    /// # Errors
    /// If nothing can be recognised ([`DataError::NoImages`], with the nearest layout), if a
    /// manifest holds a bad value or names missing files, if an id is invalid or used twice, or
    /// if an option does not fit the data.
    pub fn discover(path: &Path, options: &DiscoverOptions) -> Result<Self, DataError> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        let root = options.images_root.as_deref();
        let (layout, mut found, skipped) = match extension.as_str() {
            _ if path.is_dir() => folders::read(path, root)?,
            "toml" => toml_manifest::read(path, root)?,
            "json" => concept_list::read(path, root)?,
            _ => return Err(not_a_data_path(path)),
        };
        override_single(&mut found, options)?;
        check_unique(&found)?;
        let concepts = found.into_iter().map(Found::check).collect::<Result<_, _>>()?;
        Ok(Self { layout, concepts, skipped })
    }
}

impl Found {
    /// A concept known by its folder `name` alone.
    pub(crate) fn named(name: &str, images: Vec<ImageSource>, folder: &Path) -> Self {
        Self {
            id: names::slug(name),
            class_word: names::class_word(name),
            kind: None,
            images,
            templates: Vec::new(),
            steps: None,
            repeats: 1,
            prompts: None,
            origin: folder.display().to_string(),
        }
    }

    fn check(self) -> Result<ConceptSource, DataError> {
        names::check_id(&self.id, &self.origin)?;
        let class_word = self.class_word.map(|word| word.trim().to_string());
        let Some(class_word) = class_word.filter(|word| !word.is_empty()) else {
            return Err(DataError::ClassWord { origin: self.origin, name: self.id });
        };
        Ok(ConceptSource {
            kind: self.kind.unwrap_or_else(|| ConceptKind::of_class(&class_word)),
            id: self.id,
            class_word,
            images: self.images,
            templates: self.templates,
            steps: self.steps,
            repeats: self.repeats,
            prompts: self.prompts,
        })
    }
}

/// Applies the options that name one concept.
fn override_single(found: &mut [Found], options: &DiscoverOptions) -> Result<(), DataError> {
    for (name, value) in [("--class", &options.class_word), ("--id", &options.id)] {
        let Some(value) = value else { continue };
        let [concept] = found else {
            let count = found.len();
            let reason = format!(
                "it names one concept, but the data hold {count}; pass one folder, or write a TOML \
                 manifest with key `{}` per concept",
                name.trim_start_matches('-'),
            );
            return Err(DataError::Option { name, reason });
        };
        match name {
            "--id" => concept.id = value.clone(),
            _ => concept.class_word = Some(value.clone()),
        }
    }
    Ok(())
}

fn check_unique(found: &[Found]) -> Result<(), DataError> {
    let mut seen: HashMap<String, &Found> = HashMap::new();
    for concept in found {
        // `Dog` and `dog` would share a folder of the bank on macOS and Windows.
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

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flat => "folder of images (one concept)",
            Self::Folders => "folder of concept folders",
            Self::Kohya => "kohya folders (<repeats>_<class>)",
            Self::ImageFolder => "imagefolder with metadata.jsonl",
            Self::DreamBooth => "google/dreambooth data set",
            Self::Toml => "TOML manifest",
            Self::CustomConcept101 => "CustomConcept101 list",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{error, summary, tree};

    fn options(class_word: Option<&str>, id: Option<&str>) -> DiscoverOptions {
        let owned = |text: Option<&str>| text.map(str::to_string);
        DiscoverOptions { class_word: owned(class_word), id: owned(id), images_root: None }
    }

    #[test]
    fn options_name_the_only_concept() {
        let (_guard, root) = tree(&[("dog6/1.png", ""), ("01/1.png", "")]);
        let one = Manifest::discover(&root.join("dog6"), &options(Some("corgi"), Some("rex")));
        assert_eq!(summary(&one.unwrap()), ["rex/corgi/1"]);
        assert!(error(&root.join("01")).contains("cannot tell the class word"));
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
