//! CUDA where there is no GPU.
//!
//! [`DryCuda`] is a CubeCL runtime that lowers every kernel to the CUDA C++ that `cubecl-cuda` would hand to
//! NVRTC, for a device with the properties of an A100 or an H100. What it does then depends on the
//! [`DryDevice`]:
//!
//! - [`DryDevice::Counting`] computes nothing. It records launches, allocations, copies and reads
//!   ([`Counters`]), so that the cost of a whole training step is known before a GPU has seen it, and its
//!   sources can be compiled by [`Nvrtc`], which needs no driver.
//! - [`DryDevice::Emulated`], the default, compiles the sources for this CPU and runs them: units are
//!   coroutines, tensor cores round as they do (f32 products to TF32), and memory that nobody wrote holds
//!   NaNs. Each launch is run twice, with its units in opposite orders, and has to give the same bytes.
//!
//! Burn's backend on it is [`Dry`]. Not covered: operations between the units of a warp other than
//! matrix products, tensor maps, and what the driver itself does.

#![allow(unsafe_code, reason = "a compute server works on memory by address")]

mod architecture;
mod counters;
mod device;
mod emulator;
mod kernel;
mod memory;
mod nvrtc;
mod runtime;
mod server;

pub use architecture::Architecture;
pub use counters::Counters;
pub use device::DryDevice;
pub use kernel::LoweredKernel;
pub use nvrtc::{Compiled, Nvrtc};
pub use runtime::{Dry, DryCuda};
