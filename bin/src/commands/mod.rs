//! One file per command: check, call the library, print.

mod builtin;
pub mod demo;
pub mod devices;
pub mod export;
pub mod fuse;
pub mod generate;
pub mod import;
pub mod inspect;
mod inspect_adapter;
pub mod learn;
mod model;
pub mod pretrain;
