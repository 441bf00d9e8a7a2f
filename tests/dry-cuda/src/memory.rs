//! Memory of a device: addresses, with bytes of the host behind them only if kernels run.

use std::collections::HashMap;
use std::slice;

use cubecl_runtime::server::{CopyDescriptor, IoError};
use cubecl_runtime::storage::{ComputeStorage, StorageHandle, StorageId, StorageUtilization};

use crate::architecture::ALIGNMENT;

/// The pages of a device.
#[derive(Debug)]
pub struct Pages {
    /// Whether there are bytes behind them.
    is_backed: bool,
    pages: HashMap<StorageId, Vec<Line>>,
}

impl Pages {
    /// None, with or without bytes behind those that will be there.
    pub(crate) fn new(is_backed: bool) -> Self {
        Self { is_backed, pages: HashMap::new() }
    }
}

/// What pages consist of, aligned as CUDA aligns them.
#[derive(Debug, Clone, Copy)]
#[repr(align(512))]
struct Line(#[allow(dead_code, reason = "used by address")] [u8; ALIGNMENT as usize]);

/// A range of a page.
#[derive(Debug, Clone)]
pub struct Range {
    /// Its page.
    pub(crate) page: StorageId,
    /// Bytes from the start of the page.
    pub(crate) offset: u64,
    /// Bytes.
    pub(crate) size: u64,
    /// On the host, or 0.
    pub(crate) address: usize,
}

impl Range {
    /// Its bytes, if there are any.
    pub(crate) fn bytes(&self) -> &'static mut [u8] {
        match self.address {
            0 => &mut [],
            // SAFETY: the server alone works on pages, one call after the other, and keeps no slice beyond
            // a call; a page lives until `dealloc`.
            address => unsafe { slice::from_raw_parts_mut(address as *mut u8, self.size as usize) },
        }
    }

    /// The rows of a tensor of which this is the memory; rows may be padded.
    ///
    /// # Panics
    /// If a row ends beyond the range.
    pub(crate) fn rows(&self, tensor: &CopyDescriptor) -> impl Iterator<Item = &'static mut [u8]> {
        let rank = tensor.shape.len();
        let width = tensor.shape.last().copied().unwrap_or(1) * tensor.elem_size;
        let count = tensor.shape.iter().rev().skip(1).product::<usize>();
        let pitch = if rank > 1 { tensor.strides[rank - 2] * tensor.elem_size } else { width };
        (0..count).map(move |row| &mut self.bytes()[row * pitch..][..width])
    }
}

impl ComputeStorage for Pages {
    type Resource = Range;

    fn alignment(&self) -> usize {
        ALIGNMENT as usize
    }

    fn get(&mut self, handle: &StorageHandle) -> Range {
        let (offset, size) = (handle.offset(), handle.size());
        let page = self.pages.get(&handle.id);
        let address = page.map_or(0, |page| page.as_ptr() as usize + offset as usize);
        Range { page: handle.id, offset, size, address }
    }

    fn alloc(&mut self, size: u64) -> Result<StorageHandle, IoError> {
        let id = StorageId::new();
        if self.is_backed {
            let lines = size.div_ceil(ALIGNMENT) as usize + 1;
            self.pages.insert(id, vec![Line([0; ALIGNMENT as usize]); lines]);
        }
        Ok(StorageHandle { id, utilization: StorageUtilization { offset: 0, size } })
    }

    fn dealloc(&mut self, id: StorageId) {
        self.pages.remove(&id);
    }

    fn flush(&mut self) {}
}
