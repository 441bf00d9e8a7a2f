//! `evaluation_settings` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("evaluation_settings");
