//! How images are sampled, as the options say it.

use burn_seqlora::diffusion::LevelLayout;
use burn_seqlora::pipeline::{SamplingSettings, TextSettings};
use burn_seqlora::text::PromptSyntax;

use crate::args::Generate;
use crate::commands::builtin;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// The settings that the options ask for.
///
/// # Errors
/// If the guidance is no number, or the sampler has no Karras levels.
pub fn settings(args: &Generate) -> Result<SamplingSettings, Failure> {
    let guidance = args.guidance.unwrap_or_else(|| builtin::usual_guidance(&args.model.model));
    if !guidance.is_finite() {
        return Err(Failure::Usage(format!("--guidance {guidance} is no number")));
    }
    let layout = LevelLayout { spacing: args.spacing, karras: args.karras };
    let wrong = |error| Failure::Usage(format!("--karras: {error}"));
    layout.check(args.sampler).map_err(wrong)?;
    Ok(SamplingSettings {
        sampler: args.sampler,
        steps: args.steps,
        layout,
        text: TextSettings { syntax: syntax(args), clip_skip: args.clip_skip },
        guidance,
        size: args.size.map(|(width, height)| [width, height]),
        region_base: args.region_base.unwrap_or(0.0),
        init: None,
    })
}

fn syntax(args: &Generate) -> PromptSyntax {
    if args.plain_prompts { PromptSyntax::Plain } else { PromptSyntax::Weighted }
}

/// Warns of options that change nothing, because others make them void.
pub fn warn_of_no_effect(args: &Generate, settings: &SamplingSettings, terminal: &Terminal) {
    if !settings.is_guided() && !args.negative.is_empty() {
        terminal.warning("--guidance of 1 or less is none, so --negative has no effect");
    }
    if settings.layout.ignores_spacing(settings.sampler) {
        let sampler = settings.sampler;
        terminal.warning(format!(
            "the Karras levels of {sampler} do not depend on --spacing, as in diffusers, so it has no effect"
        ));
    }
}
