//! The devices that kernels are lowered for.

use cubecl_common::profile::TimingMethod;
use cubecl_cpp::cuda::CudaDialect;
use cubecl_cpp::cuda::arch::CudaArchitecture;
use cubecl_cpp::cuda::mma::CudaWmmaCompiler;
use cubecl_cpp::register_supported_types;
use cubecl_cpp::shared::{
    CompilationOptions, CppCompiler, CppSupportedFeatures, DialectWmmaCompiler,
    register_mma_features, register_scaled_mma_features, register_wmma_features,
};
use cubecl_ir::features::{AtomicUsage, Plane, Tma, TypeUsage};
use cubecl_ir::{
    BarrierLevel, DeviceProperties, ElemType, FloatKind, HardwareProperties,
    MemoryDeviceProperties, OpaqueType, SemanticType, StorageType, Type, VectorSize,
};

/// The compiler of `cubecl-cuda`, up to CUDA C++.
pub(crate) type Compiler = CppCompiler<CudaDialect<CudaWmmaCompiler>>;

/// A generation of NVIDIA's GPUs, with the limits of its largest device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// A100, sm_80.
    Ampere,
    /// H100, sm_90.
    Hopper,
}

impl Architecture {
    /// What NVRTC calls it, as `cubecl-cuda` asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ampere => "sm_80",
            Self::Hopper => "sm_90a",
        }
    }

    fn version(self) -> u32 {
        match self {
            Self::Ampere => 80,
            Self::Hopper => 90,
        }
    }

    /// Limits, from NVIDIA's tables of compute capabilities.
    fn hardware(self, has_tensor_cores: bool) -> HardwareProperties {
        let [shared_memory, multiprocessors] = match self {
            Self::Ampere => [166_912, 108],
            Self::Hopper => [232_448, 132],
        };
        HardwareProperties {
            load_width: 128,
            plane_size_min: 32,
            plane_size_max: 32,
            max_bindings: 1024,
            max_shared_memory_size: shared_memory,
            max_cube_count: MOST_CUBES,
            max_units_per_cube: 1024,
            max_cube_dim: (1024, 1024, 64),
            num_streaming_multiprocessors: Some(multiprocessors as u32),
            num_tensor_cores: Some(4),
            min_tensor_cores_dim: has_tensor_cores.then_some(8),
            num_cpu_cores: None,
            max_vector_size: VectorSize::MAX,
        }
    }

    /// How sources are written for it.
    pub(crate) fn options(self) -> CompilationOptions {
        let is_hopper = self == Self::Hopper;
        CompilationOptions {
            warp_size: 32,
            supports_features: CppSupportedFeatures {
                fast_math: true,
                grid_constants: true,
                fast_tanh: true,
                clusters: is_hopper,
                elect_sync: is_hopper,
            },
        }
    }

    /// What `cubecl-cuda` 0.10 registers for it when it starts (`runtime.rs`, `CudaServer::init`).
    pub(crate) fn properties(self) -> DeviceProperties {
        let architecture = CudaArchitecture { version: self.version() };
        let wmma = CudaWmmaCompiler::supported_wmma_combinations(&architecture);
        let mma = CudaWmmaCompiler::supported_mma_combinations(&architecture);
        let scaled = CudaWmmaCompiler::supported_scaled_mma_combinations(&architecture);
        let memory = MemoryDeviceProperties { max_page_size: MEMORY / 4, alignment: ALIGNMENT };
        let hardware = self.hardware(!wmma.is_empty());
        let mut properties =
            DeviceProperties::new(Default::default(), memory, hardware, TimingMethod::System);
        register_supported_types(&mut properties);
        register_types(&mut properties);
        register_features(&mut properties);
        if self == Self::Hopper {
            register_hopper(&mut properties);
        }
        register_wmma_features(wmma, &mut properties);
        register_mma_features(mma, &mut properties);
        register_scaled_mma_features(scaled, &mut properties);
        properties
    }
}

/// The largest grid.
pub(crate) const MOST_CUBES: (u32, u32, u32) = (i32::MAX as u32, u16::MAX as u32, u16::MAX as u32);

/// Bytes that the rows of tensors are aligned to (`cuMallocPitch`).
pub(crate) const ALIGNMENT: u64 = 512;

/// Of an A100 or H100: 80 GiB.
const MEMORY: u64 = 80 << 30;

fn atomic(kind: FloatKind) -> Type {
    Type::new(StorageType::Atomic(ElemType::Float(kind)))
}

fn register_types(properties: &mut DeviceProperties) {
    let add = AtomicUsage::Add | AtomicUsage::LoadStore;
    properties.register_type_usage(ElemType::Float(FloatKind::TF32), TypeUsage::Conversion);
    properties.register_atomic_type_usage(atomic(FloatKind::F64), add);
    properties.register_atomic_type_usage(atomic(FloatKind::F16), add);
    properties.register_atomic_type_usage(atomic(FloatKind::F16).with_vector_size(2), add);
    properties.register_semantic_type(SemanticType::Pipeline);
    for level in [BarrierLevel::Unit, BarrierLevel::Cube] {
        properties.register_type_usage(OpaqueType::Barrier(level), TypeUsage::Buffer);
    }
}

fn register_features(properties: &mut DeviceProperties) {
    for plane in [Plane::Sync, Plane::Ops, Plane::NonUniformControlFlow] {
        properties.features.plane.insert(plane);
    }
    for kind in [FloatKind::F16, FloatKind::BF16] {
        properties.features.matmul.ldmatrix.insert(ElemType::Float(kind).into());
    }
    properties.features.copy_async = true;
    properties.features.memory_reinterpret = true;
    properties.features.alignment = true;
}

fn register_hopper(properties: &mut DeviceProperties) {
    let usage = TypeUsage::Conversion | TypeUsage::Buffer;
    for kind in [FloatKind::E4M3, FloatKind::E5M2] {
        properties.register_type_usage(ElemType::Float(kind), usage);
    }
    properties.features.tma.insert(Tma::Base);
    properties.register_semantic_type(SemanticType::TensorMap);
    properties.features.cube_cluster = true;
    for kind in [FloatKind::F16, FloatKind::BF16] {
        properties.features.matmul.stmatrix.insert(ElemType::Float(kind).into());
    }
    let add = AtomicUsage::LoadStore | AtomicUsage::Add;
    for size in [2, 4] {
        properties.register_atomic_type_usage(atomic(FloatKind::F32).with_vector_size(size), add);
    }
}
