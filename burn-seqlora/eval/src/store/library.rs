//! Scoring a set: its images are read, compared and forgotten again.

use image::{GenericImage, RgbImage, imageops};

use super::{RunFolder, StoreError};
use crate::protocol::{ImageSource, ScoreSet, Section};
use crate::{Context, Metric, MetricError, evaluate};

/// The score of an image, or the reason why it has none.
pub type Scored = Result<f64, String>;

/// Where the images of scores come from.
#[derive(Debug, Clone, Copy)]
pub struct Library<'a> {
    /// The generated ones.
    pub run: &'a RunFolder,
    /// The references of each concept.
    pub references: &'a [Vec<RgbImage>],
}

impl Library<'_> {
    /// An image, or the reason why there is none.
    fn image(&self, source: &ImageSource) -> Result<Result<RgbImage, String>, StoreError> {
        match source {
            ImageSource::Generated(key) => self.run.image(key),
            ImageSource::Cropped(key, corners) => {
                Ok(self.run.image(key)?.and_then(|image| squared(&image, *corners)))
            }
            ImageSource::Reference { concept, number, shift } => {
                let image = &self.references[*concept][*number];
                Ok(Ok(shift.map_or_else(|| image.clone(), |shift| shift.apply(image))))
            }
        }
    }
}

/// A box of an image in the middle of a black square, or why there is none.
fn squared(image: &RgbImage, [x0, y0, x1, y1]: [usize; 4]) -> Result<RgbImage, String> {
    let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|corner| corner as u32);
    let (x1, y1) = (x1.min(image.width()), y1.min(image.height()));
    if x0 >= x1 || y0 >= y1 {
        let (width, height) = image.dimensions();
        return Err(format!(
            "the image has {width} x {height} pixels, and its box begins at {x0}, {y0}"
        ));
    }
    let (width, height) = (x1 - x0, y1 - y0);
    let part = imageops::crop_imm(image, x0, y0, width, height).to_image();
    let side = width.max(height);
    let mut square = RgbImage::new(side, side);
    let corner = ((side - width) / 2, (side - height) / 2);
    square.copy_from(&part, corner.0, corner.1).expect("it fits into the square");
    Ok(square)
}

/// Scores a set by a metric: one result for each image, in order. An image that could not be made has the
/// reason instead of a score. If a section fails with an error that `concerns_one_image`, its images are scored
/// one by one.
///
/// # Errors
/// The outer one if an image cannot be read, the inner one if the metric fails.
pub fn score(
    metric: &dyn Metric,
    set: &ScoreSet,
    library: &Library,
    concerns_one_image: &dyn Fn(&MetricError) -> bool,
) -> Result<Result<Vec<Scored>, MetricError>, StoreError> {
    let mut scores = Vec::new();
    for section in &set.sections {
        match score_section(metric, section, library, concerns_one_image)? {
            Ok(scored) => scores.extend(scored),
            Err(error) => return Ok(Err(error)),
        }
    }
    Ok(Ok(scores))
}

fn score_section(
    metric: &dyn Metric,
    section: &Section,
    library: &Library,
    concerns_one_image: &dyn Fn(&MetricError) -> bool,
) -> Result<Result<Vec<Scored>, MetricError>, StoreError> {
    let needs = metric.needs();
    if needs.prompts && section.prompts.len() != section.images.len() {
        return Ok(Ok(vec![Err("its prompt is not known".into()); section.images.len()]));
    }
    let read = |sources: &[ImageSource]| {
        sources.iter().map(|source| library.image(source)).collect::<Result<Vec<_>, _>>()
    };
    let references = if needs.references { read(&section.references)? } else { Vec::new() };
    let references: Result<Vec<RgbImage>, String> = references.into_iter().collect();
    let references = match references {
        Ok(references) => references,
        Err(reason) => return Ok(Ok(vec![Err(reason); section.images.len()])),
    };
    let others: Vec<&[RgbImage]> = match section.among.filter(|_| needs.others) {
        Some(own) => {
            let numbered = library.references.iter().enumerate();
            numbered.filter(|(number, _)| *number != own).map(|(_, other)| &other[..]).collect()
        }
        None => Vec::new(),
    };
    let (mut images, mut prompts, mut places) = (Vec::new(), Vec::new(), Vec::new());
    let mut scores: Vec<Scored> = Vec::new();
    for (number, found) in read(&section.images)?.into_iter().enumerate() {
        match found {
            Ok(image) => {
                images.push(image);
                prompts.extend(section.prompts.get(number).cloned());
                places.push(number);
                scores.push(Err(String::new()));
            }
            Err(reason) => scores.push(Err(reason)),
        }
    }
    if images.is_empty() {
        return Ok(Ok(scores));
    }
    let context = Context { prompts: &prompts, references: &references, others: &others };
    let scored: Vec<Scored> = match evaluate(metric, &images, &context) {
        Ok(values) => values.into_iter().map(Ok).collect(),
        Err(error) if concerns_one_image(&error) => {
            let mut scored = Vec::new();
            for (number, image) in images.iter().enumerate() {
                let prompts = prompts.get(number).map_or(&[][..], std::slice::from_ref);
                let context = Context { prompts, ..context };
                match evaluate(metric, std::slice::from_ref(image), &context) {
                    Ok(values) => scored.push(Ok(values[0])),
                    Err(error) if concerns_one_image(&error) => scored.push(Err(error.to_string())),
                    Err(error) => return Ok(Err(error)),
                }
            }
            scored
        }
        Err(error) => return Ok(Err(error)),
    };
    places.into_iter().zip(scored).for_each(|(place, scored)| scores[place] = scored);
    Ok(Ok(scores))
}

