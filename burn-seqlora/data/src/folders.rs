//! The layouts that are folders: flat, one folder per concept, kohya, imagefolder, dreambooth.

use std::fs;
use std::path::{Path, PathBuf};

use super::dreambooth::DreamBoothIndex;
use super::error::DataError;
use super::found::{Discovery, FoundConcept};
use super::layout::DataLayout;
use super::listing::{Listing, list};
use super::names::{self, Kohya};
use super::source::Skipped;
use super::{concept_list, metadata};

/// The name of a folder and the concept in it.
type NamedConcept = (String, FoundConcept);

/// Reads the folder `path`.
///
/// # Errors
/// [`DataError::NoImages`] if no layout fits, or an error of one of the files in the folder.
pub(crate) fn read(path: &Path, images_root: Option<&Path>) -> Result<Discovery, DataError> {
    let list_file = path.join(concept_list::FILE_NAME);
    if images_root.is_some() && !list_file.exists() {
        let reason = "it applies to the folders that a TOML or JSON file names; for a folder of \
                      images, pass that folder as the data path";
        return Err(DataError::Option { name: "images_root", reason: reason.into() });
    }
    for folder in [path.to_path_buf(), path.join("dataset")] {
        if folder.join(DreamBoothIndex::FILE_NAME).exists() {
            return dreambooth(&folder);
        }
    }
    // In a Hugging Face split the metadata are in `train/`, but the root has the data set's name.
    let train = path.join("train");
    let images = if train.join(metadata::FILE_NAME).exists() { &train } else { path };
    let listing = list(images)?;
    if !listing.images.is_empty() {
        Ok(single(path, images, listing))
    } else if list_file.exists() {
        concept_list::read(&list_file, images_root)
    } else {
        nested(path, listing)
    }
}

/// One concept: the images of `folder`, named after `path`.
fn single(path: &Path, folder: &Path, listing: Listing) -> Discovery {
    let has_metadata = folder.join(metadata::FILE_NAME).exists();
    let layout = if has_metadata { DataLayout::ImageFolder } else { DataLayout::Flat };
    let (images, skipped) = listing.into_images();
    let name = folder_name(path);
    let mut concept = FoundConcept::named(&name, images, folder);
    // `10_dog6 dog` is kohya's without doubt; `3_dogs` alone may be just a name.
    if name.contains(' ') {
        name_as_kohya(&mut concept, &name);
    }
    Discovery { layout, concepts: vec![concept], skipped }
}

/// One concept per sub-folder of `path`; `root` is the listing of `path`.
fn nested(path: &Path, root: Listing) -> Result<Discovery, DataError> {
    let (mut found, skipped) = concepts(&root)?;
    if found.is_empty() {
        return Err(no_images(path, &root, &skipped));
    }
    let all_kohya = found.iter().all(|(name, _)| Kohya::parse(name).is_some());
    let layout = if all_kohya { DataLayout::Kohya } else { DataLayout::Folders };
    if all_kohya {
        found.iter_mut().for_each(|(name, concept)| name_as_kohya(concept, name));
    }
    let concepts = found.into_iter().map(|(_, concept)| concept).collect();
    Ok(Discovery { layout, concepts, skipped })
}

/// Takes what kohya's scripts read from a folder's name, if it is of their form.
fn name_as_kohya(concept: &mut FoundConcept, name: &str) {
    if let Some(kohya) = Kohya::parse(name) {
        concept.id = names::slug(kohya.prompt);
        concept.class_word = kohya.class_word();
        concept.repeats = kohya.repeats;
    }
}

/// The google/dreambooth data set: one sub-folder per subject, classes from its index.
fn dreambooth(folder: &Path) -> Result<Discovery, DataError> {
    let index = DreamBoothIndex::read(folder)?;
    let mut root = list(folder)?;
    if !root.images.is_empty() {
        let reason = "an image outside the subject folders";
        let stray = root.images.drain(..).map(|image| image.path);
        root.skipped.extend(stray.map(|path| Skipped { path, reason: reason.into() }));
    }
    let (found, mut skipped) = concepts(&root)?;
    if found.is_empty() {
        return Err(no_images(folder, &root, &skipped));
    }
    skipped.retain(|skipped| {
        let name = skipped.path.file_name().unwrap_or_default();
        !DreamBoothIndex::COMPANIONS.iter().any(|companion| name == *companion)
    });
    let with_class = |(name, mut concept): (String, FoundConcept)| {
        if let Some(class) = index.class(&name) {
            concept.class_word = Some(class.to_string());
        }
        concept
    };
    let concepts = found.into_iter().map(with_class).collect();
    Ok(Discovery { layout: DataLayout::DreamBooth, concepts, skipped })
}

/// The sub-folders with images, and everything that was left out.
fn concepts(root: &Listing) -> Result<(Vec<NamedConcept>, Vec<Skipped>), DataError> {
    let (mut found, mut skipped) = (Vec::new(), root.skipped.clone());
    for folder in &root.folders {
        let (images, rest) = list(folder)?.into_images();
        skipped.extend(rest);
        if images.is_empty() {
            let reason = "a folder without images".into();
            skipped.push(Skipped { path: folder.clone(), reason });
        } else {
            let name = folder_name(folder);
            let concept = FoundConcept::named(&name, images, folder);
            found.push((name, concept));
        }
    }
    Ok((found, skipped))
}

