//! A demo that has ended: its concepts and settings, for `seqlora learn`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::eval::report::{ConceptSummary, Summary};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::failure::Failure;

/// The folder of a demo that has ended.
#[derive(Debug, Clone)]
pub struct FinishedDemo(PathBuf);

/// A concept of the demo.
#[derive(Debug)]
pub struct Concept {
    /// Its id.
    pub id: String,
    class_word: String,
    images: Vec<PathBuf>,
}

impl FinishedDemo {
    /// A demo in a folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The folder with the reference images of each concept.
    pub fn photos(&self) -> PathBuf {
        self.0.join("photos")
    }

    /// The concepts, with all images that it trained them with.
    ///
    /// # Errors
    /// If the demo has not ended.
    pub fn concepts(&self) -> Result<Vec<Concept>, Failure> {
        let summary: Summary = self.read("summary.json")?;
        let demo = fs::canonicalize(&self.0)?;
        let concept = |concept: ConceptSummary| {
            let folders = ["photos", "in-company"].map(|name| demo.join(name).join(&concept.id));
            let mut images: Vec<PathBuf> = Vec::new();
            for folder in folders.iter().filter(|folder| folder.is_dir()) {
                for entry in fs::read_dir(folder)? {
                    images.push(entry?.path());
                }
            }
            images.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
            images.sort();
            Ok(Concept { id: concept.id, class_word: concept.class_word, images })
        };
        summary.concepts.into_iter().map(concept).collect()
    }

    /// Its training settings as `learn` takes them.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn settings(&self) -> Result<toml::Table, Failure> {
        let mut demo: Value = self.read("demo.json")?;
        let mut settings = demo["settings"]["train"].take();
        if let Value::Object(object) = &mut settings {
            // TOML has no null.
            object.retain(|_, value| !value.is_null());
        }
        Ok(serde_json::from_value(settings)?)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Failure> {
        let file = self.0.join(name);
        let text = fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// Writes concepts as a manifest, with their masks in a folder `masks` beside it.
///
/// # Errors
/// If it cannot be written, or a mask is missing.
pub fn write_manifest<'a>(
    file: &Path,
    concepts: impl Iterator<Item = &'a Concept>,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Table<'a> {
        id: &'a str,
        class: &'a str,
        images: &'a [PathBuf],
        masks: PathBuf,
    }
    let folder = file.parent().unwrap_or(Path::new("")).join("masks");
    let table = |concept: &'a Concept| {
        let Concept { id, class_word, images } = concept;
        // Images of a concept have different names, wherever they lie.
        fs::create_dir_all(folder.join(id))?;
        for image in images {
            let name = image.file_name().expect("an image has a name");
            let mask = image.with_file_name("masks").join(name);
            fs::copy(mask, folder.join(id).join(name))?;
        }
        Ok(Table { id, class: class_word, images, masks: Path::new("masks").join(id) })
    };
    let tables = concepts.map(table).collect::<Result<Vec<Table>, Failure>>()?;
    Ok(fs::write(file, toml::to_string(&BTreeMap::from([("concept", tables)]))?)?)
}
