//! The pass over all files of a concept that precedes training.

use std::io::Read;
use std::path::Path;

use rayon::prelude::*;
use seqlora_core::data::Examination;
use seqlora_core::{Error, Flow, Result};
use seqlora_files::{FileError, open_regular};
use sha2::{Digest, Sha256};

use super::dataset::Item;
use super::error::DataError;
use super::source::{ConceptSource, ImageSource};

/// Images between two reports of progress: half a second's work on one core, if they are photos.
const CHUNK: usize = 32;

/// Digests and decodes all images and masks, some in parallel, and keeps none of them.
///
/// # Errors
/// [`DataError::Images`], which lists every image and mask that cannot be used, or [`Error::Stopped`].
pub(crate) fn examine(
    source: &ConceptSource,
    progress: &mut dyn FnMut(usize) -> Flow,
) -> Result<Examination> {
    let mut hash = Sha256::new();
    let text = format!("{:?}|{}|{:?}", source.kind, source.class_word, source.templates);
    hash.update(text.as_bytes());
    let (mut errors, mut largest_image, mut done) = (Vec::new(), 0, 0);
    for images in source.images.chunks(CHUNK) {
        let found: Vec<_> = images.par_iter().map(examine_image).collect();
        for result in found {
            match result {
                Ok((digests, pixels)) => {
                    digests.iter().for_each(|digest| hash.update(digest));
                    largest_image = largest_image.max(pixels);
                }
                Err(error) => errors.push(error),
            }
        }
        done += images.len();
        if progress(done) == Flow::Stop {
            return Err(Error::Stopped);
        }
    }
    if !errors.is_empty() {
        return Err(DataError::Images { concept: source.id.clone(), errors }.into());
    }
    let digest = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(Examination { digest, largest_image })
}

/// The digests of an image, its mask and its caption, and the number of its pixels.
fn examine_image(image: &ImageSource) -> Result<(Vec<[u8; 32]>, usize), DataError> {
    let files = [Some(&image.path), image.mask.as_ref()].into_iter().flatten();
    let mut digests = files.map(|path| digest(path)).collect::<Result<Vec<_>, _>>()?;
    digests.push(Sha256::digest(image.caption.as_deref().unwrap_or_default()).into());
    let (width, height) = Item::load(image)?.image.dimensions();
    Ok((digests, width as usize * height as usize))
}

/// The SHA-256 of a file.
fn digest(path: &Path) -> Result<[u8; 32], DataError> {
    let unreadable = |error: FileError| DataError::image(path, error, "replace the file");
    let (mut file, _) = open_regular(path).map_err(unreadable)?;
    let (mut hash, mut part) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut part).map_err(DataError::io(path))? {
            0 => return Ok(hash.finalize().into()),
            length => hash.update(&part[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConceptData, DiscoverOptions, Manifest};
    use image::{Rgb, RgbImage};
    use std::fs;

    /// A folder of 40 images.
    fn vases(root: &Path) -> ConceptSource {
        fs::create_dir(root).unwrap();
        let image = RgbImage::from_fn(64, 48, |x, y| Rgb([(x * y) as u8, y as u8, 7]));
        (0..40).for_each(|n| image.save(root.join(format!("{n:02}.png"))).unwrap());
        let manifest = Manifest::discover(root, &DiscoverOptions::default()).unwrap();
        manifest.concepts[0].clone()
    }

    #[test]
    fn every_bad_image_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vase");
        let source = vases(&root);
        for name in ["00.png", "39.png"] {
            let bytes = fs::read(root.join(name)).unwrap();
            fs::write(root.join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
        let error = source.examine(&mut |_| Flow::Continue).unwrap_err().to_string();
        assert!(error.contains("2 images of concept `vase`"), "{error}");
        assert!(error.contains("00.png") && error.contains("39.png"), "{error}");
        assert!(!error.contains("01.png"), "{error}");
    }

    #[test]
    fn the_digest_covers_every_file_and_progress_may_stop() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vase");
        let source = vases(&root);
        let mut reports = Vec::new();
        let examined = source.examine(&mut |done| {
            reports.push(done);
            Flow::Continue
        });
        let examined = examined.unwrap();
        assert_eq!((reports, examined.largest_image), (vec![32, 40], 64 * 48));
        RgbImage::new(1, 1).save(root.join("39.png")).unwrap();
        let changed = source.examine(&mut |_| Flow::Continue).unwrap();
        assert_ne!(changed.digest, examined.digest);
        let stopped = source.examine(&mut |_| Flow::Stop).unwrap_err();
        assert!(matches!(stopped, Error::Stopped), "{stopped}");
    }
}
