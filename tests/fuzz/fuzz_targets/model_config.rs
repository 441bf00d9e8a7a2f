//! `model_config` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("model_config");
