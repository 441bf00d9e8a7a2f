//! Scores from a table that was made elsewhere.
//!
//! The table is a CSV file with a header. The column `image` holds the path of an image, from the
//! table's folder on, or its [`image_id`](fn@crate::image_id); the column `value`, or another one, holds
//! the score. Fields may be quoted, and a quote inside a quoted field is doubled.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use image::RgbImage;
use seqlora_eval::{Context, Direction, Metric, MetricError, Needs};
use seqlora_files::{FileError, printable, read_bytes, read_text};

use crate::image_id;

/// The largest image of a table that is read, as a file.
const IMAGE_LIMIT: u64 = 64 << 20;

/// The scores of a table, as a metric.
#[derive(Debug)]
pub struct ImportedScores {
    name: String,
    better: Direction,
    table: PathBuf,
    /// By the image's id.
    scores: HashMap<String, f64>,
}

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A line of the table cannot be used.
    #[error("{}, line {line}: {reason}", path.display())]
    Line {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

impl ImportedScores {
    /// Reads the scores of the metric `name` from the columns `image` and `column`.
    ///
    /// # Errors
    /// If the table or an image cannot be read, a score is no finite number, or two lines give one image
    /// different scores.
    pub fn read(
        name: impl Into<String>,
        better: Direction,
        table: &Path,
        column: &str,
    ) -> Result<Self, ImportError> {
        let text = read_text(table)?;
        let folder = table.parent().unwrap_or(Path::new(""));
        let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let wrong = |line: usize, reason: String| ImportError::Line {
            path: table.into(),
            line: line + 1,
            reason,
        };
        let header = lines.next().map(|(_, line)| fields(line)).unwrap_or_default();
        let find = |name: &str| {
            let place = header.iter().position(|field| field == name);
            place.ok_or_else(|| wrong(0, format!("there is no column `{name}`")))
        };
        let (image, value) = (find("image")?, find(column)?);
        let mut scores = HashMap::new();
        for (line, text) in lines.filter(|(_, line)| !line.trim().is_empty()) {
            let fields = fields(text);
            let (Some(image), Some(value)) = (fields.get(image), fields.get(value)) else {
                return Err(wrong(line, format!("it has {} fields", fields.len())));
            };
            let score = value.trim().parse::<f64>().ok().filter(|score| score.is_finite());
            let score = score.ok_or_else(|| {
                wrong(line, format!("`{}` is no finite number", printable(value)))
            })?;
            let id = identify(image.trim(), folder).map_err(|reason| wrong(line, reason))?;
            if scores.insert(id, score).is_some_and(|other| other != score) {
                let reason = format!("`{}` has another score above", printable(image));
                return Err(wrong(line, reason));
            }
        }
        Ok(Self { name: name.into(), better, table: table.into(), scores })
    }
}

/// The id of the image that a field names.
fn identify(field: &str, folder: &Path) -> Result<String, String> {
    if field.len() == 64 && field.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(field.to_lowercase());
    }
    let bytes = read_bytes(&folder.join(field), IMAGE_LIMIT).map_err(|error| error.to_string())?;
    let mut reader = image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| error.to_string())?;
    reader.limits(image::Limits::default());
    let image = reader.decode().map_err(|error| format!("`{}`: {error}", printable(field)))?;
    Ok(image_id(&image.to_rgb8()))
}

/// The fields of a line.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                field.push('"');
                characters.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    fields
}

impl Metric for ImportedScores {
    fn name(&self) -> &str {
        &self.name
    }

    fn unit(&self) -> &str {
        "score"
    }

    fn better(&self) -> Direction {
        self.better
    }

    fn description(&self) -> String {
        format!("scores imported from {}", self.table.display())
    }

    fn preprocessing(&self) -> String {
        "that of the program which wrote the table".into()
    }

    fn needs(&self) -> Needs {
        Needs::default()
    }

    fn score(&self, images: &[RgbImage], _: &Context<'_>) -> Result<Vec<f64>, MetricError> {
        let score = |(number, image): (usize, &RgbImage)| {
            let id = image_id(image);
            self.scores.get(&id).copied().ok_or_else(|| {
                let table = self.table.display();
                MetricError::Other(format!("{table} has no score for image {number}, {id}").into())
            })
        };
        images.iter().enumerate().map(score).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(shade: u8) -> RgbImage {
        RgbImage::from_pixel(3, 2, image::Rgb([shade; 3]))
    }

    fn read(table: &str) -> Result<ImportedScores, String> {
        let folder = tempfile::tempdir().unwrap();
        image(7).save(folder.path().join("a, b.png")).unwrap();
        let path = folder.path().join("scores.csv");
        std::fs::write(&path, table).unwrap();
        let read = ImportedScores::read("hpsv3", Direction::Higher, &path, "value");
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn images_are_found_by_path_and_by_id() {
        let id = image_id(&image(9));
        let table =
            format!("note,image,value\nx,\"a, b.png\",8.25\n,{},-1e-3\n\n", id.to_uppercase());
        let scores = read(&table).unwrap();
        let found = scores.score(&[image(9), image(7)], &Context::default()).unwrap();
        assert_eq!(found, [-1e-3, 8.25]);
        let error = scores.score(&[image(7), image(1)], &Context::default()).unwrap_err();
        assert!(error.to_string().contains("no score for image 1"), "{error}");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let id = image_id(&image(9));
        for (table, expected) in [
            ("image,score\n".to_string(), "no column `value`"),
            (String::new(), "no column `image`"),
            (format!("image,value\n{id},nan"), "line 2: `nan` is no finite number"),
            (format!("image,value\n{id}"), "line 2: it has 1 fields"),
            ("image,value\nb.png,1".into(), "line 2"),
            (format!("image,value\n{id},1\n{id},2"), "line 3"),
        ] {
            let error = read(&table).map(|_| ()).unwrap_err();
            assert!(error.contains(expected), "{table}: {error}");
        }
    }
}
