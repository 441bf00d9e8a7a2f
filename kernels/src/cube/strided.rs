//! Tensors as kernels get them: their numbers, and sizes and strides that travel with the launch.
//!
//! What CubeCL knows of a `Tensor` lies in a buffer of its own, which on CUDA is allocated and copied at each launch
//! (`cubecl-cuda` 0.10, `compute/server.rs`).

use burn::tensor::TensorMetadata;
use burn_cubecl::CubeRuntime;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::prelude::*;

/// A tensor of any layout.
#[derive(CubeType, CubeLaunch)]
pub struct Strided<E: CubePrimitive> {
    /// The numbers as they lie in memory.
    pub values: Array<E>,
    sizes: Sequence<usize>,
    strides: Sequence<usize>,
}

#[cube]
impl<E: CubePrimitive> Strided<E> {
    /// The size of a dimension.
    pub fn shape(&self, #[comptime] dimension: usize) -> usize {
        *self.sizes.index(dimension)
    }

    /// How far apart neighbours along a dimension lie.
    pub fn stride(&self, #[comptime] dimension: usize) -> usize {
        *self.strides.index(dimension)
    }
}

/// A kernel's argument.
pub fn strided<R: CubeRuntime, E: CubePrimitive>(t: &CubeTensor<R>) -> StridedLaunch<E, R> {
    let (shape, strides) = (t.shape(), t.meta.strides());
    let steps = shape.iter().zip(strides.iter());
    // A view may skip numbers.
    let reach = 1 + steps.map(|(size, stride)| size.saturating_sub(1) * stride).sum::<usize>();
    let (client, device) = (t.client.clone(), t.device.clone());
    let flat =
        CubeTensor::new_contiguous(client, device, [reach].into(), t.handle.clone(), t.dtype);
    let sizes = shape.iter().copied().collect();
    StridedLaunch::new(flat.into_array_arg(), sizes, strides.iter().copied().collect())
}

/// A kernel's argument whose numbers lie in the order of their indices.
pub fn contiguous<R: CubeRuntime, E: CubePrimitive>(t: &CubeTensor<R>) -> StridedLaunch<E, R> {
    strided(&into_contiguous(t.clone()))
}
