//! Training prompts as tokens. All that training may draw are tried before it begins.

use seqlora_kernels::KernelBackend;

use crate::data::ConceptData;
use crate::error::{Error, Result};
use crate::model::DiffusionModel;
use crate::settings::TrainConfig;
use crate::text::{Piece, Tokens, Vocabulary};

/// The words of one concept in training.
pub fn concept_vocabulary(id: &str, config: &TrainConfig, layers: usize) -> Vocabulary {
    let mut vocabulary = Vocabulary::default();
    vocabulary.push(id, config.tokens.words(), config.tokens.embeddings_per_word(layers));
    vocabulary
}

/// Tokens of a prompt that holds `{}` in the concept's place.
///
/// # Errors
/// If the concept's words do not fit, or other concepts are named.
pub fn tokens<B: KernelBackend>(
    model: &impl DiffusionModel<B>,
    vocabulary: &Vocabulary,
    (source, config): (&dyn ConceptData, &TrainConfig),
    prompt: &str,
) -> Result<Tokens> {
    let named = prompt.replace("{}", &format!("<{}>", source.id()));
    let tokens = model.tokenize(&vocabulary.split(&named)?)?;
    match tokens.words.len() == config.tokens.words() {
        true => Ok(tokens),
        false => Err(Error::Prompt(format!("`{prompt}` must name the concept once"))),
    }
}

/// Tokens of a prompt with the class word in the concept's place.
///
/// # Errors
/// If the tokenizer cannot take it.
pub fn class_tokens<B: KernelBackend>(
    model: &impl DiffusionModel<B>,
    source: &dyn ConceptData,
    prompt: &str,
) -> Result<Tokens> {
    model.tokenize(&[Piece::Text(prompt.replace("{}", source.class_word()))])
}

/// Tries all prompts of a concept, and returns those whose ends do not fit.
///
/// # Errors
/// If one cannot be used; names it.
pub fn check<B: KernelBackend>(
    model: &impl DiffusionModel<B>,
    source: &dyn ConceptData,
    config: &TrainConfig,
) -> Result<Vec<String>> {
    let vocabulary = concept_vocabulary(source.id(), config, model.cross_attention_layers());
    let mut cut = Vec::new();
    for prompt in source.prompts(&config.captions) {
        let tokens = tokens(model, &vocabulary, (source, config), &prompt).map_err(|error| {
            let reason = match error {
                Error::Prompt(reason) => reason,
                other => other.to_string(),
            };
            Error::Prompt(format!(
                "`{}`: the caption or template `{prompt}`: {reason}",
                source.id()
            ))
        })?;
        if tokens.truncated > 0 {
            cut.push(prompt);
        }
    }
    Ok(cut)
}