/// The name of a folder, even if the path is `.` or `..`.
fn folder_name(path: &Path) -> String {
    let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    full.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The error that says what `path` holds instead of images, and which sub-folder to use instead.
fn no_images(path: &Path, root: &Listing, skipped: &[Skipped]) -> DataError {
    let files: Vec<_> = skipped.iter().filter(|skipped| !skipped.path.is_dir()).collect();
    let mut found = format!("{} folders, {} files", root.folders.len(), files.len());
    if let Some(first) = files.first() {
        let name = first.path.strip_prefix(path).unwrap_or(&first.path);
        found = format!("{found}, such as {} ({})", name.display(), first.reason);
    }
    let holds_images = |folder: &PathBuf| list(folder).is_ok_and(|inner| !inner.images.is_empty());
    let would_do = |folder: &&PathBuf| {
        list(folder).is_ok_and(|listing| listing.folders.iter().any(holds_images))
    };
    let near = root.folders.iter().find(would_do).cloned();
    DataError::NoImages { path: path.to_path_buf(), found, near }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::{discover, error, summary, tree};
    use crate::{DataLayout, DiscoverOptions, Manifest};

    #[test]
    fn folders_become_concepts_sorted_by_name() {
        let files =
            [("vase/1.png", ""), ("dog6/b.PNG", ""), ("dog6/a.bmp", ""), ("notes/x.txt", "hi")];
        let (_guard, root) = tree(&files);
        let manifest = discover(&root).unwrap();
        assert_eq!(manifest.layout, DataLayout::Folders);
        assert_eq!(summary(&manifest), ["dog6/dog/2", "vase/vase/1"]);
        assert!(manifest.concepts[0].images[0].path.ends_with("dog6/a.bmp"));
        let reasons: Vec<_> = manifest.skipped.iter().map(|s| s.reason.as_str()).collect();
        assert_eq!(reasons, ["a text that belongs to no image", "a folder without images"]);

        let one = discover(&root.join("dog6")).unwrap();
        assert_eq!((one.layout, summary(&one)), (DataLayout::Flat, vec!["dog6/dog/2".to_string()]));
    }

    #[test]
    fn kohya_prefixes_count_only_if_all_folders_have_one() {
        let (_guard, root) = tree(&[("10_sks dog/1.png", ""), ("5_teapot/1.png", "")]);
        let manifest = discover(&root).unwrap();
        assert_eq!(manifest.layout, DataLayout::Kohya);
        assert_eq!(summary(&manifest), ["sks-dog/dog/1", "teapot/teapot/1"]);
        assert_eq!(manifest.concepts.iter().map(|c| c.repeats).collect::<Vec<_>>(), [10, 5]);

        // The first word is the name, whatever it is, and a folder means the same by itself.
        let (_guard, root) = tree(&[("10_dog6 dog/1.png", "")]);
        for path in [root.clone(), root.join("10_dog6 dog")] {
            let manifest = discover(&path).unwrap();
            assert_eq!(summary(&manifest), ["dog6-dog/dog/1"]);
            assert_eq!(manifest.concepts[0].repeats, 10);
        }

        let (_guard, root) = tree(&[("3_dogs/1.png", ""), ("teapot/1.png", "")]);
        let manifest = discover(&root).unwrap();
        assert_eq!((manifest.layout, manifest.concepts[0].repeats), (DataLayout::Folders, 1));
    }

    #[test]
    fn dreambooth_classes_come_from_the_index() {
        let index = "Classes\n\nsubject_name,class\nbear_plushie,stuffed animal\nabsent,dog\n";
        let files = [
            ("dataset/prompts_and_classes.txt", index),
            ("dataset/references_and_licenses.txt", "..."),
            ("dataset/bear_plushie/00.png", ""),
            ("dataset/my_dog/00.png", ""),
        ];
        let (_guard, root) = tree(&files);
        for path in [root.clone(), root.join("dataset")] {
            let manifest = discover(&path).unwrap();
            assert_eq!(manifest.layout, DataLayout::DreamBooth);
            assert_eq!(summary(&manifest), ["bear_plushie/stuffed animal/1", "my_dog/my dog/1"]);
            assert_eq!(manifest.skipped, []);
        }
    }

    #[test]
    fn imagefolder_captions_come_from_the_metadata() {
        let lines = "{\"file_name\": \"b.png\", \"text\": \"a cat asleep\", \"width\": 2}\n\n\
                     {\"file_name\": \"sub/a.png\", \"text\": \"\"}\n";
        let files = [
            ("train/metadata.jsonl", lines),
            ("train/b.png", ""),
            ("train/sub/a.png", ""),
            ("train/stray.png", ""),
        ];
        let (_guard, root) = tree(&files);
        let options = DiscoverOptions { class_word: Some("cat".into()), ..Default::default() };
        let manifest = Manifest::discover(&root, &options).unwrap();
        assert_eq!(manifest.layout, DataLayout::ImageFolder);
        assert_eq!(summary(&manifest), ["photos/cat/2"]);
        let captions: Vec<_> = manifest.concepts[0].images.iter().map(|i| &i.caption).collect();
        assert_eq!(captions, [&Some("a cat asleep".to_string()), &None]);
        assert_eq!(manifest.skipped.len(), 1);

        std::fs::remove_file(root.join("train/b.png")).unwrap();
        assert!(error(&root).contains("metadata.jsonl: line 1: file_name `b.png`"));
    }

    #[test]
    fn an_empty_path_is_told_what_is_there_and_where_to_go() {
        let (_guard, root) = tree(&[("all/dog/1.png", ""), ("readme.md", "x")]);
        let message = error(&root);
        assert!(message.contains("1 folders, 1 files, such as readme.md (not an"), "{message}");
        assert!(message.contains(&format!("did you mean {}?", root.join("all").display())));
        assert!(message.contains("[[concept]]"), "the layouts are listed");
        assert!(error(&root.join("nowhere")).contains("no such path"));
        assert!(error(&root.join("all/dog/1.png")).contains("did you mean"));
    }
}
