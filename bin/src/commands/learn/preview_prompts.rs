//! The prompts of previews: read from the command line, and tried before training begins.

use burn_seqlora::bank::Bank;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::Denoiser;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{TextSettings, truncated_tokens};
use burn_seqlora::text::{PromptSyntax, Vocabulary};
use burn_seqlora::train::LearnPlan;

use crate::args::Previews;
use crate::commands::generate::check_bare;
use crate::failure::Failure;
use crate::prompt_file;
use crate::terminal::Terminal;

/// How prompts are read, as `generate` does unless it is told otherwise.
pub const TEXT: TextSettings = TextSettings { syntax: PromptSyntax::Weighted, clip_skip: 1 };

/// The prompts that are to be drawn.
///
/// # Errors
/// If their file cannot be read, a prompt holds options as other tools have them, or there is none and another option
/// says how to draw them.
pub fn prompts(args: &Previews) -> Result<Vec<String>, Failure> {
    let mut prompts = args.preview.clone();
    if let Some(file) = &args.preview_file {
        prompts.extend(prompt_file::read("--preview-file", file)?);
    }
    if prompts.is_empty() {
        check_nothing_else(args)?;
    }
    prompts.iter().try_for_each(|prompt| prompt_file::check(prompt))?;
    Ok(prompts)
}

/// Without a prompt nothing is drawn, whatever else is said of previews.
fn check_nothing_else(args: &Previews) -> Result<(), Failure> {
    let example = "--preview \"a photo of a {}\"";
    let text = match (&args.preview_out, &args.preview_every, &args.keep) {
        (Some(_), ..) => format!("--preview-out: there is no prompt to draw; add {example}"),
        (None, Some(_), None) => {
            format!(
                "--preview-every: there is nothing to draw or keep; add {example}, or --keep FOLDER"
            )
        }
        _ => return Ok(()),
    };
    Err(Failure::Usage(text))
}

/// A prompt with a concept in the place of `{}`.
pub fn named(prompt: &str, id: &str) -> String {
    prompt.replace("{}", &format!("<{id}>"))
}

/// Tries the prompts as each planned concept will draw them: together with the concepts of the bank and those that are
/// learnt before it. Warns of ends that do not fit.
///
/// # Errors
/// If one names another concept, holds another program's tag, or has no room for the concept's words; or if a record of
/// the bank cannot be read.
pub fn check<B: TrainBackend>(
    model: &StableDiffusion<B>,
    bank: &Bank,
    plan: &LearnPlan,
    prompts: &[String],
    terminal: &Terminal,
) -> Result<(), Failure> {
    if prompts.is_empty() {
        return Ok(());
    }
    let layers = Denoiser::<B>::cross_attention_layers(model);
    let mut vocabulary = Vocabulary::default();
    for id in bank.concepts() {
        let record = bank.record(id)?;
        vocabulary.push(id, record.words, record.embeddings_per_word);
    }
    for concept in &plan.concepts {
        let (id, tokens) = (concept.data.id(), concept.config.tokens);
        if !bank.contains(id) {
            vocabulary.push(id, tokens.words(), tokens.embeddings_per_word(layers));
        }
        for prompt in prompts {
            if prompt.contains("{:") || prompt.contains("<{}>") {
                return Err(Failure::Usage(format!(
                    "the preview `{prompt}`: {{}} alone stands for the concept, with its brackets and at full strength"
                )));
            }
            let cannot = |error| {
                Failure::Usage(format!("the preview `{prompt}` of <{id}> cannot be drawn: {error}"))
            };
            check_bare(prompt, [(id, concept.data.class_word())])?;
            let count = truncated_tokens::<B>(model, &vocabulary, &named(prompt, id), &TEXT);
            let count = count.map_err(cannot)?;
            if count > 0 {
                terminal.warning(format!(
                    "the preview `{prompt}` of <{id}> is too long: its last {count} tokens are left out"
                ));
            }
        }
    }
    Ok(())
}
