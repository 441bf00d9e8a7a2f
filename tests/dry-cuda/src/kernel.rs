//! Kernels as CUDA C++.

use cubecl_cpp::shared::CompilationOptions;
use cubecl_ir::DeviceProperties;
use cubecl_runtime::compiler::CubeTask;
use cubecl_runtime::id::KernelId;
use cubecl_runtime::server::ExecutionMode;
use cubecl_runtime::validation::{validate_cube_dim, validate_units};

use crate::architecture::Compiler;

/// A kernel that was launched.
#[derive(Debug, Clone)]
pub struct LoweredKernel {
    /// The Rust path of its definition.
    pub name: &'static str,
    /// The function in the source.
    pub entry: String,
    /// What NVRTC gets.
    pub source: String,
    /// Units of a cube.
    pub cube: [u32; 3],
    /// Bytes of shared memory.
    pub shared_memory: usize,
}

impl LoweredKernel {
    /// Whether this project defines it.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("seqlora")
    }

    /// Whether it computes on tensor cores.
    pub fn uses_tensor_cores(&self) -> bool {
        ["wmma::", "mma.sync", "wgmma"].iter().any(|name| self.source.contains(name))
    }

    /// What `cubecl-cuda` does up to NVRTC (`compute/context.rs`, `compile_kernel`).
    pub(crate) fn lower(
        kernel: &dyn CubeTask<Compiler>,
        id: &KernelId,
        mode: ExecutionMode,
        properties: &DeviceProperties,
        options: &CompilationOptions,
    ) -> Result<Self, String> {
        validate_cube_dim(properties, id).map_err(|error| error.to_string())?;
        validate_units(properties, id).map_err(|error| error.to_string())?;
        let compiled = kernel
            .compile(&mut Compiler::default(), options, mode, kernel.address_type())
            .map_err(|error| format!("{error:?}"))?;
        let shared_memory = compiled.repr.as_ref().map_or(0, |repr| repr.shared_memory_size());
        let most = properties.hardware.max_shared_memory_size;
        if shared_memory > most {
            return Err(format!("{shared_memory} bytes of shared memory; the device has {most}"));
        }
        let cube = compiled.cube_dim;
        Ok(Self {
            name: kernel.name(),
            entry: compiled.entrypoint_name,
            source: compiled.source,
            cube: [cube.x, cube.y, cube.z],
            shared_memory,
        })
    }
}
