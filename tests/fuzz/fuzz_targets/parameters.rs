//! `parameters` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("parameters");
