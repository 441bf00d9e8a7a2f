//! The runtime, its devices, and Burn's backend on it.

use std::mem;
use std::sync::MutexGuard;

use burn_backend::DeviceOps;
use burn_cubecl::CubeBackend;
use cubecl_common::device::{Device, DeviceId};
use cubecl_cpp::cuda::mma::contiguous_elements_cuda;
use cubecl_ir::{ContiguousElements, MatrixLayout, MmaProperties, TargetProperties};
use cubecl_runtime::client::ComputeClient;
use cubecl_runtime::runtime::Runtime;
use cubecl_zspace::striding::has_pitched_row_major_strides;
use cubecl_zspace::{Shape, Strides};

use crate::architecture::{Architecture, Compiler, MOST_CUBES};
use crate::counters::Counters;
use crate::kernel::LoweredKernel;
use crate::server::{DryServer, Log};

/// Burn on a device that is not there: what `burn_cuda::Cuda` is on one that is.
pub type Dry = CubeBackend<DryCuda, f32, i32, u8>;

/// The runtime.
#[derive(Debug, Clone)]
pub struct DryCuda;

/// What becomes of kernels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DryDevice {
    /// They run on this CPU, lowered as for an H100.
    #[default]
    Emulated,
    /// They are lowered and counted.
    Counting(Architecture),
    /// They run on this CPU without their first barrier, which has to be noticed.
    WithoutBarrier,
}

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

    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Counting(architecture) => architecture,
            Self::Emulated | Self::WithoutBarrier => Architecture::Hopper,
        }
    }
}

fn log(client: &ComputeClient<DryCuda>) -> MutexGuard<'_, Log> {
    client.info().lock().expect("the server does not panic while it writes")
}

impl Device for DryDevice {
    fn from_id(id: DeviceId) -> Self {
        match id.index_id {
            0 => Self::Emulated,
            1 => Self::Counting(Architecture::Ampere),
            2 => Self::Counting(Architecture::Hopper),
            _ => Self::WithoutBarrier,
        }
    }

    fn to_id(&self) -> DeviceId {
        let index_id = match self {
            Self::Emulated => 0,
            Self::Counting(Architecture::Ampere) => 1,
            Self::Counting(Architecture::Hopper) => 2,
            Self::WithoutBarrier => 3,
        };
        DeviceId { type_id: 0, index_id }
    }
}

impl DeviceOps for DryDevice {}

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

    fn enumerate_devices(
        _: u16,
        _: &<DryServer as cubecl_runtime::server::ComputeServer>::Info,
    ) -> Vec<DeviceId> {
        vec![DryDevice::default().to_id()]
    }
}