#[cfg(test)]
mod tests {
    use super::super::folder::tests::record;
    use super::*;
    use crate::protocol::{ScoreKind, Shift};
    use crate::{Direction, Needs};

    /// The red of an image's first pixel, and an error for one that is black.
    #[derive(Debug)]
    struct Red;

    impl Metric for Red {
        fn name(&self) -> &str {
            "a red/thing"
        }
        fn unit(&self) -> &str {
            "bytes"
        }
        fn better(&self) -> Direction {
            Direction::Higher
        }
        fn description(&self) -> String {
            "red".into()
        }
        fn preprocessing(&self) -> String {
            "none".into()
        }
        fn needs(&self) -> Needs {
            Needs { references: true, ..Needs::default() }
        }
        fn score(&self, images: &[RgbImage], _: &Context<'_>) -> Result<Vec<f64>, MetricError> {
            let red = |image: &RgbImage| match image.get_pixel(0, 0).0[0] {
                0 => Err(MetricError::Other("too dark".into())),
                red => Ok(f64::from(red)),
            };
            images.iter().map(red).collect()
        }
    }

    fn key(number: usize) -> String {
        format!("{number:02x}").repeat(32)
    }

    fn set(images: usize) -> ScoreSet {
        let section = Section {
            images: (0..images).map(|number| ImageSource::Generated(key(number))).collect(),
            prompts: Vec::new(),
            references: vec![ImageSource::Reference {
                concept: 0,
                number: 0,
                shift: Some(Shift::Crop),
            }],
            among: None,
        };
        ScoreSet {
            kind: ScoreKind::End,
            method: Some(0),
            subject: 0,
            sections: vec![section],
            group: None,
        }
    }

    #[test]
    fn scores_are_stored_and_what_failed_has_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(&folder.path().join("run"), &record()).unwrap();
        let protocol = record().protocol;
        for (number, red) in [200, 0, 7].into_iter().enumerate() {
            let mut png = std::io::Cursor::new(Vec::new());
            let image = RgbImage::from_pixel(2, 2, image::Rgb([red, 0, 0]));
            image.write_to(&mut png, image::ImageFormat::Png).unwrap();
            run.add_image(&key(number), &png.into_inner()).unwrap();
        }
        run.add_failure(&key(3), "not finite").unwrap();
        let references = vec![vec![RgbImage::new(4, 4); 2]; 3];
        let library = Library { run: &run, references: &references };
        let failed = score(&Red, &set(4), &library, &|_| false).unwrap();
        assert_eq!(failed.unwrap_err().to_string(), "too dark");
        let scores = score(&Red, &set(4), &library, &|_| true).unwrap().unwrap();
        let expected = [Ok(200.0), Err("too dark".into()), Ok(7.0), Err("not finite".into())];
        assert_eq!(scores, expected);

        assert_eq!(run.scores(&Red, &set(4), &protocol).unwrap(), None);
        run.add_scores(&Red, &set(4), &protocol, &scores).unwrap();
        assert_eq!(run.scores(&Red, &set(4), &protocol).unwrap(), Some(scores));
        assert_eq!(run.scores(&Red, &set(3), &protocol).unwrap(), None, "another set");
        let name = super::super::metric_folder(&Red);
        assert!(name.starts_with("a-red-thing-") && name.len() == 12 + 8, "{name}");
    }

    #[test]
    fn damaged_scores_are_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::open(&folder.path().join("run"), &record()).unwrap();
        let protocol = record().protocol;
        run.add_scores(&Red, &set(2), &protocol, &[Ok(1.0), Ok(2.0)]).unwrap();
        let key = super::super::score_key(&set(2), Red.needs(), &protocol);
        let name = super::super::metric_folder(&Red);
        let file = run.path().join("scores").join(name).join(format!("{key}.jsonl"));
        let good = std::fs::read_to_string(&file).unwrap();
        for (bad, expected) in [
            (good.replace("2.0", "NaN"), "line 2"),
            (good.replace("2.0", "1e999"), "line 2"),
            (good.replace("\"score\":2.0", "\"score\":2.0,\"missing\":\"x\""), "line 2"),
            (good.lines().next().unwrap().to_string(), "fewer lines"),
            (format!("{good}{good}"), "line 3: more lines"),
            (good.lines().rev().map(|line| format!("{line}\n")).collect(), "another image"),
        ] {
            std::fs::write(&file, &bad).unwrap();
            let error = run.scores(&Red, &set(2), &protocol).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains(&key), "{bad}: {error}");
        }
    }

    #[test]
    fn a_box_is_in_the_middle_of_a_square() {
        let image = RgbImage::from_fn(8, 6, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let square = squared(&image, [4, 0, 8, 6]).unwrap();
        assert_eq!(square.dimensions(), (6, 6));
        assert_eq!(square.get_pixel(1, 2).0, [4, 2, 9]);
        assert_eq!(square.get_pixel(0, 2).0, [0, 0, 0]);
        let error = squared(&image, [8, 0, 16, 6]).unwrap_err();
        assert!(error.contains("8 x 6 pixels"), "{error}");
    }
}
