//! The devices.

use burn_backend::DeviceOps;
use cubecl_common::device::{Device, DeviceId};

use crate::architecture::Architecture;

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
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Counting(architecture) => architecture,
            Self::Emulated | Self::WithoutBarrier => Architecture::Hopper,
        }
    }
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
