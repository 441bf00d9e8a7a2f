//! One file per command: check, call the library, print.

pub mod audit;
pub mod bank;
pub mod builtin;
pub mod demo;
pub mod devices;
pub mod evaluate;
pub mod export;
pub mod fuse;
mod fused;
pub mod generate;
pub mod import;
mod incomplete;
pub mod inspect;
mod inspect_adapter;
pub mod learn;
mod memory;
mod model;
pub mod pretrain;
pub mod reference;
mod target;
