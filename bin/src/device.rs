//! Which backend runs a command: chosen at run time among those that were compiled in.

use std::fmt;
use std::str::FromStr;

use burn::backend::Autodiff;
use burn_seqlora::kernels::TrainBackend;

use crate::failure::Failure;

/// A device as the user names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Burn's Flex.
    Cpu,
    /// The discrete GPU with this number through Vulkan, Metal or DirectX; `None` for the best one of
    /// any kind.
    Wgpu(Option<usize>),
    /// The NVIDIA GPU with this number.
    Cuda(usize),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, number) = match text.split_once(':') {
            Some((name, number)) => {
                let number = number.parse::<usize>();
                (
                    name,
                    Some(number.map_err(|_| format!("`{text}`: the part after `:` is no number"))?),
                )
            }
            None => (text, None),
        };
        match (name, number) {
            ("cpu", None) => Ok(Self::Cpu),
            ("wgpu", number) => Ok(Self::Wgpu(number)),
            ("cuda", number) => Ok(Self::Cuda(number.unwrap_or(0))),
            _ => Err(format!("unknown device `{text}`; use cpu, wgpu[:N] or cuda[:N]")),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "cpu"),
            Self::Wgpu(None) => write!(f, "wgpu"),
            Self::Wgpu(Some(number)) => write!(f, "wgpu:{number}"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

/// Something that runs on any backend.
pub trait Job: Send {
    /// Runs it.
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure>;
}

impl Device {
    /// Runs a job on this device.
    ///
    /// # Errors
    /// If its backend is not compiled in, or the job fails.
    pub fn run(self, job: impl Job) -> Result<(), Failure> {
        match self {
            #[cfg(feature = "cpu")]
            Self::Cpu => {
                // On a thread of the pool, which works itself where others would wait for it.
                let run =
                    |_: &_| job.run::<Autodiff<burn_seqlora::kernels::Flex>>(Default::default());
                rayon::scope(run)
            }
            #[cfg(feature = "wgpu")]
            Self::Wgpu(number) => {
                use burn_seqlora::kernels::WgpuDevice;
                let device = number.map_or_else(WgpuDevice::default, WgpuDevice::DiscreteGpu);
                self.check::<burn_seqlora::kernels::Wgpu>(&device)?;
                job.run::<Autodiff<burn_seqlora::kernels::Wgpu>>(device)
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => {
                let device = burn_seqlora::kernels::CudaDevice::new(number);
                self.check::<burn_seqlora::kernels::Cuda>(&device)?;
                job.run::<Autodiff<burn_seqlora::kernels::Cuda>>(device)
            }
            #[allow(unreachable_patterns)]
            other => {
                let feature = other.to_string();
                let feature = feature.split(':').next().unwrap_or_default();
                Err(Failure::Usage(format!(
                    "this program was built without `{feature}`; build it with --features {feature}"
                )))
            }
        }
    }

    /// Refuses a device that is not there, at whose first use the backends panic.
    #[cfg(any(feature = "wgpu", feature = "cuda"))]
    fn check<B: burn::tensor::backend::Backend>(self, device: &B::Device) -> Result<(), Failure> {
        use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

        let hook = take_hook();
        set_hook(Box::new(|_| {}));
        let found = catch_unwind(AssertUnwindSafe(|| B::sync(device)));
        set_hook(hook);
        match found {
            Ok(Ok(())) => Ok(()),
            _ => Err(Failure::Usage(format!(
                "there is no device {self}, or its driver does not work; choose another --device"
            ))),
        }
    }
}
