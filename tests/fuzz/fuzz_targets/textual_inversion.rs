//! `textual_inversion` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("textual_inversion");
