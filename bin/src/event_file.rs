//! TensorBoard's event files: protocol buffers, each framed by its length and two checksums
//! (TensorFlow's `lib/io/record_writer.h`, `util/event.proto` and `framework/summary.proto`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc, Table};
use prost::{Enumeration, Message, Oneof};

/// The first event of every file.
const VERSION: &str = "brain.Event:2";

/// CRC-32C, as the format masks it.
static CRC: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);

/// An event file that is written.
#[derive(Debug)]
pub struct EventFile(File);

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(oneof = "Content", tags = "2, 4")]
    content: Option<Content>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Content {
    #[prost(float, tag = "2")]
    SimpleValue(f32),
    #[prost(message, tag = "4")]
    Image(Image),
}

#[derive(Clone, PartialEq, Message)]
struct Image {
    #[prost(int32, tag = "1")]
    height: i32,
    #[prost(int32, tag = "2")]
    width: i32,
    /// Channels: 3 for RGB.
    #[prost(int32, tag = "3")]
    colorspace: i32,
    #[prost(bytes = "vec", tag = "4")]
    encoded_image_string: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(enumeration = "SessionStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Enumeration)]
#[repr(i32)]
enum SessionStatus {
    Unspecified = 0,
    /// What earlier files of the folder say of this step and later ones does not count.
    Start = 1,
}

impl EventFile {
    /// Makes a new file in a folder, which is made if it is not there, for a run from `step` on.
    pub fn create(folder: &Path, step: usize) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let (seconds, process) = (seconds() as u64, process::id());
        let file = (0..).find_map(|number: u32| {
            let name = format!("events.out.tfevents.{seconds:010}.{process}.{number}");
            match OpenOptions::new().write(true).create_new(true).open(folder.join(name)) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                result => Some(result),
            }
        });
        let mut file = Self(file.expect("some number is free")?);
        file.write(0, What::FileVersion(VERSION.into()))?;
        file.write(step, What::SessionLog(SessionLog { status: SessionStatus::Start.into() }))?;
        Ok(file)
    }

    /// Adds a step's numbers.
    pub fn scalars(&mut self, step: usize, numbers: &[(&str, f64)]) -> io::Result<()> {
        let value = |(tag, number): &(&str, f64)| Value {
            tag: tag.to_string(),
            content: Some(Content::SimpleValue(*number as f32)),
        };
        self.write(step, What::Summary(Summary { value: numbers.iter().map(value).collect() }))
    }

    /// Adds an RGB image of so many pixels, as a PNG file's bytes.
    pub fn image(
        &mut self,
        step: usize,
        tag: &str,
        (width, height): (u32, u32),
        png: Vec<u8>,
    ) -> io::Result<()> {
        let [width, height] = [width, height].map(|side| side as i32);
        let image = Image { height, width, colorspace: 3, encoded_image_string: png };
        let value = Value { tag: tag.into(), content: Some(Content::Image(image)) };
        self.write(step, What::Summary(Summary { value: vec![value] }))
    }

    fn write(&mut self, step: usize, what: What) -> io::Result<()> {
        let event = Event { wall_time: seconds(), step: step as i64, what: Some(what) };
        self.0.write_all(&record(&event.encode_to_vec()))
    }
}

/// Seconds since 1970.
fn seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// Bytes with their length before them, and the checksum of either.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    [&length[..], &masked_crc(&length), bytes, &masked_crc(bytes)].concat()
}

/// The checksum, rotated and shifted so that checksums of checksums are as good.
fn masked_crc(bytes: &[u8]) -> [u8; 4] {
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(folder: &Path) -> Vec<Event> {
        let file = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
        assert!(file.file_name().unwrap().to_string_lossy().contains("tfevents"));
        let bytes = fs::read(file).unwrap();
        let mut rest = &bytes[..];
        let mut events = Vec::new();
        while let Some((length, _)) = rest.split_first_chunk() {
            let whole = 16 + u64::from_le_bytes(*length) as usize;
            let event = &rest[12..whole - 4];
            assert_eq!(record(event), rest[..whole]);
            events.push(Event::decode(event).unwrap());
            rest = &rest[whole..];
        }
        assert!(rest.is_empty());
        events
    }

    /// The first record of every TensorBoard file begins with these bytes: the length 24 and its checksum.
    #[test]
    fn records_are_framed_as_tensorflow_frames_them() {
        let framed = record(&[0; 24]);
        assert_eq!(framed[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(CRC.checksum(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn events_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = EventFile::create(folder.path(), 3).unwrap();
        file.scalars(3, &[("loss", 0.5), ("overlap", 0.0)]).unwrap();
        file.image(4, "preview/0", (2, 1), vec![1, 2]).unwrap();
        let events = events(folder.path());
        assert_eq!(events.iter().map(|event| event.step).collect::<Vec<_>>(), [0, 3, 3, 4]);
        assert!(matches!(&events[0].what, Some(What::FileVersion(text)) if text == VERSION));
        let scalar = |tag: &str, number| Value {
            tag: tag.into(),
            content: Some(Content::SimpleValue(number)),
        };
        let value = vec![scalar("loss", 0.5), scalar("overlap", 0.0)];
        assert_eq!(events[2].what, Some(What::Summary(Summary { value })));
        // A second file of the same second has another name.
        EventFile::create(folder.path(), 0).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
