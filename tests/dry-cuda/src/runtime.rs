//! The runtime, and Burn's backend on it.

use std::mem;
use std::sync::MutexGuard;

use burn_cubecl::CubeBackend;
use cubecl_common::device::{Device, DeviceId};
use cubecl_cpp::cuda::mma::contiguous_elements_cuda;
use cubecl_ir::{ContiguousElements, MatrixLayout, MmaProperties, TargetProperties};
use cubecl_runtime::client::ComputeClient;
use cubecl_runtime::runtime::Runtime;
use cubecl_runtime::server::ComputeServer;
use cubecl_zspace::striding::has_pitched_row_major_strides;
use cubecl_zspace::{Shape, Strides};

use crate::architecture::{Compiler, MOST_CUBES};
use crate::counters::Counters;
use crate::device::DryDevice;
use crate::kernel::LoweredKernel;
use crate::server::{DryServer, Log};

/// Burn on a device that is not there: what `burn_cuda::Cuda` is on one that is.
pub type Dry = CubeBackend<DryCuda, f32, i32, u8>;

/// The runtime.
#[derive(Debug, Clone)]
pub struct DryCuda;

impl DryDevice {
    /// What was asked of the device since this was last called, after everything that was launched is done.
    pub fn take_counters(self) -> Counters {
        let client = ComputeClient::<DryCuda>::load(&self);
        client.flush().expect("a dry device can be flushed");
        mem::take(&mut log(&client).counters)
    }

    /// Every kernel that it was asked for so far.
    pub fn kernels(self) -> Vec<LoweredKernel> {
        log(&ComputeClient::load(&self)).kernels.clone()
    }
}

fn log(client: &ComputeClient<DryCuda>) -> MutexGuard<'_, Log> {
    client.info().lock().expect("the server does not panic while it writes")
}

/// As `cubecl-cuda` implements it.
impl Runtime for DryCuda {
    type Compiler = Compiler;
    type Server = DryServer;
    type Device = DryDevice;

    fn client(device: &DryDevice) -> ComputeClient<Self> {
        ComputeClient::load(device)
    }

    fn name(_: &ComputeClient<Self>) -> &'static str {
        "cuda"
    }

    fn require_array_lengths() -> bool {
        true
    }

    fn max_cube_count() -> (u32, u32, u32) {
        MOST_CUBES
    }

    fn can_read_tensor(shape: &Shape, strides: &Strides) -> bool {
        has_pitched_row_major_strides(shape, strides)
    }

    fn target_properties() -> TargetProperties {
        TargetProperties {
            mma: MmaProperties {
                register_size_bits: 32,
                const_plane_size: 32,
                register_layout_a: MatrixLayout::RowMajor,
                register_layout_b: MatrixLayout::ColMajor,
                register_layout_acc: MatrixLayout::RowMajor,
                register_duplication_a: 1,
                register_duplication_b: 1,
                register_duplication_acc: 1,
                contiguous_elements: ContiguousElements::new(contiguous_elements_cuda),
            },
        }
    }

    fn enumerate_devices(_: u16, _: &<DryServer as ComputeServer>::Info) -> Vec<DeviceId> {
        vec![DryDevice::default().to_id()]
    }
}
