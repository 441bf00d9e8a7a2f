//! `concept_list` for libFuzzer.
#![no_main]

seqlora_fuzz::fuzz!("concept_list");
