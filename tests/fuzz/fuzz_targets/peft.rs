//! `peft` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("peft");
