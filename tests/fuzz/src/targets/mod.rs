//! The targets, by the crate whose parsers they are.

mod bank;
mod checkpoint;
mod data;
mod evaluation;
mod fusion;
mod model;
mod parameters;
mod text;

use crate::target::Target;

/// Every target.
pub const TARGETS: &[Target] = &[
    bank::BANK,
    bank::CONCEPT,
    checkpoint::CHECKPOINT,
    bank::ADAPTER,
    bank::PEFT,
    bank::KOHYA,
    bank::DIFFUSERS,
    bank::MIX_OF_SHOW,
    bank::TEXTUAL_INVERSION,
    fusion::FUSION,
    data::MANIFEST,
    data::CONCEPT_LIST,
    data::METADATA,
    data::DREAMBOOTH,
    data::CAPTION,
    data::IMAGE,
    model::MODEL_CONFIG,
    model::ENCODER,
    model::SCHEDULER,
    model::SHARDS,
    model::SINGLE_FILE,
    model::TOKENIZER,
    parameters::PARAMETERS,
    text::SETTINGS,
    text::PROMPT,
    evaluation::EVALUATION_SETTINGS,
    evaluation::EVALUATION,
    evaluation::PAIRS,
    evaluation::SCORE_TABLE,
];
