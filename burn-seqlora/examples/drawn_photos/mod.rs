//! Photos for the examples: striped mugs before a white background.

use std::error::Error;
use std::path::Path;

use burn_seqlora::RgbImage;

/// Draws four photos each of a red and of a blue mug, into the folders `mug-1` and `mug-2` of a folder.
///
/// The name of a folder is the concept's id. Captions are in words that the built-in model knows; `{}`
/// stands for the concept's own words.
pub fn draw_mugs(folder: &Path) -> Result<(), Box<dyn Error>> {
    for (id, colour) in [("mug-1", [210, 60, 60]), ("mug-2", [60, 90, 210])] {
        let folder = folder.join(id);
        std::fs::create_dir_all(&folder)?;
        for number in 0..4 {
            let place = [8 + 6 * number, 20 - 3 * number];
            mug(place, colour).save(folder.join(format!("{number}.png")))?;
            let caption = "a photo of {} on a plain white background";
            std::fs::write(folder.join(format!("{number}.txt")), caption)?;
        }
    }
    Ok(())
}

/// One of this colour, with its left upper corner at a place.
fn mug([left, top]: [u32; 2], colour: [u8; 3]) -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| {
        // Left of it and above it, these become very large.
        let (x, y) = (x.wrapping_sub(left), y.wrapping_sub(top));
        let body = x < 22 && y < 30;
        let handle = (22..30).contains(&x) && (6..24).contains(&y);
        let hole = (22..27).contains(&x) && (9..21).contains(&y);
        match body || (handle && !hole) {
            true if y % 10 < 4 => [20; 3].into(),
            true => colour.into(),
            false => [255; 3].into(),
        }
    })
}
