//! `kohya` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("kohya");
