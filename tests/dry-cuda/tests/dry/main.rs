//! CUDA without a GPU: whole runs of the library counted and their kernels compiled for real devices, and
//! the laws on emulated ones.

mod compiled;
mod counted;
mod emulated;
mod runs;
