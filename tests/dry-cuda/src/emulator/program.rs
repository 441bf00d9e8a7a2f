//! A kernel compiled for this CPU.

use std::ffi::{OsStr, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{env, fs, process};

use libloading::Library;
use sha2::{Digest, Sha256};

use crate::kernel::LoweredKernel;

/// What CUDA C++ means on a CPU.
const HEADER: &str = include_str!("cuda.h");

/// The headers that sources include.
const INCLUDED: [&str; 4] = ["cuda_runtime.h", "cuda_fp16.h", "cuda_bf16.h", "mma.h"];

/// What C++ and this program share (`State` in `cuda.h`).
#[derive(Debug)]
#[repr(C)]
pub(super) struct State {
    /// threadIdx
    pub(super) unit: [u32; 3],
    /// blockIdx
    pub(super) cube: [u32; 3],
    /// blockDim
    pub(super) units: [u32; 3],
    /// gridDim
    pub(super) cubes: [u32; 3],
    /// Called at a barrier, with [`PLANE`] or [`CUBE`].
    pub(super) wait: Option<extern "C" fn(u32)>,
}

/// A barrier of the 32 units of a warp.
pub(super) const PLANE: u32 = 0;
/// A barrier of all units of a cube.
pub(super) const CUBE: u32 = 1;

/// A compiled kernel.
#[derive(Debug)]
pub(super) struct Program {
    /// Shared with the kernel.
    pub(super) state: *mut State,
    /// Fills shared memory with NaNs.
    pub(super) begin_cube: extern "C" fn(),
    /// The kernel for one unit.
    pub(super) call: extern "C" fn(*const *mut c_void),
    _library: Library,
}

// SAFETY: the library's state is used by the server's thread alone.
unsafe impl Send for Program {}

impl Program {
    /// Compiles a kernel, or loads what was compiled from the same source before.
    pub(super) fn build(kernel: &LoweredKernel, without_barrier: bool) -> Result<Self, String> {
        let source = match without_barrier {
            true => kernel.source.replacen("__syncthreads();", "", 1),
            false => kernel.source.clone(),
        };
        let source = format!("{source}\nEMULATE({})\n", kernel.entry);
        let digest = Sha256::new().chain_update(HEADER).chain_update(&source).finalize();
        let name: String = digest.iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        let library = folder()?.join(format!("{name}.so"));
        if !library.exists() {
            compile(&source, &library)?;
        }
        Self::load(&library)
    }

    fn load(path: &Path) -> Result<Self, String> {
        let text = |error: libloading::Error| format!("{}: {error}", path.display());
        // SAFETY: the library was made from `cuda.h` and a kernel, which define these functions so and
        // do nothing when they are loaded.
        unsafe {
            let library = Library::new(path).map_err(text)?;
            let state = *library.get::<extern "C" fn() -> *mut State>("state").map_err(text)?;
            let begin_cube = *library.get::<extern "C" fn()>("begin_cube").map_err(text)?;
            let call = *library.get("call").map_err(text)?;
            Ok(Self { state: state(), begin_cube, call, _library: library })
        }
    }
}

/// The folder of compiled kernels, which later runs use again: beside the program, in `target`.
fn folder() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOLDER.get_or_init(make_folder).as_deref().map_err(Clone::clone)
}

fn make_folder() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let folder = program.with_file_name("emulated-kernels");
    let write = |name: &str, text: &str| fs::write(folder.join(name), text);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write("cuda.h", HEADER).map_err(|error| error.to_string())?;
    for name in INCLUDED {
        write(name, "#include \"cuda.h\"\n").map_err(|error| error.to_string())?;
    }
    // Compiled once, since it takes longer than most kernels.
    let header = folder.join("cuda.h");
    run(&["-x".as_ref(), "c++-header".as_ref(), header.as_os_str()])?;
    Ok(folder)
}

fn compile(source: &str, library: &Path) -> Result<(), String> {
    let code = library.with_extension("cpp");
    // The precompiled header has to come first.
    let source = format!("#include \"cuda.h\"\n{source}");
    fs::write(&code, source).map_err(|error| error.to_string())?;
    let part = library.with_extension(format!("{}.part", process::id()));
    let headers = library.parent().expect("it lies in a folder").as_os_str();
    let include = ["-I".as_ref(), headers];
    let output = ["-shared".as_ref(), "-o".as_ref(), part.as_os_str(), code.as_os_str()];
    run(&[&include[..], &output].concat())?;
    fs::rename(part, library).map_err(|error| error.to_string())
}

/// The compiler of this machine.
fn run(arguments: &[&OsStr]) -> Result<(), String> {
    let compiler = env::var_os("CXX").unwrap_or_else(|| "c++".into());
    // No optimisation that assumes what GPU code does not promise: buffers may be seen as other types.
    let options = ["-std=c++17", "-O1", "-w", "-fPIC", "-fno-strict-aliasing"];
    let output = Command::new(&compiler).args(options).args(arguments).output();
    let output = output.map_err(|error| format!("{}: {error}", compiler.display()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).chars().take(2000).collect()),
    }
}
