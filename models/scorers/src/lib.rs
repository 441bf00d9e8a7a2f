//! Networks that score generated images, as metrics of [`seqlora_eval`].
//!
//! ```text
//! image ─ preprocess ─► pixels ─ encoder (seqlora-models) ─► embedding ─ seqlora_eval::Pairwise ─► score
//! ```
//!
//! [`registry`] lists the metrics by name, and says where the weights of each are looked for.
//! [`preprocess`] resizes as Pillow does, bit for bit, since a bicubic filter of another library moves
//! single pixels by up to 23 of 255. [`external`] runs a scorer in a process of its own, and [`imported`]
//! reads scores from a table.

mod clip_text;
mod dreamsim;
pub mod external;
mod image_id;
pub mod imported;
pub mod preprocess;
pub mod registry;
mod vit_encoder;

pub use clip_text::ClipTextEncoder;
pub use dreamsim::DreamSim;
pub use image_id::image_id;
pub use vit_encoder::VitEncoder;
