//! Embeddings of images, and the mean direction of several.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use burn::tensor::module::adaptive_avg_pool2d;
use burn::tensor::{Tensor, TensorData, backend::Backend};
use image::RgbImage;

/// A network whose embeddings are close, by cosine, for images that show the same thing.
pub trait ImageEncoder<B: Backend>: Debug {
    /// `[images, width]` of pixels `[images, 3, height, width]` as [`pixels`](Self::pixels) makes them. The
    /// length of an embedding does not matter.
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2>;

    /// What the encoder sees of images of one size, `[images, 3, height, width]`. An encoder that was not
    /// trained on numbers in [−1, 1], or on images of that size, has its own.
    fn pixels(&self, images: &[&RgbImage], device: &B::Device) -> Tensor<B, 4> {
        to_pixels(images, device)
    }

    /// What [`pixels`](Self::pixels) does, exactly enough to repeat it elsewhere.
    fn preprocessing(&self) -> String {
        "each byte x of the RGB image becomes x / 127.5 − 1; the image keeps its size".into()
    }
}

/// A unit vector on the host: the embedding of one image.
pub type Embedding = Vec<f64>;

/// An encoder on its device. It remembers the embedding of every image, so that metrics that share an
/// embedder embed references and generated images once.
#[derive(Debug)]
pub struct Embedder<B: Backend> {
    name: String,
    encoder: Box<dyn ImageEncoder<B>>,
    device: B::Device,
    /// By a 64-bit hash of the image: two of 10⁵ images share one with a probability of 3·10⁻¹⁰.
    embeddings: RefCell<HashMap<u64, Embedding>>,
}

impl<B: Backend> Embedder<B> {
    /// An embedder without embeddings yet; `name` says in reports which encoder it is.
    pub fn new(
        name: impl Into<String>,
        encoder: impl ImageEncoder<B> + 'static,
        device: &B::Device,
    ) -> Self {
        let (encoder, device) = (Box::new(encoder), device.clone());
        Self { name: name.into(), encoder, device, embeddings: RefCell::default() }
    }

    /// The encoder's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What happens to an image before the encoder has it.
    pub fn preprocessing(&self) -> String {
        self.encoder.preprocessing()
    }

    /// The embedding of each image.
    pub fn embed(&self, images: &[RgbImage]) -> Vec<Embedding> {
        let mut embeddings = self.embeddings.borrow_mut();
        let keys: Vec<u64> = images.iter().map(key).collect();
        let mut missing = BTreeMap::<(u32, u32), Vec<(u64, &RgbImage)>>::new();
        for (key, image) in keys.iter().zip(images).filter(|(key, _)| !embeddings.contains_key(key))
        {
            missing.entry(image.dimensions()).or_default().push((*key, image));
        }
        // One batch for each size.
        for batch in missing.into_values() {
            let (keys, images): (Vec<u64>, Vec<&RgbImage>) = batch.into_iter().unzip();
            let embedded = self.encoder.embed(self.encoder.pixels(&images, &self.device));
            embeddings.extend(keys.into_iter().zip(unit_rows(embedded)));
        }
        keys.iter().map(|key| embeddings[key].clone()).collect()
    }

    /// The mean direction of images.
    ///
    /// # Panics
    /// If there are none.
    pub fn mean_direction(&self, images: &[RgbImage]) -> MeanDirection {
        MeanDirection::of(&self.embed(images))
    }
}

/// Images of one size as `[images, 3, height, width]` in [−1, 1].
///
/// # Panics
/// If their sizes differ.
pub fn to_pixels<B: Backend>(images: &[&RgbImage], device: &B::Device) -> Tensor<B, 4> {
    let (width, height) = images.first().map_or((0, 0), |image| image.dimensions());
    let bytes = images.iter().flat_map(|image| image.iter());
    let values: Vec<f32> = bytes.map(|byte| f32::from(*byte) / 127.5 - 1.0).collect();
    let shape = [images.len(), height as usize, width as usize, 3];
    Tensor::<B, 4>::from_data(TensorData::new(values, shape), device).permute([0, 3, 1, 2])
}

