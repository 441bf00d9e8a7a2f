//! Turns an image of any size into a square training example.

use image::RgbImage;
use image::imageops::{FilterType, crop_imm, resize};
use rand::{Rng, RngExt};
use seqlora_core::data::{Example, Transform};

use super::canvas::{Canvas, Rect};
use super::mask::Mask;

/// Makes one random example. `mask` must have the size of `image`.
///
/// The image is scaled once, directly to its final size, whereas Mix-of-Show scales up to three times.
/// The filter is a triangle that widens when it shrinks an image, as Pillow's `BILINEAR`. The mask is
/// transformed in the same way and then averaged over the pixels of each latent.
///
/// # Panics
/// If a field of `transform` is out of range ([`Transform::validate`]), or the sizes differ.
pub(crate) fn apply(
    transform: &Transform,
    image: &RgbImage,
    mask: Option<&Mask>,
    canvas: Canvas,
    rng: &mut impl Rng,
) -> Example {
    transform.validate().expect("transforms are validated before images are encoded");
    let (part, target) = place(transform, image.dimensions(), canvas, rng);
    let Rect { x, y, width, height } = part;
    let frame = canvas.block_means(&canvas.plane(target, |_, _| 1.0));
    let subject = mask.map(|mask| {
        assert_eq!(mask.dimensions(), image.dimensions(), "mask and image differ in size");
        let part = crop_imm(mask, x, y, width, height);
        let scaled = resize(&*part, target.width, target.height, FilterType::Triangle);
        canvas.block_means(&canvas.plane(target, |x, y| scaled.get_pixel(x, y).0[0]))
    });
    // The loss divides by the mask's sum, so a mask without the subject is replaced by the frame.
    let in_view = subject.filter(|mask| mask.iter().any(|&value| value > 0.0));
    let part = crop_imm(image, x, y, width, height);
    let scaled = resize(&*part, target.width, target.height, FilterType::Triangle);
    Example {
        pixels: canvas.paste(&scaled, target),
        mask: in_view.unwrap_or_else(|| frame.clone()),
        frame,
        size: canvas.size(),
        latent_size: canvas.latent_size(),
    }
}

