//! The TOML manifest: a file with one `[[concept]]` table per concept.

use std::path::{Path, PathBuf};

use seqlora_files::read_text;
use serde::Deserialize;

use super::error::DataError;
use super::found::{Discovery, FoundConcept};
use super::kind::ConceptKind;
use super::layout::DataLayout;
use super::listing::{folder_of, list};
use super::names;
use super::sidecars::{regular, with_sidecars};
use super::sniff::why_not_an_image;
use super::source::{ImageSource, Skipped};
use super::templates::PLACEHOLDER;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    concept: Vec<ConceptTable>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConceptTable {
    id: String,
    class: Option<String>,
    kind: Option<ConceptKind>,
    images: Images,
    class_images: Option<Images>,
    masks: Option<PathBuf>,
    #[serde(default)]
    templates: Vec<String>,
    steps: Option<usize>,
    repeats: Option<toml::Value>,
    prompts: Option<toml::Value>,
}

/// A folder, or a list of files.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a folder or a list of image files")]
enum Images {
    Folder(PathBuf),
    Files(Vec<PathBuf>),
}

/// Reads the manifest `path`; its paths are relative to `images_root`, or to the manifest.
///
/// # Errors
/// If a key is unknown or missing (the error gives the line), or a file does not exist (the error
/// gives the key).
pub(crate) fn read(path: &Path, images_root: Option<&Path>) -> Result<Discovery, DataError> {
    let text = read_text(path)?;
    let file: ManifestFile = toml::from_str(&text).map_err(|error| {
        // The parser's message shows the line and lists the allowed keys.
        DataError::manifest(path, "TOML", error.to_string().trim_end())
    })?;
    if file.concept.is_empty() {
        let reason = "the list is empty; add a [[concept]] table with keys id, class, images";
        return Err(DataError::manifest(path, "concept", reason));
    }
    let root = images_root.unwrap_or(folder_of(path));
    let (mut found, mut skipped) = (Vec::new(), Vec::new());
    for (number, concept) in file.concept.into_iter().enumerate() {
        let context = ConceptContext { path, root, number };
        found.push(context.concept(concept, &mut skipped)?);
    }
    Ok(Discovery { layout: DataLayout::Toml, concepts: found, skipped })
}

/// Where a concept is in the file, to resolve its paths and to locate errors.
struct ConceptContext<'a> {
    path: &'a Path,
    root: &'a Path,
    number: usize,
}

