//! What a device was asked for.

use std::collections::BTreeMap;

/// What a device was asked for since its counters were last taken.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Launches by the number of their kernel in [`DryDevice::kernels`](crate::DryDevice::kernels).
    pub launches: BTreeMap<usize, usize>,
    /// Launches whose shapes and strides go to the device in a copy of their own, likewise.
    pub metadata_copies: BTreeMap<usize, usize>,
    /// New tensors.
    pub allocations: usize,
    /// Their bytes, a floor of what is written to memory.
    pub allocated_bytes: u64,
    /// The most bytes that were in use at once.
    pub peak_bytes: u64,
    /// Copies to the device.
    pub writes: usize,
    /// Their bytes.
    pub written_bytes: u64,
    /// Copies to the host, each of which waits for the device.
    pub reads: usize,
    /// Their bytes.
    pub read_bytes: u64,
    /// Launches that CUDA would have refused or that went wrong.
    pub errors: Vec<String>,
}

impl Counters {
    /// The launches of all kernels.
    pub fn total_launches(&self) -> usize {
        self.launches.values().sum()
    }

    /// Their copies of shapes and strides.
    pub fn total_metadata_copies(&self) -> usize {
        self.metadata_copies.values().sum()
    }
}
