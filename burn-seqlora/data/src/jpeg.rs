//! The markers of a JPEG file, which show two problems that the decoder does not report.
//!
//! The decoder of the `image` crate fills missing rows with grey instead of failing. It also assumes
//! that all four-channel files are stored inverted, which is only certain with Adobe's marker.

/// What the markers of a JPEG file say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Markers {
    /// Colour channels: 1 grey, 3 colour, 4 CMYK or YCCK.
    pub(crate) channels: u8,
    /// Whether the Adobe segment is present: four-channel data are then stored inverted.
    pub(crate) adobe: bool,
    /// Whether the image reaches its end marker.
    pub(crate) complete: bool,
}

/// Reads the markers of the first image in `bytes`. Data after its end, such as the second image of a
/// 3D photo or the video of a live photo, are ignored.
pub(crate) fn markers(bytes: &[u8]) -> Markers {
    const APP14: u8 = 0xEE;
    const END: u8 = 0xD9;
    let mut found = Markers::default();
    let mut at = 2;
    while let Some(marker) = next_marker(bytes, &mut at) {
        // Stand-alone markers: padding, restart, start of image.
        if matches!(marker, 0x00 | 0x01 | 0xD0..=0xD8 | 0xFF) {
            continue;
        }
        if marker == END {
            found.complete = true;
            break;
        }
        let Some(&[high, low]) = bytes.get(at..at + 2) else {
            break;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let Some(body) = bytes.get(at + 2..at + length) else {
            break;
        };
        match marker {
            APP14 => found.adobe |= body.starts_with(b"Adobe"),
            // Start of frame; C4, C8 and CC are tables.
            0xC0..=0xCF if !matches!(marker, 0xC4 | 0xC8 | 0xCC) => {
                found.channels = body.get(5).copied().unwrap_or(0);
            }
            _ => {}
        }
        at += length;
    }
    found
}

/// Moves `at` past the next `FF xx` and returns `xx`. In compressed data a 00 follows every `FF` that
/// is not a marker, so this also finds the end of a scan.
fn next_marker(bytes: &[u8], at: &mut usize) -> Option<u8> {
    let offset = bytes.get(*at..)?.iter().position(|&byte| byte == 0xFF)?;
    let marker = *bytes.get(*at + offset + 1)?;
    // `FF FF` is padding: the second byte may itself begin the marker.
    *at += offset + if marker == 0xFF { 1 } else { 2 };
    Some(marker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_channels_adobe_and_the_end() {
        let mut file = vec![0xFF, 0xD8];
        // A comment that holds an end marker, as a thumbnail in EXIF does.
        file.extend([0xFF, 0xFE, 0, 4, 0xFF, 0xD9]);
        file.extend([0xFF, 0xEE, 0, 7]);
        file.extend(b"Adobe");
        file.extend([0xFF, 0xFF, 0xC2, 0, 8, 8, 0, 1, 0, 1, 4]);
        file.extend([0xFF, 0xDA, 0, 2, 0x12, 0xFF, 0x00, 0x34, 0xFF, 0xD0, 0x56]);
        assert_eq!(markers(&file), Markers { channels: 4, adobe: true, complete: false });
        file.extend([0xFF, 0xD9, 0xFF]);
        assert!(markers(&file).complete);
        assert_eq!(markers(&file[..9]), Markers::default());
    }
}
