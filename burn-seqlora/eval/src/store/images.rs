//! Images by their keys.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use image::{ImageFormat, ImageReader, RgbImage};
use seqlora_files::{FileError, printable, read_bytes, write_new};

use super::{RunFolder, StoreError};

/// Bytes of an image file at most.
pub(super) const IMAGE_LIMIT: u64 = 64 << 20;

/// Bytes of a reason at most.
const REASON_LIMIT: u64 = 64 << 10;

/// The longest side of an image in pixels, as of those that models make.
const LONGEST_SIDE: u32 = 16_384;

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// It is not there yet.
    Missing,
    /// It is there.
    Made,
    /// It cannot be made.
    Failed,
}

impl RunFolder {
    /// Whether an image is there.
    ///
    /// # Errors
    /// If a link is in its place.
    pub fn state(&self, key: &str) -> Result<ImageState, StoreError> {
        let there = |ending: &str| {
            Ok::<_, StoreError>(self.guarded().check(inside(key, ending))?.is_file())
        };
        Ok(match (there("png")?, there("failed")?) {
            (true, _) => ImageState::Made,
            (false, true) => ImageState::Failed,
            (false, false) => ImageState::Missing,
        })
    }

    /// Adds an image as the bytes of a PNG file, unless it is there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_image(&self, key: &str, png: &[u8]) -> Result<(), StoreError> {
        self.add(&inside(key, "png"), png)
    }

    /// Notes why an image cannot be made.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add_failure(&self, key: &str, reason: &str) -> Result<(), StoreError> {
        self.add(&inside(key, "failed"), reason.as_bytes())
    }

    /// Reads an image, or the reason why there is none.
    ///
    /// # Errors
    /// If it is neither there nor failed, or the file is damaged.
    pub fn image(&self, key: &str) -> Result<Result<RgbImage, String>, StoreError> {
        let file = self.guarded().check(inside(key, "png"))?;
        if !file.exists() {
            let failed = self.guarded().check(inside(key, "failed"))?;
            if failed.exists() {
                let bytes = read_bytes(&failed, REASON_LIMIT)?;
                return Ok(Err(printable(&String::from_utf8_lossy(&bytes)).into_owned()));
            }
        }
        Ok(Ok(decode(&file)?))
    }

    /// Where an image lies, from the run's folder on, with `/`.
    pub fn image_name(key: &str) -> String {
        format!("images/{}/{key}.png", &key[..2.min(key.len())])
    }

    /// Adds a file unless it is there.
    pub(super) fn add(&self, inside: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(parent) = inside.parent() {
            self.guarded().create_folder(parent)?;
        }
        write_new(&self.guarded().check(inside)?, bytes)?;
        Ok(())
    }
}

/// Where a key's file lies in the folder.
fn inside(key: &str, ending: &str) -> PathBuf {
    Path::new("images").join(&key[..2.min(key.len())]).join(format!("{key}.{ending}"))
}

/// Reads a PNG file of a run.
fn decode(file: &Path) -> Result<RgbImage, FileError> {
    let bytes = read_bytes(file, IMAGE_LIMIT)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), ImageFormat::Png);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(LONGEST_SIDE), Some(LONGEST_SIDE));
    reader.limits(limits);
    let image = reader.decode().map_err(FileError::damaged(file))?;
    Ok(image.into_rgb8())
}

#[cfg(test)]
mod tests {
    use super::super::folder::tests::record;
    use super::*;

    fn png(image: &RgbImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn an_image_is_missing_made_or_failed() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(&folder.path().join("run"), &record()).unwrap();
        let [made, failed, none] = ["a1", "b2", "c3"].map(|start| start.repeat(32));
        let image = RgbImage::from_pixel(3, 2, image::Rgb([9, 8, 7]));
        run.add_image(&made, &png(&image)).unwrap();
        run.add_failure(&failed, "not finite").unwrap();
        let states = [&made, &failed, &none].map(|key| run.state(key).unwrap());
        assert_eq!(states, [ImageState::Made, ImageState::Failed, ImageState::Missing]);
        assert_eq!(run.image(&made).unwrap(), Ok(image));
        assert_eq!(run.image(&failed).unwrap(), Err("not finite".into()));
        assert!(run.image(&none).unwrap_err().to_string().contains(&none));
        // What is there is never written over.
        run.add_image(&made, b"other").unwrap();
        assert!(run.image(&made).unwrap().is_ok());
    }

    #[test]
    fn damaged_and_huge_images_are_errors_that_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(&folder.path().join("run"), &record()).unwrap();
        let mut huge = png(&RgbImage::new(2, 2));
        huge[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        let cut = png(&RgbImage::new(20, 20))[..40].to_vec();
        for (number, bytes) in [huge, cut, b"no png".to_vec()].into_iter().enumerate() {
            let key = format!("{number:02}").repeat(32);
            run.add_image(&key, &bytes).unwrap();
            let error = run.image(&key).unwrap_err().to_string();
            assert!(error.contains(&key) && error.contains("damaged"), "{error}");
        }
    }
}
