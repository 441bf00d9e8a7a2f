//! What a kernel is launched with.

use crate::kernel::LoweredKernel;
use crate::memory::Range;

/// What a kernel is launched with.
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'a LoweredKernel,
    /// In each direction.
    pub(crate) cubes: [u32; 3],
    /// The tensors.
    pub(crate) buffers: Vec<Range>,
    /// Scalars, lengths, and then, from the word `dynamic` on, shapes and strides.
    pub(crate) sizes: &'a [u64],
    pub(crate) dynamic: usize,
}
