//! `single_file` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("single_file");
