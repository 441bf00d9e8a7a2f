//! The settings of an image as text in its PNG file, in the form that A1111's web interface and its kin
//! read.

use burn_seqlora::bank::BaseModel;
use burn_seqlora::compose::Member;
use burn_seqlora::pipeline::SamplingSettings;
use burn_seqlora::precision::Precision;

use super::orders::Order;
use crate::args::{Generate, Lora, Region};

/// What all images of a run have in common.
#[derive(Debug, Clone, Copy)]
pub struct Parameters<'a> {
    pub args: &'a Generate,
    pub settings: &'a SamplingSettings,
    pub precision: Precision,
    /// Width and height in pixels.
    pub size: [usize; 2],
    pub base: &'a BaseModel,
    pub members: &'a [Member],
}

impl Parameters<'_> {
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
        if let (Some(file), Some(init)) = (&args.init, &settings.init) {
            fields.push(("Denoising strength", init.strength.to_string()));
            fields.push(("Init image", file.to_string_lossy().into()));
        }
        if let Some(file) = &args.latents {
            fields.push(("Latents", file.to_string_lossy().into()));
        }
        fields.push(("Version", concat!("seqlora ", env!("CARGO_PKG_VERSION")).into()));
        let fields = fields.iter().map(|(name, value)| format!("{name}: {}", quoted(value)));
        let fields = fields.collect::<Vec<_>>().join(", ");
        format!("{}\nNegative prompt: {}\n{fields}", order.prompt, args.negative)
    }
}

fn region_text(Region { corners: [x0, y0, x1, y1], prompt }: &Region) -> String {
    format!("{x0},{y0},{x1},{y1}:{prompt}")
}

/// A value as A1111 writes it: in quotes if its end would not be clear.
fn quoted(value: &str) -> String {
    match value.contains([',', ':', '\n', '"']) {
        true => serde_json::Value::from(value).to_string(),
        false => value.to_string(),
    }
}
