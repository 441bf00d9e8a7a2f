//! The server: memory as CUDA's has it, and launches that are lowered, counted and, if asked for, run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use cubecl_common::backtrace::BackTrace;
use cubecl_common::bytes::Bytes;
use cubecl_common::device::{Device, DeviceId, DeviceService, ServerUtilitiesHandle};
use cubecl_common::future::DynFut;
use cubecl_common::profile::ProfileDuration;
use cubecl_common::stream_id::StreamId;
use cubecl_cpp::shared::CompilationOptions;
use cubecl_runtime::allocator::PitchedMemoryLayoutPolicy;
use cubecl_runtime::compiler::CubeTask;
use cubecl_runtime::id::KernelId;
use cubecl_runtime::logging::ServerLogger;
use cubecl_runtime::memory_management::{
    ManagedMemoryHandle, MemoryAllocationMode, MemoryConfiguration, MemoryManagement,
    MemoryManagementOptions, MemoryUsage,
};
use cubecl_runtime::server::{
    Binding, ComputeServer, CopyDescriptor, CubeCount, ExecutionMode, KernelArguments,
    ProfileError, ProfilingToken, ServerCommunication, ServerError, ServerUtilities,
};
use cubecl_runtime::storage::{ManagedResource, StorageId};
use cubecl_runtime::timestamp_profiler::TimestampProfiler;

use crate::architecture::{ALIGNMENT, Compiler, MOST_CUBES};
use crate::counters::Counters;
use crate::device::DryDevice;
use crate::emulator::{Emulator, Launch};
use crate::kernel::LoweredKernel;
use crate::memory::{Pages, Range};

/// What is known outside the server.
#[derive(Debug, Default)]
pub struct Log {
    pub(crate) counters: Counters,
    pub(crate) kernels: Vec<LoweredKernel>,
}

/// The server of a device.
#[derive(Debug)]
pub struct DryServer {
    memory: MemoryManagement<Pages>,
    utilities: Arc<ServerUtilities<Self>>,
    timestamps: TimestampProfiler,
    options: CompilationOptions,
    /// Their numbers in the log, `None` for those that cannot be lowered.
    lowered: HashMap<KernelId, Option<usize>>,
    /// If kernels run.
    emulator: Option<Emulator>,
    /// What the host wrote and no tensor replaced, by offset in its page; without an emulator.
    written: HashMap<StorageId, BTreeMap<u64, Vec<u8>>>,
}

/// Larger copies to a counting device are forgotten, and read as zeros.
const REMEMBERED_BYTES: usize = 1 << 16;