/// The cosine between two unit vectors.
pub(crate) fn cosine(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mean of unit vectors, with length one.
#[derive(Debug, Clone)]
pub struct MeanDirection(Embedding);

impl MeanDirection {
    /// The mean direction of embeddings.
    ///
    /// # Panics
    /// If there are none.
    pub fn of(embeddings: &[Embedding]) -> Self {
        let mut sum = vec![0.0; embeddings.first().expect("a mean needs embeddings").len()];
        for embedding in embeddings {
            sum.iter_mut().zip(embedding).for_each(|(sum, x)| *sum += x);
        }
        Self(unit(sum))
    }

    /// The cosine between an embedding and this direction.
    pub fn cosine(&self, embedding: &[f64]) -> f64 {
        cosine(&self.0, embedding)
    }
}

/// An encoder without weights: the image in 8 × 8 pixels, minus its mean value. It compares colours and
/// where they are, not what an image shows, and serves where no trained encoder is at hand.
#[derive(Debug, Clone, Copy)]
pub struct SmallImages;

impl<B: Backend> ImageEncoder<B> for SmallImages {
    fn embed(&self, pixels: Tensor<B, 4>) -> Tensor<B, 2> {
        let small = adaptive_avg_pool2d(pixels, [8, 8]).flatten::<2>(1, 3);
        let mean = small.clone().mean_dim(1);
        small - mean
    }
}

fn key(image: &RgbImage) -> u64 {
    let mut hasher = DefaultHasher::new();
    image.dimensions().hash(&mut hasher);
    image.as_raw().hash(&mut hasher);
    hasher.finish()
}

/// Each row as a unit vector on the host.
pub(crate) fn unit_rows<B: Backend>(rows: Tensor<B, 2>) -> Vec<Embedding> {
    let [_, width] = rows.dims();
    let values: Vec<f64> = rows.to_data().iter::<f64>().collect();
    values.chunks(width).map(|row| unit(row.to_vec())).collect()
}

fn unit(vector: Vec<f64>) -> Embedding {
    let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
    vector.into_iter().map(|x| x / norm.max(f64::MIN_POSITIVE)).collect()
}

#[cfg(all(test, feature = "cpu"))]
pub(crate) mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use seqlora_kernels::Flex;

    /// Embeds an image as the colour of its first pixel, and counts the batches.
    #[derive(Debug, Default)]
    struct FirstPixel(Rc<Cell<usize>>);

    impl ImageEncoder<Flex> for FirstPixel {
        fn embed(&self, pixels: Tensor<Flex, 4>) -> Tensor<Flex, 2> {
            self.0.set(self.0.get() + 1);
            pixels.narrow(2, 0, 1).narrow(3, 0, 1).flatten(1, 3)
        }
    }

    /// An embedder by the colour of the first pixel, and the number of batches that it has embedded.
    pub fn first_pixel() -> (Rc<Embedder<Flex>>, Rc<Cell<usize>>) {
        let batches = Rc::<Cell<usize>>::default();
        let encoder = FirstPixel(batches.clone());
        (Rc::new(Embedder::new("the first pixel", encoder, &Default::default())), batches)
    }

    /// An image of one colour. Byte 255 is 1 and byte 0 is −1.
    pub fn plain(colour: [u8; 3]) -> RgbImage {
        RgbImage::from_pixel(2, 2, image::Rgb(colour))
    }

    /// Vertical stripes whose phase and contrast are given.
    fn stripes(phase: u32, contrast: u8) -> RgbImage {
        RgbImage::from_fn(64, 64, |x, _| {
            let bright = (x / 16 + phase).is_multiple_of(2);
            image::Rgb([if bright { 128 + contrast } else { 127 - contrast }; 3])
        })
    }

    #[test]
    fn bytes_become_channels_between_minus_one_and_one() {
        let image = RgbImage::from_fn(2, 1, |x, _| image::Rgb([255 * x as u8, 0, 255]));
        let pixels = to_pixels::<Flex>(&[&image], &Default::default());
        assert_eq!(pixels.dims(), [1, 3, 1, 2]);
        let values: Vec<f32> = pixels.to_data().to_vec().unwrap();
        assert_eq!(values, [-1.0, 1.0, -1.0, -1.0, 1.0, 1.0]);
    }

    #[test]
    fn an_image_is_embedded_once() {
        let (embedder, batches) = first_pixel();
        let (red, green) = (plain([255, 0, 0]), plain([0, 255, 0]));
        let both = embedder.embed(&[red.clone(), green.clone()]);
        assert_eq!(embedder.embed(&[green, red]), [both[1].clone(), both[0].clone()]);
        assert_eq!(batches.get(), 1);
        let third = 1.0 / 3f64.sqrt();
        both[0]
            .iter()
            .zip([third, -third, -third])
            .for_each(|(a, b)| assert!((a - b).abs() < 1e-7));
        // The same bytes in another shape are another image.
        embedder.embed(&[RgbImage::from_raw(4, 1, plain([255, 0, 0]).into_raw()).unwrap()]);
        assert_eq!(batches.get(), 2);
    }

    #[test]
    fn small_images_ignore_contrast_and_see_phase() {
        let embedder = Embedder::<Flex>::new("small", SmallImages, &Default::default());
        let seen = embedder.embed(&[stripes(0, 110), stripes(0, 30), stripes(1, 110)]);
        let direction = MeanDirection::of(&seen[..2]);
        assert!((direction.cosine(&seen[1]) - 1.0).abs() < 1e-6);
        assert!((direction.cosine(&seen[2]) + 1.0).abs() < 1e-6);
    }
}
