//! What holds for every operation and every derivative, tested in f64 on the CPU.

mod derivatives;
mod operations;
mod support;
mod vectors;
