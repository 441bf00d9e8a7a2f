//! Atomic writes, folder locks, and JSON files whose errors name the file.

mod error;
mod files;
mod lock;

pub use error::{FileError, Result};
pub use files::{is_temporary, read_json, remove_temporary, write_atomic, write_json, write_new};
pub use lock::{FolderLock, LOCK};
