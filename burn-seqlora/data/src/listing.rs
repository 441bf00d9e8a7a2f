//! The files of one folder, sorted into images, masks, captions and the rest.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::DataError;
use super::metadata;
use super::sidecars::{MASK_FOLDERS, caption_files, is_mask_name, with_sidecars};
use super::sniff::{lower, why_not_an_image};
use super::source::{ImageSource, Skipped};

/// Files that operating systems and tools create; they are ignored without a mention.
const JUNK: [&str; 4] = ["thumbs.db", "desktop.ini", "__macosx", "__pycache__"];

/// What a folder holds, each part sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Training images with their captions and masks.
    pub(crate) images: Vec<ImageSource>,
    /// Sub-folders, without mask folders and hidden ones.
    pub(crate) folders: Vec<PathBuf>,
    /// Everything else.
    pub(crate) skipped: Vec<Skipped>,
}

impl Listing {
    /// The images, and everything else with the reason why it is not used.
    pub(crate) fn into_images(self) -> (Vec<ImageSource>, Vec<Skipped>) {
        let Self { images, folders, mut skipped } = self;
        // A metadata file may name images in sub-folders.
        let holding: HashSet<&Path> =
            images.iter().flat_map(|image| image.path.ancestors().skip(1)).collect();
        let used = |folder: &PathBuf| holding.contains(folder.as_path());
        let reason = "a sub-folder, which is not searched";
        let unused = folders.into_iter().filter(|folder| !images.is_empty() && !used(folder));
        skipped.extend(unused.map(|path| Skipped { path, reason: reason.into() }));
        (images, skipped)
    }
}

/// Lists `folder`, but not its sub-folders. A `metadata.jsonl` decides which files are
/// images and what their captions are; otherwise captions come from files next to the images.
///
/// # Errors
/// If the folder, a caption or `metadata.jsonl` cannot be read.
pub(crate) fn list(folder: &Path) -> Result<Listing, DataError> {
    let entries = entries(folder)?;
    let listed = metadata::read(folder)?;
    let in_metadata: Option<HashSet<&Path>> =
        listed.as_ref().map(|listed| listed.iter().map(|image| image.path.as_path()).collect());
    let (mut listing, mut masks, mut texts) = (Listing::default(), Vec::new(), Vec::new());
    for path in entries.into_iter().filter(|path| !metadata::is_metadata(path)) {
        if path.is_dir() {
            if MASK_FOLDERS.iter().any(|name| path.ends_with(name)) {
                masks.extend(self::entries(&path)?);
            } else {
                listing.folders.push(path);
            }
        } else if is_mask_name(&path) {
            masks.push(path);
        } else if ["txt", "caption"].contains(&lower(path.extension()).as_str()) {
            texts.push(path);
        } else if let Some(reason) = why_not_an_image(&path)? {
            listing.skipped.push(Skipped { path, reason });
        } else if in_metadata.as_ref().is_some_and(|listed| !listed.contains(path.as_path())) {
            let reason = format!("no line in {}", metadata::FILE_NAME);
            listing.skipped.push(Skipped { path, reason });
        } else if listed.is_none() {
            listing.images.push(with_sidecars(path)?);
        }
    }
    listing.images.extend(listed.unwrap_or_default());
    skip_unused(&mut listing, masks, texts);
    Ok(listing)
}

/// The visible entries of `folder`, sorted by name.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(DataError::io(folder))? {
        let path = entry.map_err(DataError::io(folder))?.path();
        let name = lower(path.file_name());
        if !name.starts_with('.') && !JUNK.contains(&name.as_str()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// The folder that relative paths in the file `path` are relative to.
pub(crate) fn folder_of(path: &Path) -> &Path {
    let named = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

/// Reports masks and texts that belong to no image, which suggests a misspelt file name.
fn skip_unused(listing: &mut Listing, masks: Vec<PathBuf>, texts: Vec<PathBuf>) {
    let mut used: HashSet<PathBuf> = HashSet::new();
    for image in &listing.images {
        used.insert(image.path.clone());
        used.extend(image.mask.clone());
        used.extend(caption_files(&image.path));
    }
    let no_image =
        [(masks, "a mask that belongs to no image"), (texts, "a text that belongs to no image")];
    for (paths, reason) in no_image {
        let unused = paths.into_iter().filter(|path| !used.contains(path));
        listing.skipped.extend(unused.map(|path| Skipped { path, reason: reason.into() }));
    }
    listing.skipped.sort_by(|a, b| a.path.cmp(&b.path));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::tree;

    fn name(path: &Path) -> String {
        path.file_name().unwrap().to_string_lossy().into_owned()
    }

    #[test]
    fn junk_is_ignored_and_strangers_are_listed() {
        let files = [
            ("a.png", ""),
            (".DS_Store", "x"),
            ("Thumbs.db", "x"),
            (".cache/huggingface/x.png", ""),
            (".ipynb_checkpoints/a.png", ""),
            ("empty.jpg", ""),
            ("page.jpg", "<html>"),
            ("phone.jpg", "\0\0\0\x18ftypheic\0\0\0\0mif1"),
            ("anim.jpeg", "GIF89a......"),
            ("BMW.md", "BM is how bitmaps begin"),
        ];
        let (_guard, root) = tree(&files);
        fs::write(root.join("empty.jpg"), "").unwrap();
        let listing = list(&root).unwrap();
        assert_eq!(listing.images.iter().map(|i| name(&i.path)).collect::<Vec<_>>(), ["a.png"]);
        assert_eq!(listing.folders, Vec::<PathBuf>::new());
        let skipped = listing.skipped.iter().map(|s| format!("{}: {}", name(&s.path), s.reason));
        let expected = [
            "BMW.md: not an image",
            "anim.jpeg: GIF images are not supported: convert it to PNG or JPEG",
            "empty.jpg: empty file",
            "page.jpg: named .jpg, but holds no image",
            "phone.jpg: HEIC/AVIF images are not supported: convert it to PNG or JPEG",
        ];
        assert_eq!(skipped.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn captions_and_masks_find_their_image() {
        let files = [
            ("a.png", ""),
            ("a.txt", "\u{feff} a red vase \r\nsecond line"),
            ("a.caption", "not this one"),
            ("b.png", ""),
            ("b.caption", "a blue vase"),
            ("c.png", ""),
            ("c.txt", "\n"),
            ("masks/z.png", ""),
            ("Masks/a.png", ""),
            ("b_mask.png", ""),
            ("c.mask.png", ""),
            ("d_mask.png", ""),
            ("e.txt", "no image"),
        ];
        let (_guard, root) = tree(&files);
        let listing = list(&root).unwrap();
        let found = listing.images.iter().map(|image| {
            let mask = image.mask.as_deref().map(|path| path.strip_prefix(&root).unwrap());
            (image.caption.as_deref().unwrap_or("-"), mask.unwrap().to_str().unwrap())
        });
        let expected =
            [("a red vase", "Masks/a.png"), ("a blue vase", "b_mask.png"), ("-", "c.mask.png")];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        let skipped: Vec<_> = listing.skipped.iter().map(|s| name(&s.path)).collect();
        assert_eq!(skipped, ["d_mask.png", "e.txt", "z.png"]);

        fs::write(root.join("a.txt"), b"caf\xe9").unwrap();
        assert!(list(&root).unwrap_err().to_string().contains("save it as UTF-8"));
    }
}
