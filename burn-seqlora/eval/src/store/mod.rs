//! The folder of a run: images and scores by what identifies them.
//!
//! ```text
//! RUN/evaluation.json             the protocol, the methods, the base model
//! RUN/images/<ab>/<key>.png       an image; <key>.failed has the reason if there is none
//! RUN/scores/<metric>/<key>.jsonl the scores of one set, a line for each image
//! ```
//!
//! A key is a digest of all that an image or a set of scores depends on, and a file is written once, under
//! another name until it is complete. So a run that was killed goes on with what is there, several processes
//! may work in one folder, and folders are merged by copying their files together.
//!
//! A folder may come from a stranger: only regular files are read, within limits, under names of these forms,
//! and nothing is written through links.

mod folder;
mod images;
mod library;
mod merge;
mod record;
mod scores;

pub use folder::{RunFolder, StoreError};
pub use images::ImageState;
pub use library::{Library, Scored, score};
pub use merge::Merged;
pub use record::RunRecord;
pub use scores::{metric_folder, score_key};
