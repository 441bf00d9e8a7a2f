//! Files of weights: their headers, which are checked as a whole, and the bytes of single tensors.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Metadata, TensorInfo};

use super::pytorch;
use crate::digest::sha256_from;
use crate::error::{FileError, Result};
use crate::open::open_regular;

/// The largest header that is read. Stable Diffusion's take 0.3 MB.
const LIMIT: u64 = 16 << 20;

/// The header of a file of weights: its metadata, and the types, shapes and places of its tensors. The
/// file is in the format of safetensors, or an archive of PyTorch's.
///
/// Every shape fits the bytes that its tensor has. In a safetensors file the tensors together are the
/// whole file.
#[derive(Debug)]
pub struct Header {
    path: PathBuf,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, TensorInfo>,
    /// Where the tensors' bytes start.
    start: u64,
}

impl Header {
    /// Reads the header of a file, and checks it, but none of the tensors' numbers.
    ///
    /// # Errors
    /// If the file cannot be read, is truncated, or has another format.
    pub fn read(path: &Path) -> Result<Self> {
        let damaged = |reason: String| FileError::Damaged { path: path.into(), reason };
        let (mut file, size) = open_regular(path)?;
        let mut length = [0; 8];
        let short = |_| damaged(format!("it has only {size} bytes"));
        file.read_exact(&mut length).map_err(short)?;
        if pytorch::is_archive(&length) {
            let tensors = pytorch::read(&mut file, size).map_err(damaged)?;
            return Ok(Self { path: path.into(), tensors, metadata: BTreeMap::new(), start: 0 });
        }
        if pytorch::is_bare_pickle(&length) {
            return Err(FileError::BarePickle { path: path.into() });
        }
        let length = u64::from_le_bytes(length);
        if length > size.min(LIMIT) {
            return Err(damaged(format!("its header would be {length} bytes long")));
        }
        let mut text = vec![0; length as usize];
        file.read_exact(&mut text).map_err(short)?;
        // The parser's name for the whole header would tell users nothing.
        let plain = |text: String| text.replace("struct HashMetadata", "an object");
        let content: Metadata =
            serde_json::from_slice(&text).map_err(|e| damaged(plain(e.to_string())))?;
        let start = 8 + length;
        let whole = start + content.data_len() as u64;
        if size != whole {
            return Err(damaged(format!("it has {size} bytes instead of {whole}")));
        }
        let tensors = content.tensors().into_iter().map(|(key, info)| (key, info.clone()));
        Ok(Self {
            path: path.into(),
            tensors: tensors.collect(),
            metadata: content
                .metadata()
                .iter()
                .flatten()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            start,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says besides its tensors; PyTorch's files say nothing.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|tensor| tensor.shape.as_slice())
    }

    /// Whether a tensor is there.
    pub fn has(&self, key: &str) -> bool {
        self.tensors.contains_key(key)
    }

    /// Whether any key starts with `prefix`.
    pub fn has_under(&self, prefix: &str) -> bool {
        let mut from = self.tensors.range(prefix.to_string()..);
        from.next().is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// The bytes of a tensor of this file.
    ///
    /// # Errors
    /// If the file cannot be read, or has become shorter since its header was read.
    pub fn bytes(&self, tensor: &TensorInfo) -> Result<Vec<u8>> {
        let (start, end) = tensor.data_offsets;
        let (mut file, _) = open_regular(&self.path)?;
        let mut bytes = vec![0; end - start];
        file.seek(SeekFrom::Start(self.start + start as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(FileError::io("cannot read", &self.path))?;
        Ok(bytes)
    }

    /// The SHA-256 of all that comes after the header: the tensors of a safetensors file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn digest_of_tensors(&self) -> Result<String> {
        sha256_from(&self.path, self.start)
    }

    /// The header of a file that is not there, of tensors of these shapes: to ask what such a file is.
    pub fn of(tensors: impl IntoIterator<Item = (String, Vec<usize>)>) -> Self {
        let (dtype, data_offsets) = (safetensors::Dtype::F32, (0, 0));
        let info = |shape| TensorInfo { dtype, shape, data_offsets };
        let tensors = tensors.into_iter().map(|(key, shape)| (key, info(shape))).collect();
        Self { path: "model.safetensors".into(), metadata: BTreeMap::new(), tensors, start: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers that promise what the file does not hold are refused before anything is allocated.
    #[test]
    fn no_number_of_a_header_is_taken_on_its_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let tensor = |shape: &str, end: u64| {
            format!(r#"{{"a": {{"dtype": "F32", "shape": {shape}, "data_offsets": [0, {end}]}}}}"#)
        };
        let cases = [
            (tensor("[1]", 4), 4, ""),
            (tensor("[2]", 4), 4, "invalid shape"),
            (tensor("[4611686018427387904]", 0), 0, "overflow"),
            (tensor("[1]", 8), 8, "invalid shape"),
            (tensor("[1]", 4), 3, "instead of"),
            (tensor("[1]", 4), 5, "instead of"),
            (
                r#"{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}"#.into(),
                8,
                "offset",
            ),
            ("{}".into(), 4, "instead of"),
            ("[".into(), 0, "expected an object"),
        ];
        for (header, data, expected) in cases {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.extend(vec![0; data]);
            std::fs::write(&path, bytes).unwrap();
            match Header::read(&path) {
                Ok(read) => assert!(expected.is_empty() && read.shape("a") == Some(&[1])),
                Err(error) => {
                    let error = error.to_string().to_lowercase();
                    assert!(!expected.is_empty() && error.contains("damaged"), "{error}");
                    assert!(error.contains(&expected.to_lowercase()), "{error}");
                }
            }
        }
        std::fs::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
        let error = Header::read(&path).unwrap_err().to_string();
        assert!(error.contains("its header would be 18446744073709551615 bytes long"), "{error}");
    }

    /// Nothing is wrong with such a file, so that another copy of it would not help.
    #[test]
    fn bare_pickles_are_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\x80\x02}q\x00(X\x01\x00\x00\x00a").unwrap();
        let error = Header::read(file.path()).unwrap_err();
        assert!(matches!(error, FileError::BarePickle { .. }), "{error}");
        assert!(!error.to_string().contains("damaged"), "{error}");
    }
}
