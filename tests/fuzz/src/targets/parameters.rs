//! The text of a generated image.

use std::path::Path;

use seqlora_data::Parameters;

use crate::target::{Target, holds};

/// A PNG file that tells how it was made.
pub const PARAMETERS: Target = Target {
    name: "parameters",
    files: || vec![("image.png".into(), png())],
    read: |folder: &Path| {
        let Ok(read) = Parameters::read(&folder.join("image.png")) else { return false };
        // A text that begins with a line break or another name of the negative prompt changes.
        if let Ok(again) = Parameters::parse(&read.to_string()) {
            holds(again.fields == read.fields, "settings come back as they were written");
        }
        true
    },
};

const TEXT: &str = "a <dog6>, (red:1.2)\nNegative prompt: ugly\nSteps: 25, Sampler: euler, \
                    CFG scale: 7.5, Concepts: \"dog6=0.5, mug=1\", Version: seqlora 0.1.0";

fn png() -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        [&(data.len() as u32).to_be_bytes()[..], kind, data, &[0; 4]].concat()
    };
    let text = ["parameters\0\0\0\0\0", TEXT].concat();
    let signature = b"\x89PNG\r\n\x1a\n".to_vec();
    [signature, chunk(b"iTXt", text.as_bytes()), chunk(b"IEND", &[])].concat()
}
