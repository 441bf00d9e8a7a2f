//! The settings of an image as text in its PNG file, in the form that A1111's web interface and its kin
//! read.

use std::path::Path;

use burn_seqlora::bank::BaseModel;
use burn_seqlora::compose::Member;
use burn_seqlora::data::Parameters;
use burn_seqlora::diffusion::Prediction;
use burn_seqlora::models::weights::Variant;
use burn_seqlora::pipeline::SamplingSettings;
use burn_seqlora::precision::Precision;

use super::orders::Order;
use crate::args::{Generate, Lora, Model, Region};

/// What all images of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct RunParameters<'a> {
    pub args: &'a Generate,
    pub settings: &'a SamplingSettings,
    pub precision: Precision,
    /// Width and height in pixels.
    pub size: [usize; 2],
    pub base: &'a BaseModel,
    pub members: &'a [Member],
}

impl RunParameters<'_> {
    /// The text of one image.
    pub fn text(&self, order: &Order) -> String {
        let Self { args, settings, size: [width, height], base, members, .. } = self;
        let mut fields: Vec<(&str, String)> =
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
            ("Seed", order.seed.to_string()),
            ("Number", order.number.to_string()),
            ("Size", format!("{width}x{height}")),
            ("Model", base.name.clone()),
            ("Model hash", base.fingerprint.clone()),
            ("Precision", self.precision.to_string()),
        ]);
        fields.extend(self.model());
        fields.push(("Prompt syntax", settings.text.syntax.to_string()));
        if let Some(bank) = &args.bank {
            let scales = members.iter().map(|Member { id, scale }| format!("{id}={scale}"));
            fields.push(("Bank", bank.to_string_lossy().into()));
            fields.push(("Concepts", scales.collect::<Vec<_>>().join(", ")));
        }
        if let Some(file) = &args.fused {
            fields.push(("Fused", file.to_string_lossy().into()));
        }
        let lora = |lora: &Lora| ("LoRA", format!("{}={}", lora.file.display(), lora.scale));
        fields.extend(args.lora.iter().map(lora));
        fields.extend(args.region.iter().map(|region| ("Region", region_text(region))));
        fields.extend(args.region_base.map(|share| ("Region base", share.to_string())));
        if let (Some(file), Some(init)) = (&args.init, &settings.init) {
            fields.push(("Denoising strength", init.strength.to_string()));
            fields.push(("Init image", file.to_string_lossy().into()));
        }
        if let Some(file) = &args.latents {
            fields.push(("Latents", file.to_string_lossy().into()));
        }
        fields.push(("Version", concat!("seqlora ", env!("CARGO_PKG_VERSION")).into()));
        let fields = fields.into_iter().map(|(name, value)| (name.to_string(), value));
        Parameters {
            prompt: order.prompt.clone(),
            negative: args.negative.clone(),
            fields: fields.collect(),
        }
        .to_string()
    }
}

impl RunParameters<'_> {
    /// How the model was given, as far as its name does not say it.
    fn model(&self) -> impl Iterator<Item = (&'static str, String)> {
        let Model { model, tokenizer, prediction, variant, vae, revision } = &self.args.model;
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

/// As --prediction takes it.
fn prediction_name(prediction: Prediction) -> String {
    let name = if prediction == Prediction::VPrediction { "v" } else { "epsilon" };
    name.to_string()
}

fn region_text(Region { corners: [x0, y0, x1, y1], prompt }: &Region) -> String {
    format!("{x0},{y0},{x1},{y1}:{prompt}")
}
