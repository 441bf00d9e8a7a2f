//! `mix_of_show` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("mix_of_show");
