//! `score_table` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("score_table");
