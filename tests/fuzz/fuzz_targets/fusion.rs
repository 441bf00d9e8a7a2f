//! `fusion` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("fusion");
