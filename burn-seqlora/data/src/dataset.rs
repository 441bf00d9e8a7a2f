//! The decoded images of one concept.

use image::RgbImage;
use image::imageops::{self, FilterType};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use seqlora_core::data::{Example, Examples, Transform};

use super::canvas::Canvas;
use super::error::DataError;
use super::image::load_rgb;
use super::mask::{Mask, load_mask};
use super::source::{ConceptSource, ImageSource};
use super::transform::apply;

/// The decoded images of one concept. There are few of them (3 to 15 in the benchmarks), so all are
/// decoded at the start: bad files are reported at once, and no training step waits for the disk.
#[derive(Debug, Clone)]
pub struct Dataset {
    items: Vec<Item>,
    canvas: Canvas,
}

#[derive(Debug, Clone)]
struct Item {
    image: RgbImage,
    mask: Option<Mask>,
}

impl Dataset {
    /// Decodes the images and masks of `source` in parallel and keeps the manifest's order.
    ///
    /// An image whose short edge is longer than twice the canvas is scaled down to twice the canvas.
    /// No transform shows more detail, and a 50 megapixel photo would take 150 MB.
    ///
    /// # Errors
    /// [`DataError::Images`], which lists every image and mask that cannot be used.
    pub fn load(source: &ConceptSource, canvas: Canvas) -> Result<Self, DataError> {
        let results: Vec<_> =
            source.images.par_iter().map(|image| Item::load(image, canvas)).collect();
        let (mut items, mut errors) = (Vec::new(), Vec::new());
        for result in results {
            match result {
                Ok(item) => items.push(item),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            return Ok(Self { items, canvas });
        }
        Err(DataError::Images { concept: source.id.clone(), errors })
    }
}

impl Examples for Dataset {
    fn len(&self) -> usize {
        self.items.len()
    }

    fn example(
        &self,
        image: usize,
        transform: &Transform,
        rng: &mut ChaCha8Rng,
    ) -> seqlora_core::Result<Example> {
        let Item { image, mask } = &self.items[image];
        Ok(apply(transform, image, mask.as_ref(), self.canvas, rng))
    }
}

impl Item {
    fn load(source: &ImageSource, canvas: Canvas) -> Result<Self, DataError> {
        let image = load_rgb(&source.path)?;
        let mask = source.mask.as_ref().map(|path| load_mask(path, image.dimensions()));
        let mask = mask.transpose()?;
        let limit = 2 * canvas.size() as u32;
        let (width, height) = image.dimensions();
        let short = width.min(height);
        if short <= limit {
            return Ok(Self { image, mask });
        }
        let scaled =
            |edge: u32| (u64::from(edge) * u64::from(limit)).div_ceil(u64::from(short)) as u32;
        let (width, height) = (scaled(width), scaled(height));
        Ok(Self {
            image: imageops::resize(&image, width, height, FilterType::CatmullRom),
            mask: mask.map(|mask| imageops::resize(&mask, width, height, FilterType::Triangle)),
        })
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
        let canvas = Canvas::new(16, 8).unwrap();
        let data = Dataset::load(&manifest.concepts[0], canvas).unwrap();
        assert_eq!(data.len(), 1);
        assert_eq!(data.items[0].image.dimensions(), (48, 32));
        assert_eq!(data.items[0].mask.as_ref().unwrap().dimensions(), (48, 32));
        let draw = |seed| {
            data.example(0, &Transform::default(), &mut ChaCha8Rng::seed_from_u64(seed)).unwrap()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn every_bad_image_is_named_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("vase");
        std::fs::create_dir(&root).unwrap();
        let image = RgbImage::from_fn(64, 64, |x, y| Rgb([(x * y) as u8, y as u8, 7]));
        for name in ["0.png", "1.png", "2.png"] {
            image.save(root.join(name)).unwrap();
        }
        for name in ["0.png", "2.png"] {
            let bytes = std::fs::read(root.join(name)).unwrap();
            std::fs::write(root.join(name), &bytes[..bytes.len() / 2]).unwrap();
        }
        let manifest = Manifest::discover(&root, &DiscoverOptions::default()).unwrap();
        let error = Dataset::load(&manifest.concepts[0], Canvas::new(16, 8).unwrap()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("2 images of concept `vase`"), "{message}");
        assert!(
            message.contains("0.png") && message.contains("2.png") && !message.contains("1.png")
        );
    }
}