impl DryServer {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.utilities.info.lock().expect("nobody panics while it is locked")
    }

    fn range(&mut self, binding: &Binding) -> Range {
        let Binding { memory, offset_start, offset_end, .. } = binding.clone();
        let found = self.memory.get_resource(memory, offset_start, offset_end);
        found.expect("CubeCL binds memory before it uses it")
    }

    /// The number of a kernel, lowered when it is met first.
    fn number(&mut self, kernel: &dyn CubeTask<Compiler>, mode: ExecutionMode) -> Option<usize> {
        let mut id = kernel.id();
        id.mode(mode);
        if let Some(number) = self.lowered.get(&id) {
            return *number;
        }
        let properties = &self.utilities.properties;
        let lowered = LoweredKernel::lower(kernel, &id, mode, properties, &self.options);
        let number = {
            let mut log = self.log();
            match lowered {
                Ok(lowered) => {
                    log.kernels.push(lowered);
                    Some(log.kernels.len() - 1)
                }
                Err(error) => {
                    log.counters.errors.push(format!("{}: {error}", kernel.name()));
                    None
                }
            }
        };
        self.lowered.insert(id, number);
        number
    }

    fn count(&self, number: usize, arguments: &KernelArguments) {
        let info = &arguments.info;
        let mut log = self.log();
        *log.counters.launches.entry(number).or_default() += 1;
        // Sizes that are known when a kernel is compiled travel as grid constants; shapes and strides do not.
        if info.data.len() > info.dynamic_metadata_offset {
            *log.counters.metadata_copies.entry(number).or_default() += 1;
        }
    }

    fn run(&mut self, number: usize, cubes: [u32; 3], arguments: &KernelArguments) {
        let maps = arguments.tensor_maps.iter().map(|map| &map.binding);
        let bindings: Vec<&Binding> = maps.chain(&arguments.buffers).collect();
        let buffers = bindings.into_iter().map(|binding| self.range(binding)).collect();
        let Some(emulator) = &mut self.emulator else { return };
        let kernel = self.utilities.info.lock().expect("nobody panics").kernels[number].clone();
        let info = &arguments.info;
        let (sizes, dynamic) = (&info.data[..], info.dynamic_metadata_offset);
        let launch = Launch { kernel: &kernel, cubes, buffers, sizes, dynamic };
        if let Err(error) = emulator.run(number, &launch) {
            self.log().counters.errors.push(format!("{}: {error}", kernel.name));
        }
    }

    /// What a read gives on a device that computes nothing.
    fn remembered(&self, range: &Range, size: usize) -> Vec<u8> {
        let page = self.written.get(&range.page);
        match page.and_then(|page| page.get(&range.offset)) {
            Some(bytes) if bytes.len() == size => bytes.clone(),
            _ => vec![0; size],
        }
    }

    fn remember(&mut self, range: &Range, data: &[u8]) {
        let page = self.written.entry(range.page).or_default();
        match data.len() <= REMEMBERED_BYTES {
            true => page.insert(range.offset, data.to_vec()),
            false => page.remove(&range.offset),
        };
    }
}

impl ServerCommunication for DryServer {
    const SERVER_COMM_ENABLED: bool = false;
}

impl ComputeServer for DryServer {
    type Kernel = Box<dyn CubeTask<Compiler>>;
    type Storage = Pages;
    type MemoryLayoutPolicy = PitchedMemoryLayoutPolicy;
    type Info = Mutex<Log>;

    fn logger(&self) -> Arc<ServerLogger> {
        self.utilities.logger.clone()
    }

    fn utilities(&self) -> Arc<ServerUtilities<Self>> {
        self.utilities.clone()
    }

    fn initialize_memory(&mut self, memory: ManagedMemoryHandle, size: u64, _: StreamId) {
        let reserved = self.memory.reserve(size).expect("a dry device has no limit");
        self.memory.bind(reserved, memory.clone(), 0).expect("CubeCL binds a handle once");
        let range = self.memory.get_resource(memory.binding(), None, None).expect("just bound");
        // Whoever reads what nobody wrote gets NaNs.
        range.bytes().fill(0xff);
        if let Some(page) = self.written.get_mut(&range.page) {
            page.retain(|at, _| !(range.offset..range.offset + range.size).contains(at));
        }
        let in_use = self.memory.memory_usage().bytes_in_use;
        let counters = &mut self.log().counters;
        counters.allocations += 1;
        counters.allocated_bytes += size;
        counters.peak_bytes = counters.peak_bytes.max(in_use);
    }

    fn read(
        &mut self,
        tensors: Vec<CopyDescriptor>,
        _: StreamId,
    ) -> DynFut<Result<Vec<Bytes>, ServerError>> {
        let mut all = Vec::new();
        for tensor in tensors {
            let range = self.range(&tensor.handle);
            let size = tensor.shape.iter().product::<usize>() * tensor.elem_size;
            let bytes = match self.emulator {
                Some(_) => range.rows(&tensor).flat_map(|row| row.to_vec()).collect(),
                None => self.remembered(&range, size),
            };
            let counters = &mut self.log().counters;
            counters.reads += 1;
            counters.read_bytes += size as u64;
            all.push(Bytes::from_bytes_vec(bytes));
        }
        let failed = (self.emulator.is_some()).then(|| self.log().counters.errors.first().cloned());
        let result = match failed.flatten() {
            Some(reason) => Err(ServerError::Generic { reason, backtrace: BackTrace::capture() }),
            None => Ok(all),
        };
        Box::pin(async move { result })
    }

