//! The settings of an image as text in its PNG file, in the form that A1111's web interface and its kin
//! read: what every command that makes images with a model tells of them.

use std::path::Path;

use burn_seqlora::bank::BaseModel;
use burn_seqlora::data::Parameters;
use burn_seqlora::diffusion::Prediction;
use burn_seqlora::models::weights::Variant;
use burn_seqlora::pipeline::SamplingSettings;
use burn_seqlora::precision::Precision;

use crate::args::Model;

/// A name and its value.
pub type Field = (&'static str, String);

/// How images are made.
#[derive(Debug, Clone, Copy)]
pub struct ImageParameters<'a> {
    /// The model as it was given.
    pub model: &'a Model,
    pub base: &'a BaseModel,
    pub settings: &'a SamplingSettings,
    pub precision: Precision,
    /// Width and height in pixels.
    pub size: [usize; 2],
}

impl ImageParameters<'_> {
    /// What is told of the image with this seed and number.
    pub fn fields(&self, seed: u64, number: usize) -> Vec<Field> {
        let Self { settings, base, precision, size: [width, height], .. } = self;
        let mut fields =
            vec![("Steps", settings.steps.to_string()), ("Sampler", settings.sampler.to_string())];
        if settings.layout.karras {
            fields.push(("Schedule type", "Karras".into()));
        }
        fields.extend(settings.layout.spacing.map(|spacing| ("Spacing", spacing.to_string())));
        if settings.text.clip_skip > 1 {
            fields.push(("Clip skip", settings.text.clip_skip.to_string()));
        }
        fields.extend([
            ("CFG scale", settings.guidance.to_string()),
            ("Seed", seed.to_string()),
            ("Number", number.to_string()),
            ("Size", format!("{width}x{height}")),
            ("Model", base.name.clone()),
            ("Model hash", base.fingerprint.clone()),
            ("Precision", precision.to_string()),
        ]);
        fields.extend(self.model());
        fields.push(("Prompt syntax", settings.text.syntax.to_string()));
        fields
    }

    /// How the model was given, as far as its name does not say it.
    fn model(&self) -> impl Iterator<Item = Field> {
        let Model { model, tokenizer, prediction, variant, vae, revision } = self.model;
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let model = (model != Path::new(&self.base.name)).then(|| ("Model path", path(model)));
        let tokenizer = tokenizer.as_deref().map(|folder| ("Tokenizer", path(folder)));
        let prediction = prediction.map(|prediction| ("Prediction", prediction_name(prediction)));
        let variant = (*variant == Some(Variant::Fp16)).then(|| ("Variant", "fp16".to_string()));
        let vae = vae.as_deref().map(|folder| ("VAE path", path(folder)));
        let revision = revision.as_ref().map(|revision| ("Revision", revision.name().to_string()));
        model
            .into_iter()
            .chain(tokenizer)
            .chain(prediction)
            .chain(variant)
            .chain(vae)
            .chain(revision)
    }
}

/// A bank, and the concepts of it that are used with their strengths.
pub fn bank_fields<'a>(
    bank: &Path,
    concepts: impl IntoIterator<Item = (&'a str, f64)>,
) -> [Field; 2] {
    let concepts = concepts.into_iter().map(|(id, scale)| format!("{id}={scale}"));
    let concepts = concepts.collect::<Vec<_>>().join(", ");
    [("Bank", bank.to_string_lossy().into()), ("Concepts", concepts)]
}

/// The text of an image, which also tells this program's version.
pub fn text(prompt: &str, negative: &str, mut fields: Vec<Field>) -> String {
    fields.push(("Version", concat!("seqlora ", env!("CARGO_PKG_VERSION")).into()));
    let fields = fields.into_iter().map(|(name, value)| (name.to_string(), value));
    // Readers drop spaces around them.
    let [prompt, negative] = [prompt, negative].map(|text| text.trim().to_string());
    Parameters { prompt, negative, fields: fields.collect() }.to_string()
}

/// As --prediction takes it.
fn prediction_name(prediction: Prediction) -> String {
    let name = if prediction == Prediction::VPrediction { "v" } else { "epsilon" };
    name.to_string()
}
