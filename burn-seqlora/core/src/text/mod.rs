//! Prompts in which concepts stand as placeholders, and the token embeddings that concepts own.
//!
//! A concept is written `<id>` in a prompt and stands for one or two words of its own. Each word
//! owns either one token embedding or, as in ED-LoRA (Mix-of-Show, P+), one for each cross-attention
//! layer; a prompt is then encoded once per layer. The model's own table is never touched: the concepts'
//! embeddings are a small table of their own.

mod batch;
mod chunks;
mod syntax;
mod vocabulary;
mod weights;

pub use batch::TextBatch;
pub use chunks::{Chunk, Tokenizing, chunks};
pub use syntax::PromptSyntax;
pub use vocabulary::{
    ForeignTag, Piece, TokenScheme, Tokens, Vocabulary, foreign_tag, next_placeholder,
};
pub use weights::{Part, parse_weights, without_weights};
