//! The images of one concept, decoded when they are asked for.

use image::RgbImage;
use image::imageops::{self, FilterType};
use rand_chacha::ChaCha8Rng;
use seqlora_core::data::{Example, Examples, Transform};

use super::canvas::Canvas;
use super::error::DataError;
use super::image::load_rgb;
use super::mask::{Mask, load_mask};
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
        let image = load_rgb(&source.path)?;
        let mask = source.mask.as_ref().map(|path| load_mask(path, image.dimensions()));
        Ok(Self { image, mask: mask.transpose()? })
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

    #[test]
    fn large_images_shrink_and_examples_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vase");
        std::fs::create_dir_all(root.join("masks")).unwrap();
        let image = RgbImage::from_fn(90, 60, |x, y| Rgb([x as u8, y as u8, 7]));
        image.save(root.join("0.png")).unwrap();
        let mask = GrayImage::from_fn(90, 60, |x, _| Luma([if x < 45 { 255 } else { 0 }]));
        mask.save(root.join("masks/0.png")).unwrap();
        let manifest = Manifest::discover(&root, &DiscoverOptions::default()).unwrap();
        let data = Dataset::new(&manifest.concepts[0], Canvas::new(16, 8).unwrap());
        assert_eq!(data.len(), 1);
        let item = Item::load(&manifest.concepts[0].images[0]).unwrap().at_most(32);
        assert_eq!(item.image.dimensions(), (48, 32));
        assert_eq!(item.mask.unwrap().dimensions(), (48, 32));
        let draw = |seed| {
            data.example(0, &Transform::default(), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }
}
