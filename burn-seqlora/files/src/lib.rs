//! Atomic writes, folder locks, safe opening of foreign files, digests, JSON files whose errors name the
//! file, and headers of files of tensors.

mod digest;
mod error;
mod files;
mod folder;
mod guarded;
mod lock;
mod object;
mod open;
mod plain;
mod printable;
mod storage;
mod tensors;

pub use digest::{sha256, sha256_of_file, sha256_of_path};
pub use error::{FileError, Result};
pub use files::{
    check_folder, check_target, read_json, remove_temporary, to_json, write_atomic, write_json,
    write_new,
};
pub use folder::write_new_folder;
pub use guarded::GuardedFolder;
pub use lock::{FolderLock, LOCK};
pub use object::parse_object;
pub use open::{
    TEXT_LIMIT, open_regular, open_to_write, read_bytes, read_text, refuse_link, sync_folder,
};
pub use plain::plain;
pub use printable::printable;
pub use storage::{Disk, Storage, is_temporary};
pub use tensors::{Header, sort_metadata, sort_metadata_of};
