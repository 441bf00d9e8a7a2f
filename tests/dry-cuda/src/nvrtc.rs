//! NVIDIA's compiler for sources at run time, which needs no driver.

use std::env;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

use libloading::Library;

use crate::architecture::Architecture;

/// NVRTC, with the assembler that is part of it.
#[derive(Debug)]
pub struct Nvrtc {
    library: Library,
    includes: Vec<String>,
}

/// What became of a source.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The code in NVIDIA's intermediate language.
    pub ptx: String,
    /// Of each unit.
    pub registers: usize,
    /// Bytes of each unit that did not fit into registers: stores and loads.
    pub spilled: usize,
}

type Handle = *mut c_void;

impl Nvrtc {
    /// Opens it in the folder that pip installed NVIDIA's packages into: that of the variable
    /// `SEQLORA_NVRTC`, or `nvrtc` in the folder `target` that this program lies in.
    ///
    /// # Errors
    /// If it is not there; the message says how to install it.
    pub fn open() -> Result<Self, String> {
        let folder =
            env::var_os("SEQLORA_NVRTC").map_or_else(in_target, |folder| Ok(folder.into()));
        let nvidia = folder?.join("nvidia");
        let library = nvidia.join("cuda_nvrtc/lib/libnvrtc.so.12");
        // SAFETY: NVIDIA's library, which does nothing when it is loaded.
        let library = unsafe { Library::new(&library) }.map_err(|error| {
            format!("{error}\nbash .ci/nvrtc.sh installs NVIDIA's compiler into target/nvrtc")
        })?;
        let parts = ["cuda_runtime", "cuda_nvcc", "cuda_cccl"];
        let include = |part| format!("-I{}/{part}/include", nvidia.display());
        Ok(Self { library, includes: parts.map(include).into() })
    }

    /// Compiles a source to machine code, with the options of `cubecl-cuda`.
    ///
    /// # Errors
    /// With the compiler's messages.
    pub fn compile(&self, source: &str, architecture: Architecture) -> Result<Compiled, String> {
        let source = CString::new(source).map_err(|error| error.to_string())?;
        let architecture = format!("-arch={}", architecture.name());
        let mut options = vec![architecture, "-lineinfo".into(), "-Xptxas".into(), "-v".into()];
        options.extend(self.includes.iter().cloned());
        let options: Vec<CString> =
            options.into_iter().map(|option| CString::new(option).expect("no NUL")).collect();
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program: Handle = ptr::null_mut();
        type Create = unsafe extern "C" fn(
            *mut Handle,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Handle, c_int, *const *const c_char) -> c_int;
        type Destroy = unsafe extern "C" fn(*mut Handle) -> c_int;
        // SAFETY: the signatures are those of nvrtc.h; strings and options outlive the calls.
        unsafe {
            let create = self.function::<Create>("nvrtcCreateProgram")?;
            let none = ptr::null();
            let code = create(&mut program, source.as_ptr(), none, 0, ptr::null(), ptr::null());
            check(code, "nvrtcCreateProgram")?;
            let compile = self.function::<Compile>("nvrtcCompileProgram")?;
            let code = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog");
            let ptx = self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX");
            self.function::<Destroy>("nvrtcDestroyProgram")?(&mut program);
            let log = log?;
            match code {
                0 => Ok(Compiled {
                    ptx: ptx?,
                    registers: number_before(&log, "Used ", " registers"),
                    spilled: ["stores", "loads"]
                        .map(|what| number_before(&log, ", ", &format!(" bytes spill {what}")))
                        .iter()
                        .sum(),
                }),
                _ => Err(log),
            }
        }
    }

    unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, String> {
        // SAFETY: the caller names the function's type.
        unsafe { self.library.get::<F>(name) }.map(|f| *f).map_err(|error| error.to_string())
    }

    /// A text of a program, whose size one function gives and another one the text.
    unsafe fn text(&self, program: Handle, size: &str, text: &str) -> Result<String, String> {
        type Size = unsafe extern "C" fn(Handle, *mut usize) -> c_int;
        type Text = unsafe extern "C" fn(Handle, *mut c_char) -> c_int;
        let mut bytes = 0;
        // SAFETY: the signatures are those of nvrtc.h, and the buffer has the size that NVRTC gives.
        unsafe {
            check(self.function::<Size>(size)?(program, &mut bytes), size)?;
            let mut buffer = vec![0u8; bytes];
            check(self.function::<Text>(text)?(program, buffer.as_mut_ptr().cast()), text)?;
            // Without the NUL.
            buffer.truncate(bytes.saturating_sub(1));
            Ok(String::from_utf8_lossy(&buffer).into())
        }
    }
}

fn check(code: c_int, what: &str) -> Result<(), String> {
    match code {
        0 => Ok(()),
        code => Err(format!("{what} gave error {code}")),
    }
}

/// `target/nvrtc`, for a program in `target/release/deps`.
fn in_target() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let target = program.ancestors().nth(3).unwrap_or(Path::new("target"));
    Ok(target.join("nvrtc"))
}

/// The number between two texts of the assembler's log; 0 if it does not speak of it.
fn number_before(log: &str, before: &str, after: &str) -> usize {
    let Some(end) = log.find(after) else { return 0 };
    let start = log[..end].rfind(before).map_or(0, |at| at + before.len());
    log[start..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_assemblers_log_is_read() {
        let log = "ptxas info    : Function properties for k\n\
            ptxas         .     256 bytes stack frame, 12 bytes spill stores, 340 bytes spill loads\n\
            ptxas info    : Used 32 registers, used 0 barriers, 256 bytes cumulative stack size\n";
        assert_eq!(number_before(log, "Used ", " registers"), 32);
        assert_eq!(number_before(log, ", ", " bytes spill stores"), 12);
        assert_eq!(number_before(log, ", ", " bytes spill loads"), 340);
        assert_eq!(number_before("", "Used ", " registers"), 0);
    }
}
