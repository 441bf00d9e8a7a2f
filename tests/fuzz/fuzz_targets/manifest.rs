//! `manifest` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("manifest");
