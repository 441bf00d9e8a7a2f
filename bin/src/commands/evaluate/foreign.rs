//! Images from elsewhere, copied into the run so that it does not change with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::data::load_rgb;
use burn_seqlora::error::Error;
use burn_seqlora::eval::PromptText;
use burn_seqlora::eval::protocol::{ImageGroup, MethodPlan, PlannedImage, Purpose, Stage};
use burn_seqlora::eval::store::{ImageState, RunFolder};
use burn_seqlora::files::read_json;
use burn_seqlora::scorers::image_id;

use super::methods::{Method, Source};
use crate::failure::Failure;
use crate::images::encode_png;

/// Images of one concept at most.
const MOST: usize = 100_000;

/// CustomConcept101's file with the prompt of each image, by its name without the ending.
const PROMPTS: &str = "prompts.json";

/// The groups with those of all folders of images behind them.
///
/// # Errors
/// If a concept has no images there, or one cannot be read.
pub fn add(
    mut groups: Vec<ImageGroup>,
    methods: &[Method],
    run: &RunFolder,
    concepts: &[String],
) -> Result<Vec<ImageGroup>, Failure> {
    for (number, Method { plan: MethodPlan { name, .. }, source }) in methods.iter().enumerate() {
        let Source::Images(folder) = source else { continue };
        for (concept, id) in concepts.iter().enumerate() {
            let own = folder.join(id);
            let own = if concepts.len() == 1 && !own.is_dir() { folder.clone() } else { own };
            let images = read(&own, run)?;
            if images.is_empty() {
                let text = format!("--images {name}: there are no images in {}", own.display());
                return Err(Failure::Usage(text));
            }
            let purpose = Purpose::Concept(concept);
            groups.push(ImageGroup { method: Some(number), stage: Stage::All, purpose, images });
        }
    }
    Ok(groups)
}

/// The images of a folder, in the order of their names. The prompt that an image is scored with has no
/// concept's words; it is empty if it is not known.
fn read(folder: &Path, run: &RunFolder) -> Result<Vec<PlannedImage>, Failure> {
    let samples = folder.join("samples");
    let prompts = folder.join(PROMPTS);
    let prompts: BTreeMap<String, String> =
        if prompts.exists() { read_json(&prompts)? } else { BTreeMap::new() };
    let text = PromptText::default();
    let mut images = Vec::new();
    for file in files(if samples.is_dir() { &samples } else { folder })? {
        let image = load_rgb(&file)?;
        let key = image_id(&image);
        if run.state(&key)? == ImageState::Missing {
            let png = encode_png(&image, "").map_err(Error::io("cannot encode", &file))?;
            run.add_image(&key, &png)?;
        }
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        let prompt = prompts.get(stem.as_ref()).map_or("", String::as_str);
        images.push(PlannedImage {
            key,
            prompt: prompt.into(),
            text: text.of(prompt),
            regions: Vec::new(),
            seed: 0,
        });
    }
    Ok(images)
}

/// The images in a folder by the endings of their names, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(Error::io("cannot read", folder))?;
    let is_image = |path: &PathBuf| {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        ["png", "jpg", "jpeg", "webp", "bmp"].contains(&ending.as_str())
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(is_image)
        .take(MOST + 1)
        .collect();
    if files.len() > MOST {
        return Err(Failure::Usage(format!("{} holds more than {MOST} images", folder.display())));
    }
    files.sort_unstable();
    Ok(files)
}
