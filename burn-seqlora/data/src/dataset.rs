//! The images of one concept, decoded when they are asked for.

use std::path::Path;

use image::RgbImage;
use image::imageops::{self, FilterType};
use rand_chacha::ChaCha8Rng;
use seqlora_core::data::{Example, Examples, Transform};

use super::canvas::Canvas;
use super::error::DataError;
use super::image::{decode_rgb, read};
use super::mask::{Mask, decode_mask};
use super::source::{ConceptSource, ImageSource};
use super::transform::apply;

/// The images of one concept. None is held in memory: an image is decoded for each example that is made of
/// it, and the trainer keeps what it computes from an example.
#[derive(Debug, Clone, Copy)]
pub struct Dataset<'a> {
    source: &'a ConceptSource,
    canvas: Canvas,
}

/// A decoded image with its mask.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) image: RgbImage,
    pub(crate) mask: Option<Mask>,
}

impl<'a> Dataset<'a> {
    /// The images of `source`, to be fitted into `canvas`.
    pub fn new(source: &'a ConceptSource, canvas: Canvas) -> Self {
        Self { source, canvas }
    }
}

impl Examples for Dataset<'_> {
    fn len(&self) -> usize {
        self.source.images.len()
    }

    fn example(
        &self,
        image: usize,
        transform: &Transform,
        rng: &mut ChaCha8Rng,
    ) -> seqlora_core::Result<Example> {
        let item = Item::load(&self.source.images[image])?;
        let Item { image, mask } = item.at_most(2 * self.canvas.size() as u32);
        Ok(apply(transform, &image, mask.as_ref(), self.canvas, rng))
    }
}

impl Item {
    /// Decodes an image and its mask.
    ///
    /// # Errors
    /// If one of them cannot be used.
    pub(crate) fn load(source: &ImageSource) -> Result<Self, DataError> {
        Self::load_and_show(source, |_| {})
    }

    /// [`load`](Self::load) that shows the bytes which are decoded: those of the image, then those of its mask.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub(crate) fn load_and_show(
        source: &ImageSource,
        mut show: impl FnMut(&[u8]),
    ) -> Result<Self, DataError> {
        let mut shown = |path: &Path| read(path).inspect(|bytes| show(bytes));
        let image = decode_rgb(&source.path, shown(&source.path)?)?;
        let mask = match &source.mask {
            Some(path) => Some(decode_mask(path, shown(path)?, image.dimensions())?),
            None => None,
        };
        Ok(Self { image, mask })
    }

    /// An image whose short edge is longer than `limit` is scaled down to that: no transform shows more
    /// detail than twice the canvas.
    fn at_most(self, limit: u32) -> Self {
        let Self { image, mask } = self;
        let (width, height) = image.dimensions();
        let short = width.min(height);
        if short <= limit {
            return Self { image, mask };
        }
        let scaled =
            |edge: u32| (u64::from(edge) * u64::from(limit)).div_ceil(u64::from(short)) as u32;
        let (width, height) = (scaled(width), scaled(height));
        Self {
            image: imageops::resize(&image, width, height, FilterType::CatmullRom),
            mask: mask.map(|mask| imageops::resize(&mask, width, height, FilterType::Triangle)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiscoverOptions, Manifest};
    use image::{GrayImage, Luma, Rgb};
    use rand::SeedableRng;

    /// An image of 90 x 60 pixels with a mask.
    fn vase(root: &Path) -> (RgbImage, ConceptSource) {
        std::fs::create_dir_all(root.join("masks")).unwrap();
        let image = RgbImage::from_fn(90, 60, |x, y| Rgb([x as u8, y as u8, 7]));
        image.save(root.join("0.png")).unwrap();
        let mask = GrayImage::from_fn(90, 60, |x, _| Luma([if x < 45 { 255 } else { 0 }]));
        mask.save(root.join("masks/0.png")).unwrap();
        let manifest = Manifest::discover(root, &DiscoverOptions::default()).unwrap();
        (image, manifest.concepts[0].clone())
    }

    #[test]
    fn large_images_shrink_and_examples_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (_, source) = vase(&folder.path().join("vase"));
        let data = Dataset::new(&source, Canvas::new(16, 8).unwrap());
        assert_eq!(data.len(), 1);
        let item = Item::load(&source.images[0]).unwrap().at_most(32);
        assert_eq!(item.image.dimensions(), (48, 32));
        assert_eq!(item.mask.unwrap().dimensions(), (48, 32));
        let draw = |seed| {
            data.example(0, &Transform::default(), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    /// What a digest is made of is what is decoded: no file is read twice.
    #[test]
    fn files_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let (image, source) = vase(&folder.path().join("vase"));
        let source = &source.images[0];
        let mut files = [&source.path, source.mask.as_ref().unwrap()].into_iter();
        let item = Item::load_and_show(source, |bytes| {
            let file = files.next().unwrap();
            assert_eq!(bytes, std::fs::read(file).unwrap());
            std::fs::remove_file(file).unwrap();
        });
        let item = item.unwrap();
        assert!(files.next().is_none() && item.mask.is_some());
        assert_eq!(item.image, image);
    }
}
