//! The directory of a zip archive whose entries are stored as they are.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

/// The largest directory that is read: of 10⁵ entries.
const LIMIT: u64 = 16 << 20;

/// Where the bytes of an entry lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) size: u64,
}

/// The entries of an archive by their names, without the folder that they all lie in.
#[derive(Debug)]
pub(super) struct Archive {
    entries: BTreeMap<String, Entry>,
}

impl Archive {
    /// Reads the directory at the end of a file, and where each entry starts. All entries lie within the
    /// file.
    ///
    /// # Errors
    /// A sentence, if it is damaged or compressed.
    pub(super) fn read(file: &mut File, size: u64) -> Result<Self, String> {
        let (start, length) = directory(file, size)?;
        let directory = read_at(file, start, length, size)?;
        let (mut at, mut entries) = (0, BTreeMap::new());
        while let Some(header) = directory.get(at..).filter(|rest| rest.starts_with(b"PK\x01\x02"))
        {
            let part = |from: usize, length: usize| {
                header.get(from..from + length).ok_or("its directory is cut off")
            };
            let lengths = [28, 30, 32].map(|place| number(header, place, 2) as usize);
            let [name, extra, comment] = lengths;
            let text = String::from_utf8_lossy(part(46, name)?).into_owned();
            let extra_fields = part(46 + name, extra)?;
            let [packed, size_of, place] = sizes(header, extra_fields);
            if number(header, 10, 2) != 0 || packed != size_of {
                return Err(format!("its entry `{text}` is compressed, which PyTorch never does"));
            }
            let local = read_at(file, place, 30, size)?;
            if !local.starts_with(b"PK\x03\x04") {
                return Err(format!("its entry `{text}` is not where its directory says"));
            }
            let start = place + 30 + number(&local, 26, 2) + number(&local, 28, 2);
            if start.checked_add(size_of).is_none_or(|end| end > size) {
                return Err(format!("its entry `{text}` is cut off"));
            }
            let inner = text.split_once('/').map_or(text.as_str(), |(_, inner)| inner);
            entries.insert(inner.to_string(), Entry { start, size: size_of });
            at += 46 + name + extra + comment;
        }
        Ok(Self { entries })
    }

    /// An entry by its name below the archive's folder.
    pub(super) fn find(&self, name: &str) -> Option<Entry> {
        self.entries.get(name).copied()
    }

    /// The bytes of a small entry.
    ///
    /// # Errors
    /// A sentence, if it has more than `limit` bytes, or cannot be read.
    pub(super) fn bytes(
        &self,
        file: &mut File,
        entry: &Entry,
        limit: u64,
    ) -> Result<Vec<u8>, String> {
        if entry.size > limit {
            return Err(format!("its pickle has {} bytes", entry.size));
        }
        read_at(file, entry.start, entry.size, entry.start + entry.size)
    }
}

/// Where the directory starts and its length, from the record at the end of the file.
fn directory(file: &mut File, size: u64) -> Result<(u64, u64), String> {
    let missing = "it has no directory at its end";
    // The record has 22 bytes and a comment of at most 65535.
    let length = size.min(22 + 65535);
    let end = read_at(file, size - length, length, size)?;
    let at = end.windows(4).rposition(|window| window == b"PK\x05\x06").ok_or(missing)?;
    let record = end.get(at..at + 22).ok_or(missing)?;
    let (mut start, mut length) = (number(record, 16, 4), number(record, 12, 4));
    // Zip64: 20 bytes before it, the place of a record with larger numbers.
    let locator = at.checked_sub(20).map(|at| &end[at..at + 20]);
    if let Some(locator) = locator.filter(|locator| locator.starts_with(b"PK\x06\x07")) {
        let record = read_at(file, number(locator, 8, 8), 56, size)?;
        if !record.starts_with(b"PK\x06\x06") {
            return Err(missing.into());
        }
        (start, length) = (number(&record, 48, 8), number(&record, 40, 8));
    }
    match length <= LIMIT {
        true => Ok((start, length)),
        false => Err(format!("its directory would be {length} bytes long")),
    }
}

/// The packed size, the size and the place of an entry. Where 32 bits do not suffice, they are in the
/// extra field 1, in this order: size, packed size, place.
fn sizes(header: &[u8], mut extra: &[u8]) -> [u64; 3] {
    let mut fields = [24, 20, 42].map(|place| number(header, place, 4));
    while extra.len() >= 4 {
        let (kind, length) = (number(extra, 0, 2), number(extra, 2, 2) as usize);
        if kind == 1 {
            let mut at = 4;
            for field in fields.iter_mut().filter(|field| **field == u64::from(u32::MAX)) {
                *field = number(extra, at, 8);
                at += 8;
            }
        }
        extra = extra.get(4 + length..).unwrap_or(&[]);
    }
    let [size, packed, place] = fields;
    [packed, size, place]
}

/// A little-endian number; 0 where bytes are missing, which no check lets pass.
fn number(bytes: &[u8], from: usize, length: usize) -> u64 {
    let digits = bytes.iter().skip(from).take(length).enumerate();
    digits.map(|(place, digit)| u64::from(*digit) << (8 * place)).sum()
}

/// `length` bytes at `start`, which have to lie before `end`.
fn read_at(file: &mut File, start: u64, length: u64, end: u64) -> Result<Vec<u8>, String> {
    if start.checked_add(length).is_none_or(|last| last > end) {
        return Err("it is cut off".into());
    }
    let mut bytes = vec![0; length as usize];
    let read = file.seek(SeekFrom::Start(start)).and_then(|_| file.read_exact(&mut bytes));
    read.map(|()| bytes).map_err(|error| error.to_string())
}
