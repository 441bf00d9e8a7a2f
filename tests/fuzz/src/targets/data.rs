//! Training data: manifests, captions, images.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use seqlora_core::Flow;
use seqlora_core::bank::is_concept_id;
use seqlora_core::data::{CaptionOptions, ConceptData, Transform};
use seqlora_data::{ConceptSource, DiscoverOptions, Manifest, load_mask, load_rgb};

use crate::input::File;
use crate::target::{Target, holds};

/// A TOML manifest.
pub const MANIFEST: Target = Target {
    name: "manifest",
    files: || photos(&[("run.toml", TOML)], &["dog/1.png", "dog/masks/1.png", "2.png"]),
    read: |folder| read(&folder.join("run.toml")),
};

/// CustomConcept101's list.
pub const CONCEPT_LIST: Target = Target {
    name: "concept_list",
    files: || photos(&[("dataset.json", LIST)], &["benchmark/barn/1.png", "cat/1.png"]),
    read: |folder| read(&folder.join("dataset.json")),
};

/// imagefolder's `metadata.jsonl`.
pub const METADATA: Target = Target {
    name: "metadata",
    files: || {
        photos(&[("dog/metadata.jsonl", METADATA_LINES)], &["dog/1.png", "dog/sub/2.png", "3.png"])
    },
    read: |folder| read_within(&folder.join("dog")),
};

/// `prompts_and_classes.txt` of the DreamBooth data set.
pub const DREAMBOOTH: Target = Target {
    name: "dreambooth",
    files: || {
        photos(&[("prompts_and_classes.txt", DREAMBOOTH_INDEX)], &["dog6/1.png", "vase/1.png"])
    },
    read: read_within,
};

/// Captions beside their images.
pub const CAPTION: Target = Target {
    name: "caption",
    files: || {
        photos(
            &[("dog/1.txt", CAPTIONS[0]), ("dog/2.caption", CAPTIONS[1])],
            &["dog/1.png", "dog/2.png"],
        )
    },
    read: read_within,
};

/// Images and masks in every format that is read.
pub const IMAGE: Target = Target {
    name: "image",
    files: images,
    read: |folder| {
        let read = |name: &str| {
            let path = folder.join(name);
            let size = load_rgb(&path).map(|image| image.dimensions());
            if let Ok(mask) = load_mask(&path, *size.as_ref().unwrap_or(&(9, 7))) {
                let inside = mask.pixels().all(|pixel| (0.0..=1.0).contains(&pixel.0[0]));
                holds(inside, "masks are shares of their image");
            }
            size.is_ok()
        };
        IMAGES.iter().fold(true, |all, name| all & read(name))
    },
};

const TOML: &str = r#"[[concept]]
id = "rex"
class = "dog"
images = "dog"
masks = "dog/masks"
templates = ["my {}"]
steps = 300
kind = "object"

[[concept]]
id = "ann"
class = "woman"
images = ["2.png"]
"#;

const LIST: &str = r#"[
  {"instance_prompt": "photo of a <new1> barn", "class_prompt": "barn",
   "instance_data_dir": "./benchmark/barn", "prompt_filename": "prompts/barn.txt"},
  {"instance_prompt": "<new1> cat sculpture", "class_prompt": "cat",
   "class_data_dir": "x", "instance_data_dir": "y/cat"}
]
"#;

const METADATA_LINES: &str = r#"{"file_name": "1.png", "text": "a <dog> on grass, sunny"}
{"file_name": "sub/2.png", "caption": "a dog", "width": 9}
"#;

const DREAMBOOTH_INDEX: &str = "Classes
subject_name,class
dog6,dog
vase,vase

Object Prompts
prompt_list = [
'a {0} {1} in the snow'.format(unique_token, class_token),
]

Live Subject Prompts
'a {0} {1} in a hat'.format(unique_token, class_token),
";

const CAPTIONS: [&str; 2] =
    ["a {} dog on <TOK> grass, a red dog, dogs\n", "\u{feff}<dog> and a cat\r\nmore"];

fn photo() -> DynamicImage {
    RgbImage::from_fn(9, 7, |x, y| Rgb([25 * x as u8, 30 * y as u8, 200])).into()
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).expect("a small image");
    bytes.into_inner()
}

/// Text files, and a small photo under each of the other names.
fn photos(texts: &[(&str, &str)], photos: &[&str]) -> Vec<File> {
    let png = encoded(&photo(), ImageFormat::Png);
    let texts = texts.iter().map(|(name, text)| (name.to_string(), text.as_bytes().to_vec()));
    texts.chain(photos.iter().map(|name| (name.to_string(), png.clone()))).collect()
}

const IMAGES: [&str; 6] =
    ["rgb.png", "grey-alpha-16.png", "rgb.jpg", "rgb.webp", "rgb.bmp", "cmyk.jpg"];

fn images() -> Vec<File> {
    let photo = photo();
    let contents = [
        encoded(&photo, ImageFormat::Png),
        encoded(&photo.to_luma_alpha16().into(), ImageFormat::Png),
        encoded(&photo, ImageFormat::Jpeg),
        encoded(&photo, ImageFormat::WebP),
        encoded(&photo, ImageFormat::Bmp),
        include_bytes!("../../../fixtures/images/cmyk.jpg").to_vec(),
    ];
    IMAGES.map(String::from).into_iter().zip(contents).collect()
}

/// Reads a folder that a stranger has made, which must not lead out of itself.
fn read_within(folder: &Path) -> bool {
    if let Ok(manifest) = Manifest::discover(folder, &DiscoverOptions::default()) {
        let folder = folder.canonicalize().expect("it is there");
        for image in manifest.concepts.iter().flat_map(|source| &source.images) {
            let path = image.path.canonicalize().expect("it was there");
            holds(path.starts_with(&folder), "images lie in their folder");
        }
    }
    read(folder)
}

/// Finds the concepts, and does with them what training does.
fn read(path: &Path) -> bool {
    let Ok(manifest) = Manifest::discover(path, &DiscoverOptions::default()) else {
        return false;
    };
    manifest.concepts.iter().fold(true, |all, source| all & use_concept(source).is_ok())
}

fn use_concept(source: &ConceptSource) -> seqlora_core::Result<()> {
    holds(is_concept_id(&source.id), "ids are names of folders");
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    for shuffle in [false, true] {
        let options = CaptionOptions { shuffle };
        let mut drawn =
            (0..source.images.len()).map(|image| source.caption(image, &options, &mut rng));
        let has_one = |prompt: String| prompt.matches("{}").count() == 1;
        holds(drawn.all(has_one), "a prompt has one place for the concept");
        holds(source.prompts(&options).into_iter().all(has_one), "so have all its variants");
    }
    source.check()?;
    source.examine(&mut |_| Flow::Continue)?;
    source.open(16, 8)?.example(0, &Transform::default(), &mut rng).map(drop)
}
