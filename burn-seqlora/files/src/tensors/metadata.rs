//! Metadata of safetensors files in the order of their keys. The crate that writes such files has them in another order
//! each time, and the same command has to write the same bytes.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use crate::error::{FileError, Result};
use crate::open::open_to_write;

/// What a header with metadata begins with.
const START: &[u8] = br#"{"__metadata__":"#;

/// Bytes before the header, which say how long it is.
const LENGTH: usize = 8;

/// Sorts the metadata in the bytes of a safetensors file, or of its beginning with the header. The header stays as long
/// as it was.
pub fn sort_metadata(bytes: &mut [u8]) {
    let start = LENGTH + START.len();
    if bytes.get(LENGTH..start) != Some(START) {
        return;
    }
    let mut values = serde_json::Deserializer::from_slice(&bytes[start..])
        .into_iter::<BTreeMap<String, String>>();
    let Some(Ok(metadata)) = values.next() else { return };
    let end = start + values.byte_offset();
    match serde_json::to_vec(&metadata) {
        Ok(sorted) if sorted.len() == end - start => bytes[start..end].copy_from_slice(&sorted),
        _ => {}
    }
}

/// The same in a file that was just written.
///
/// # Errors
/// If it cannot be read or written.
pub fn sort_metadata_of(file: &Path) -> Result<()> {
    let mut open = open_to_write(file)?;
    let mut sort = || {
        let mut length = [0; LENGTH];
        open.read_exact(&mut length)?;
        let header = u64::from_le_bytes(length);
        let mut bytes = length.to_vec();
        (&mut open).take(header).read_to_end(&mut bytes)?;
        sort_metadata(&mut bytes);
        open.seek(SeekFrom::Start(0))?;
        open.write_all(&bytes)
    };
    sort().map_err(FileError::io("cannot write", file))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use safetensors::tensor::{Dtype, TensorView};

    use super::*;

    #[test]
    fn files_with_the_same_metadata_are_the_same() {
        let write = || {
            let metadata = (0..20).map(|n| (format!("key {n}"), format!("\"{n}\" ü")));
            let metadata: HashMap<String, String> = metadata.collect();
            let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
            safetensors::serialize([("x", view)], Some(metadata)).unwrap()
        };
        let mut all = [write(), write(), write()];
        all.iter_mut().for_each(|bytes| sort_metadata(bytes));
        assert!(all[0] == all[1] && all[1] == all[2]);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.safetensors");
        std::fs::write(&file, write()).unwrap();
        sort_metadata_of(&file).unwrap();
        assert!(std::fs::read(&file).unwrap() == all[0]);
        let header = crate::Header::read(&file).unwrap();
        assert_eq!(header.metadata()["key 7"], "\"7\" ü");
        for bytes in
            [&b""[..], b"12345678", b"12345678{\"__metadata__\":", b"12345678{\"__metadata__\":[]}"]
        {
            let mut same = bytes.to_vec();
            sort_metadata(&mut same);
            assert_eq!(same, bytes);
        }
    }
}
