//! The command line end to end: the real program on a tiny model and on images drawn here.
//!
//! Everything happens in temporary folders. `tests/fixtures/tiny-sd1` has random weights, so the
//! images mean nothing; what counts is what is written, what is refused, and how it is said.

mod audit;
mod bad_input;
mod bank;
mod bank_versions;
mod before_loading;
mod builtin;
#[cfg(unix)]
mod crash;
mod damaged_bank;
mod demo;
mod documentation;
mod evaluate;
mod export;
mod files;
#[cfg(target_os = "linux")]
mod full_disk;
#[cfg(unix)]
mod further;
mod fuse;
mod generate;
mod golden;
mod groups;
mod harness;
#[cfg(unix)]
mod hostile_bank;
#[cfg(unix)]
mod hostile_checkpoint;
mod hostile_data;
mod hostile_model;
mod hub;
mod hub_server;
mod image_to_image;
mod images;
mod import;
#[cfg(unix)]
mod keep_going;
#[cfg(unix)]
mod killed;
mod learn;
mod lora;
mod memory;
mod merged;
mod model_files;
mod options;
mod parallel;
mod plain_words;
mod pretrain;
mod previews;
mod progress;
mod prompts;
mod regions;
mod repeat;
#[cfg(unix)]
mod resume;
mod run;
#[cfg(unix)]
mod signals;
mod single_file;
mod stranger;
mod usage;
mod weights;
#[cfg(feature = "wgpu")]
mod wgpu;
