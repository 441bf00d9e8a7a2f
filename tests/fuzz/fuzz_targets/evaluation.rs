//! `evaluation` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("evaluation");
