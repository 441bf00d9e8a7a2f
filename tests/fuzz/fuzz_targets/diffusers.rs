//! `diffusers` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("diffusers");
