//! The pass over all files of a concept that precedes training.

use rayon::prelude::*;
use seqlora_core::data::{Examination, MaskCoverage};
use seqlora_core::{Error, Flow, Result};
use sha2::{Digest, Sha256};

use super::dataset::Item;
use super::error::DataError;
use super::mask::Mask;
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
    let (mut errors, mut covered, mut largest_image, mut done) = (Vec::new(), Vec::new(), 0, 0);
    for images in source.images.chunks(CHUNK) {
        let found: Vec<_> = images.par_iter().map(examine_image).collect();
        for result in found {
            match result {
                Ok(Examined { digests, pixels, mask }) => {
                    digests.iter().for_each(|digest| hash.update(digest));
                    largest_image = largest_image.max(pixels);
                    covered.extend(mask);
                }
                Err(error) => errors.push(error),
            }
        }
        done += images.len();
        if progress(done) == Flow::Stop {
            return Err(Error::Stopped);
        }
    }
    if let Some(class) = &source.class_images {
        // The bar counts the concept's own images.
        let of_class = examine(class, &mut |_| progress(done))?;
        hash.update(of_class.digest.as_bytes());
        largest_image = largest_image.max(of_class.largest_image);
    }
    if !errors.is_empty() {
        return Err(DataError::Images { concept: source.id.clone(), errors }.into());
    }
    let digest = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(Examination { digest, largest_image, mask_coverage: MaskCoverage::of(&covered) })
}

struct Examined {
    /// Of the image, its mask and its caption.
    digests: Vec<[u8; 32]>,
    pixels: usize,
    /// The share of the image that its mask covers.
    mask: Option<f64>,
}

fn examine_image(image: &ImageSource) -> Result<Examined, DataError> {
    let caption = image.caption.as_deref().unwrap_or_default();
    let mut digests: Vec<[u8; 32]> = Vec::new();
    let decoded = Item::load_and_show(image, |bytes| digests.push(Sha256::digest(bytes).into()));
    digests.push(Sha256::digest(caption).into());
    let Item { image, mask } = decoded?;
    let pixels = image.width() as usize * image.height() as usize;
    let covered = |mask: Mask| mask.pixels().map(|p| f64::from(p.0[0])).sum::<f64>();
    Ok(Examined { digests, pixels, mask: mask.map(|mask| covered(mask) / pixels as f64) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConceptData, DiscoverOptions, Manifest};
    use image::{Rgb, RgbImage};
    use std::fs;
    use std::path::Path;

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
    fn masks_say_how_much_they_cover() {
        let folder = tempfile::tempdir().unwrap();
        let mut source = vases(&folder.path().join("vase"));
        // A quarter and three quarters of two images; the others have no mask.
        for (number, columns) in [16, 48].into_iter().enumerate() {
            let path = folder.path().join(format!("mask{number}.png"));
            let white = |x, _| image::Luma([if x < columns { 255 } else { 0 }]);
            image::GrayImage::from_fn(64, 48, white).save(&path).unwrap();
            source.images[number].mask = Some(path);
        }
        let examined = source.examine(&mut |_| Flow::Continue).unwrap();
        let covered = MaskCoverage { least: 0.25, mean: 0.5, most: 0.75 };
        assert_eq!(examined.mask_coverage, Some(covered));
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
        assert_eq!(examined.mask_coverage, None);
        RgbImage::new(1, 1).save(root.join("39.png")).unwrap();
        let changed = source.examine(&mut |_| Flow::Continue).unwrap();
        assert_ne!(changed.digest, examined.digest);
        let stopped = source.examine(&mut |_| Flow::Stop).unwrap_err();
        assert!(matches!(stopped, Error::Stopped), "{stopped}");
    }
}