    fn write(&mut self, tensors: Vec<(CopyDescriptor, Bytes)>, _: StreamId) {
        for (tensor, data) in tensors {
            let range = self.range(&tensor.handle);
            {
                let counters = &mut self.log().counters;
                counters.writes += 1;
                counters.written_bytes += data.len() as u64;
            }
            if self.emulator.is_none() {
                self.remember(&range, &data);
                continue;
            }
            let width = tensor.shape.last().copied().unwrap_or(1) * tensor.elem_size;
            for (row, data) in range.rows(&tensor).zip(data.chunks(width.max(1))) {
                row.copy_from_slice(data);
            }
        }
    }

    fn sync(&mut self, _: StreamId) -> DynFut<Result<(), ServerError>> {
        Box::pin(async { Ok(()) })
    }

    fn get_resource(
        &mut self,
        binding: Binding,
        _: StreamId,
    ) -> Result<ManagedResource<Range>, ServerError> {
        let range = self.range(&binding);
        Ok(ManagedResource::new(binding.memory, range))
    }

    unsafe fn launch(
        &mut self,
        kernel: Self::Kernel,
        count: CubeCount,
        arguments: KernelArguments,
        mode: ExecutionMode,
        _: StreamId,
    ) {
        let Some(number) = self.number(&*kernel, mode) else { return };
        self.count(number, &arguments);
        let cubes = match count {
            CubeCount::Static(x, y, z) => [x, y, z],
            CubeCount::Dynamic(_) => {
                let error = format!("{}: the number of cubes is on the device", kernel.name());
                return self.log().counters.errors.push(error);
            }
        };
        let most = <[u32; 3]>::from(MOST_CUBES);
        if cubes.iter().zip(most).any(|(&cubes, most)| cubes == 0 || cubes > most) {
            let error = format!("{}: {cubes:?} cubes", kernel.name());
            return self.log().counters.errors.push(error);
        }
        self.run(number, cubes, &arguments);
    }

    fn flush(&mut self, _: StreamId) -> Result<(), ServerError> {
        Ok(())
    }

    fn memory_usage(&mut self, _: StreamId) -> Result<MemoryUsage, ServerError> {
        Ok(self.memory.memory_usage())
    }

    fn memory_cleanup(&mut self, _: StreamId) {
        self.memory.cleanup(true);
    }

    fn start_profile(&mut self, _: StreamId) -> Result<ProfilingToken, ServerError> {
        Ok(self.timestamps.start())
    }

    fn end_profile(
        &mut self,
        _: StreamId,
        token: ProfilingToken,
    ) -> Result<ProfileDuration, ProfileError> {
        self.timestamps.stop(token)
    }

    fn allocation_mode(&mut self, mode: MemoryAllocationMode, _: StreamId) {
        self.memory.mode(mode);
    }
}

impl DeviceService for DryServer {
    fn init(id: DeviceId) -> Self {
        let device = DryDevice::from_id(id);
        let properties = device.architecture().properties();
        let emulator = match device {
            DryDevice::Counting(_) => None,
            DryDevice::Emulated => Some(Emulator::new(false)),
            DryDevice::WithoutBarrier => Some(Emulator::new(true)),
        };
        let pages = Pages::new(emulator.is_some());
        let logger = Arc::new(ServerLogger::default());
        let memory = MemoryManagement::from_configuration(
            pages,
            &properties.memory,
            MemoryConfiguration::default(),
            logger.clone(),
            MemoryManagementOptions::new("dry"),
        );
        let policy = PitchedMemoryLayoutPolicy::new(ALIGNMENT as usize);
        let log = Mutex::new(Log::default());
        Self {
            memory,
            utilities: Arc::new(ServerUtilities::new(properties, logger, log, policy)),
            timestamps: TimestampProfiler::default(),
            options: device.architecture().options(),
            lowered: HashMap::new(),
            emulator,
            written: HashMap::new(),
        }
    }

    fn utilities(&self) -> ServerUtilitiesHandle {
        self.utilities.clone()
    }
}