impl ConceptContext<'_> {
    fn concept(
        &self,
        toml: ConceptTable,
        skipped: &mut Vec<Skipped>,
    ) -> Result<FoundConcept, DataError> {
        self.check(&toml)?;
        let mut images = self.images("images", &toml.images, skipped)?;
        let class_images = toml.class_images.as_ref();
        let class_images = class_images.map(|of| self.images("class_images", of, skipped));
        if let Some(masks) = &toml.masks {
            self.attach_masks(&mut images, &self.root.join(masks))?;
        }
        Ok(FoundConcept {
            class_word: toml.class.or_else(|| names::class_word(&toml.id)),
            id: toml.id,
            kind: toml.kind,
            images,
            class_images: class_images.transpose()?.unwrap_or_default(),
            templates: toml.templates,
            steps: toml.steps,
            repeats: 1,
            prompts: None,
            origin: format!("{}: concept[{}]", self.path.display(), self.number),
        })
    }

    fn check(&self, toml: &ConceptTable) -> Result<(), DataError> {
        if toml.repeats.is_some() {
            let reason = "would have no effect: each concept is trained by itself, and training \
                          counts steps; set `steps`";
            return Err(self.error("repeats", reason));
        }
        if toml.prompts.is_some() {
            let reason =
                "would have no effect: training reads no prompts for evaluation; remove the key";
            return Err(self.error("prompts", reason));
        }
        if toml.steps == Some(0) {
            let reason = "must be at least 1; leave the key out for the default";
            return Err(self.error("steps", reason));
        }
        for (index, template) in toml.templates.iter().enumerate() {
            if template.matches(PLACEHOLDER).count() != 1 {
                let reason = format!("`{template}` must hold `{PLACEHOLDER}` exactly once");
                return Err(self.error(&format!("templates[{index}]"), reason));
            }
        }
        Ok(())
    }

    /// The images of a key, at least one.
    fn images(
        &self,
        key: &str,
        images: &Images,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Vec<ImageSource>, DataError> {
        let found = match images {
            Images::Folder(folder) => self.folder(key, folder, skipped)?,
            Images::Files(files) => self.files(key, files)?,
        };
        match found.is_empty() {
            true => Err(self.error(key, "no images there; expected PNG, JPEG, WebP or BMP")),
            false => Ok(found),
        }
    }

    fn folder(
        &self,
        key: &str,
        folder: &Path,
        skipped: &mut Vec<Skipped>,
    ) -> Result<Vec<ImageSource>, DataError> {
        let folder = self.root.join(folder);
        if !folder.is_dir() {
            let reason = format!(
                "{} is not a folder; paths are relative to {}",
                folder.display(),
                self.root.display()
            );
            return Err(self.error(key, reason));
        }
        let (images, rest) = list(&folder)?.into_images();
        skipped.extend(rest);
        Ok(images)
    }

    fn files(&self, key: &str, files: &[PathBuf]) -> Result<Vec<ImageSource>, DataError> {
        let read = |(index, file): (usize, &PathBuf)| {
            let file = self.root.join(file);
            let reason = match file.exists() {
                true => why_not_an_image(&file)?,
                false => {
                    Some(format!("does not exist; paths are relative to {}", self.root.display()))
                }
            };
            match reason {
                None => with_sidecars(file),
                Some(reason) => {
                    let key = format!("{key}[{index}]");
                    Err(self.error(&key, format!("{}: {reason}", file.display())))
                }
            }
        };
        files.iter().enumerate().map(read).collect()
    }

    /// Adds the mask of each image. A missing mask is an error, because the manifest asked for masks.
    fn attach_masks(&self, images: &mut [ImageSource], folder: &Path) -> Result<(), DataError> {
        for image in images {
            let mask =
                folder.join(image.path.with_extension("png").file_name().unwrap_or_default());
            if !mask.exists() {
                let reason =
                    format!("{} is missing, the mask of {}", mask.display(), image.path.display());
                return Err(self.error("masks", reason));
            }
            image.mask = Some(regular(mask)?);
        }
        Ok(())
    }

    fn error(&self, key: &str, reason: impl ToString) -> DataError {
        DataError::manifest(self.path, format!("concept[{}].{key}", self.number), reason)
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{discover, error, summary, tree};
    use crate::{ConceptKind, DataLayout};

    const GOOD: &str = r#"
        [[concept]]
        id = "rex"
        class = "dog"
        images = "dog"
        masks = "cutouts"
        templates = ["my {}"]
        steps = 300

        [[concept]]
        id = "ann"
        class = "woman"
        images = ["people/a.png", "people/b.png"]
    "#;

    #[test]
    fn a_manifest_is_read_and_its_mistakes_are_located() {
        let files = [
            ("run.toml", GOOD),
            ("dog/1.png", ""),
            ("cutouts/1.png", ""),
            ("people/a.png", ""),
            ("people/b.png", ""),
        ];
        let (_guard, root) = tree(&files);
        let path = root.join("run.toml");
        let manifest = discover(&path).unwrap();
        assert_eq!(manifest.layout, DataLayout::Toml);
        assert_eq!(summary(&manifest), ["rex/dog/1", "ann/woman/2"]);
        let [rex, ann] = manifest.concepts.as_slice() else { panic!("two concepts") };
        assert_eq!((rex.steps, ann.steps), (Some(300), None));
        assert_eq!((rex.kind, ann.kind), (ConceptKind::Object, ConceptKind::Human));
        assert!(rex.images[0].mask.as_ref().unwrap().ends_with("cutouts/1.png"));

        let with_class = GOOD.replacen("steps", "class_images = \"people\"\nsteps", 1);
        std::fs::write(&path, with_class).unwrap();
        let rex = discover(&path).unwrap().concepts.remove(0);
        let class = rex.class_images.expect("images of the class");
        assert_eq!((class.images.len(), class.class_word.as_str()), (2, "dog"));

        let cases = [
            ("steps = 300", "class_images = 'none'", "concept[0].class_images: "),
            ("steps = 300", "class_images = ['x.png']", "concept[0].class_images[0]: "),
            ("steps = 300", "stepps = 300", "unknown field `stepps`"),
            ("steps = 300", "repeats = 10", "concept[0].repeats: would have no effect"),
            ("steps = 300", "prompts = 'p.txt'", "concept[0].prompts: would have no effect"),
            ("steps = 300", "steps = 0", "concept[0].steps: must be at least 1"),
            ("my {}", "my dog", "concept[0].templates[0]: `my dog` must hold `{}`"),
            ("\"cutouts\"", "\"people\"", "concept[0].masks: "),
            ("\"dog\"\n        masks", "\"cat\"\n        masks", "concept[0].images: "),
            ("people/b.png", "people/c.png", "concept[1].images[1]: "),
            ("images = [", "images = 3 #", "expected a folder or a list"),
            ("id = \"ann\"", "id = \"Rex\"", "used twice, by"),
            ("id = \"ann\"", "id = \"a b\"", "concept[1]: `a b` is not a valid"),
        ];
        for (from, to, expected) in cases {
            std::fs::write(&path, GOOD.replacen(from, to, 1)).unwrap();
            let message = error(&path);
            assert!(message.contains("run.toml") && message.contains(expected), "{message}");
        }
    }
}
