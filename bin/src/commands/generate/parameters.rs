//! The settings of a generated image as text in its PNG file.

use burn_seqlora::bank::BaseModel;
use burn_seqlora::compose::Member;
use burn_seqlora::pipeline::SamplingSettings;
use burn_seqlora::precision::Precision;

use super::inputs::Input;
use super::orders::Order;
use crate::args::{Generate, Lora, Region};
use crate::parameters::{ImageParameters, bank_fields, text};

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
    pub inputs: &'a [Input],
}

impl RunParameters<'_> {
    /// The text of one image.
    pub fn text(&self, order: &Order) -> String {
        let Self { args, settings, precision, size, base, members, inputs } = *self;
        let image = ImageParameters { model: &args.model, base, settings, precision, size };
        let mut fields = image.fields(order.seed, order.number);
        if let Some(bank) = &args.bank {
            let concepts = members.iter().map(|Member { id, scale }| (id.as_str(), *scale));
            fields.extend(bank_fields(bank, concepts));
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
        fields.extend(inputs.iter().map(Input::field));
        text(&order.prompt, &args.negative, fields)
    }
}

fn region_text(Region { corners: [x0, y0, x1, y1], prompt }: &Region) -> String {
    format!("{x0},{y0},{x1},{y1}:{prompt}")
}