/// The part of an image of `(width, height)` to use, and the rectangle of the canvas that it fills.
fn place(
    transform: &Transform,
    (width, height): (u32, u32),
    canvas: Canvas,
    rng: &mut impl Rng,
) -> (Rect, Rect) {
    let short = width.min(height);
    let square = |x, y| Rect { x, y, width: short, height: short };
    match *transform {
        Transform::CenterCrop => (square((width - short) / 2, (height - short) / 2), canvas.full()),
        Transform::RandomCrop => {
            let (x, y) =
                (rng.random_range(0..=width - short), rng.random_range(0..=height - short));
            (square(x, y), canvas.full())
        }
        Transform::ResizeFill { crop_p, scale: (least, greatest) } => {
            let part = if rng.random::<f32>() < crop_p {
                square(rng.random_range(0..=width - short), rng.random_range(0..=height - short))
            } else {
                Rect { x: 0, y: 0, width, height }
            };
            let long = part.width.max(part.height) as f32;
            let scale = rng.random_range(least..=greatest) * canvas.size() as f32 / long;
            let side =
                |edge: u32| ((edge as f32 * scale).round() as u32).clamp(1, canvas.size() as u32);
            let (width, height) = (side(part.width), side(part.height));
            let x = rng.random_range(0..=canvas.size() as u32 - width);
            let y = rng.random_range(0..=canvas.size() as u32 - height);
            (part, Rect { x, y, width, height })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{Luma, Rgb};
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    /// Red grows with x, green with y.
    fn ramp(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 200]))
    }

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn centre_crop_takes_the_middle_unchanged_when_the_size_fits() {
        let canvas = Canvas::new(32, 8).unwrap();
        let example = apply(&Transform::CenterCrop, &ramp(48, 32), None, canvas, &mut rng(0));
        let at = |c: usize, y: usize, x: usize| example.pixels[(c * 32 + y) * 32 + x];
        assert_eq!(example.pixels.len(), 3 * 32 * 32);
        assert_eq!(at(0, 5, 3), 11.0 / 127.5 - 1.0);
        assert_eq!(at(1, 5, 3), 5.0 / 127.5 - 1.0);
        assert_eq!(at(2, 31, 31), 200.0 / 127.5 - 1.0);
        assert_eq!((example.mask.len(), example.latent_size), (16, 4));
        assert!(example.mask.iter().chain(&example.frame).all(|&value| value == 1.0));
    }

    #[test]
    fn random_crop_stays_inside_and_follows_the_seed() {
        let canvas = Canvas::new(32, 8).unwrap();
        let crop =
            |seed| apply(&Transform::RandomCrop, &ramp(32, 96), None, canvas, &mut rng(seed));
        assert_eq!(crop(1), crop(1));
        let tops: std::collections::HashSet<u32> = (0..20)
            .map(|seed| ((crop(seed).pixels[32 * 32] + 1.0) * 127.5).round() as u32)
            .collect();
        assert!(tops.len() > 5 && tops.iter().all(|&top| top <= 64));
    }

    #[test]
    fn resize_fill_pastes_a_scaled_box_on_black() {
        let transform = Transform::ResizeFill { crop_p: 0.0, scale: (0.5, 0.5) };
        let canvas = Canvas::new(64, 1).unwrap();
        let white = RgbImage::from_pixel(100, 50, Rgb([255; 3]));
        let example = apply(&transform, &white, None, canvas, &mut rng(3));
        let box_area = example.frame.iter().sum::<f32>();
        assert_eq!(box_area, 32.0 * 16.0, "the long edge takes half the canvas");
        for (pixel, frame) in example.pixels[..64 * 64].iter().zip(&example.frame) {
            assert_eq!(*pixel, 2.0 * frame - 1.0);
        }
        let cropped = Transform::ResizeFill { crop_p: 1.0, scale: (0.5, 0.5) };
        let example = apply(&cropped, &white, None, canvas, &mut rng(3));
        assert_eq!(example.frame.iter().sum::<f32>(), 32.0 * 32.0);
    }

    #[test]
    fn subject_masks_move_with_the_image() {
        let image = RgbImage::from_fn(40, 20, |x, _| Rgb([if x < 20 { 255 } else { 0 }; 3]));
        let mask = Mask::from_fn(40, 20, |x, _| Luma([if x < 20 { 1.0 } else { 0.0 }]));
        let fine = Canvas::new(32, 1).unwrap();
        let coarse = Canvas::new(32, 8).unwrap();
        for seed in 0..20 {
            let example = apply(&Transform::default(), &image, Some(&mask), fine, &mut rng(seed));
            assert!(example.mask.iter().zip(&example.frame).all(|(m, f)| m <= f));
            for (pixel, mask) in example.pixels[..32 * 32].iter().zip(&example.mask) {
                assert!((pixel - (2.0 * mask - 1.0)).abs() < 0.01, "seed {seed}");
            }
            let averaged =
                apply(&Transform::default(), &image, Some(&mask), coarse, &mut rng(seed));
            let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
            assert!((mean(&averaged.mask) - mean(&example.mask)).abs() < 1e-5);
        }
        // A crop without the subject has the frame as its mask, because the loss divides by the mask's sum.
        let corner = Mask::from_fn(40, 20, |x, _| Luma([if x == 0 { 1.0 } else { 0.0 }]));
        let example = apply(&Transform::CenterCrop, &image, Some(&corner), coarse, &mut rng(0));
        assert_eq!(example.mask, example.frame);
    }

    #[test]
    fn configuration_round_trips_and_rejects_bad_values() {
        let text = r#"{"resize_fill":{"crop_p":0.25,"scale":[0.5,1.0]}}"#;
        let transform: Transform = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&transform).unwrap(), text);
        assert_eq!(
            serde_json::from_str::<Transform>("\"center_crop\"").unwrap(),
            Transform::CenterCrop
        );
        let unknown = text.replace("crop_p", "cropp");
        assert!(serde_json::from_str::<Transform>(&unknown).is_err());
        for (crop_p, scale) in
            [(1.5, (0.5, 1.0)), (0.5, (0.0, 1.0)), (0.5, (0.9, 0.5)), (0.5, (0.5, 2.0))]
        {
            assert!(Transform::ResizeFill { crop_p, scale }.validate().is_err());
        }
        assert!(Canvas::new(100, 8).is_err() && Canvas::new(0, 8).is_err());
    }
}
