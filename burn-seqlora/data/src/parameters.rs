//! The settings of a generated image, as text in its PNG file.
//!
//! The form is that of A1111's web interface, which its kin read too: the prompt, perhaps
//! `Negative prompt: …`, and a last line of settings.
//!
//! ```text
//! a dog on a beach
//! Negative prompt: blurry
//! Steps: 25, Sampler: euler, CFG scale: 7.5, Size: 512x768, Concepts: "dog6=0.5, mug=1"
//! ```
//!
//! A value that holds `,`, `:`, `"` or a line break is a JSON string.

use std::fmt;
use std::path::Path;

use seqlora_files::read_bytes;

use super::error::DataError;
use super::limits;

/// Bytes of the text. Prompts have up to 64 KiB each.
const LONGEST: usize = 1 << 20;

/// The key of the text in a PNG.
const KEYWORD: &str = "parameters";

/// What begins the negative prompt.
const NEGATIVE: &str = "Negative prompt:";

/// The settings of a generated image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters {
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// Names and values of the settings, in order. A name may occur several times.
    pub fields: Vec<(String, String)>,
}

impl Parameters {
    /// Reads the text of a PNG file, without decoding the image.
    ///
    /// # Errors
    /// [`DataError::File`] if it cannot be read, [`DataError::Parameters`] if it is no PNG, has no such
    /// text, or one that cannot be understood.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_bytes(path, limits::IMAGE_FILE)?;
        let parameters = text_of(&bytes).and_then(|text| Self::parse(&text));
        parameters.map_err(|reason| DataError::Parameters { path: path.into(), reason })
    }

    /// Parses the text.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim_end();
        let (before, last) = text.rsplit_once('\n').ok_or("its text has a single line")?;
        let fields = fields(last)?;
        if !fields.iter().any(|(name, _)| name == "Steps") {
            return Err("the last line of its text has no `Steps`".into());
        }
        let begins = |line: &str| line.starts_with(NEGATIVE);
        let (prompt, negative) = match before.lines().filter(|line| begins(line)).count() {
            0 => (before, ""),
            1 if begins(before) => ("", &before[NEGATIVE.len()..]),
            1 => before.split_once(&format!("\n{NEGATIVE}")).expect("one line begins with it"),
            _ => return Err(format!("several lines of its text begin with `{NEGATIVE}`")),
        };
        let [prompt, negative] = [prompt, negative].map(|text| text.trim().to_string());
        Ok(Self { prompt, negative, fields })
    }

    /// The value of a setting.
    ///
    /// # Errors
    /// If it is given several times.
    pub fn get<'a>(&'a self, name: &str) -> Result<Option<&'a str>, String> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(format!("its text has several values for `{name}`")),
            (value, None) => Ok(value),
        }
    }

    /// All values of a setting.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.fields.iter().filter(move |(found, _)| found == name);
        named.map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{NEGATIVE} {}\n", self.prompt, self.negative)?;
        for (number, (name, value)) in self.fields.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(f, "{comma}{name}: {}", quoted(value))?;
        }
        Ok(())
    }
}

/// A value as A1111 writes it: in quotes if its end would not be clear.
fn quoted(value: &str) -> String {
    let plain = !value.contains([',', ':', '\n', '\r', '"']) && value.trim() == value;
    if plain { value.to_string() } else { serde_json::Value::from(value).to_string() }
}

/// Names and values of a line of settings.
fn fields(line: &str) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let wrong = || {
            let start: String = rest.chars().take(30).collect();
            format!("the last line of its text has no setting `Name: value` at `{start}`")
        };
        let (name, value) = rest.split_once(':').ok_or_else(wrong)?;
        let inside = |c: char| c.is_ascii_alphanumeric() || " -/_".contains(c);
        if name.is_empty() || !name.chars().all(inside) {
            return Err(wrong());
        }
        let value = value.trim_start();
        let (value, after) = match value.starts_with('"') {
            false => {
                let end = value.find(',').unwrap_or(value.len());
                (value[..end].trim_end().to_string(), &value[end..])
            }
            true => {
                let end = end_of_string(value).ok_or_else(wrong)?;
                (serde_json::from_str(&value[..end]).map_err(|_| wrong())?, &value[end..])
            }
        };
        fields.push((name.trim().to_string(), value));
        rest = match after.trim_start() {
            "" => "",
            after => after.strip_prefix(',').ok_or_else(wrong)?.trim_start(),
        };
    }
    Ok(fields)
}

/// The length of the JSON string that a text begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    });
    end.map(|end| end + 2)
}

/// The text `parameters` among the chunks of a PNG before its pixels.
fn text_of(bytes: &[u8]) -> Result<String, String> {
    let mut rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n").ok_or("it is no PNG file")?;
    while let Some((chunk, after)) = next_chunk(rest) {
        let text = match chunk {
            Chunk { kind: b"IDAT" | b"IEND", .. } => break,
            Chunk { kind: b"tEXt", data } => latin1(data),
            Chunk { kind: b"iTXt", data } => international(data)?,
            Chunk { kind: b"zTXt", data } if data.starts_with(b"parameters\0") => {
                return Err("its text is compressed, which is not supported".into());
            }
            _ => None,
        };
        if let Some(text) = text {
            return Ok(text);
        }
        rest = after;
    }
    Err(format!("it has no text `{KEYWORD}` that tells how it was made"))
}

struct Chunk<'a> {
    kind: &'a [u8],
    data: &'a [u8],
}

/// A chunk is its length, its kind, its data and a checksum.
fn next_chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let length = u32::from_be_bytes(*length) as usize;
    let (kind, rest) = rest.split_at_checked(4)?;
    let (data, rest) = rest.split_at_checked(length)?;
    Some((Chunk { kind, data }, rest.get(4..)?))
}

/// The text after the keyword of a `tEXt` chunk.
fn latin1(data: &[u8]) -> Option<String> {
    let text = data.strip_prefix(KEYWORD.as_bytes())?.strip_prefix(b"\0")?;
    (text.len() <= LONGEST).then(|| text.iter().map(|byte| char::from(*byte)).collect())
}

/// The text of an `iTXt` chunk: after the keyword come whether it is compressed, how, a language and a
/// translated keyword.
fn international(data: &[u8]) -> Result<Option<String>, String> {
    let Some(rest) = data.strip_prefix(KEYWORD.as_bytes()).and_then(|d| d.strip_prefix(b"\0"))
    else {
        return Ok(None);
    };
    let broken = || "its text is damaged".to_string();
    let (compressed, rest) = rest.split_first().ok_or_else(broken)?;
    if *compressed != 0 {
        return Err("its text is compressed, which is not supported".into());
    }
    let text = rest.get(1..).and_then(after_zero).and_then(after_zero).ok_or_else(broken)?;
    if text.len() > LONGEST {
        return Err(format!("its text has more than {LONGEST} bytes"));
    }
    String::from_utf8(text.to_vec()).map(Some).map_err(|_| broken())
}

fn after_zero(bytes: &[u8]) -> Option<&[u8]> {
    bytes.iter().position(|byte| *byte == 0).map(|end| &bytes[end + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(prompt: &str, negative: &str, fields: &[(&str, &str)]) -> Parameters {
        let fields = fields.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Parameters { prompt: prompt.into(), negative: negative.into(), fields: fields.collect() }
    }

    fn png(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| {
            [&(data.len() as u32).to_be_bytes(), kind, data, &[0; 4]].concat()
        };
        let header = b"\x89PNG\r\n\x1a\n".to_vec();
        [header, chunk(b"IHDR", &[0; 13]), chunk(kind, data), chunk(b"IDAT", b"x")].concat()
    }

    #[test]
    fn what_is_written_is_read() {
        let values = [
            ("Steps", "25"),
            ("Concepts", "dog6=0.5, mug=1"),
            ("Region", "0,0,8,8:a \"mug\"\nand \\ more"),
            ("Region", "8,0,16,8:a dog"),
            ("Bank", ""),
            ("Name", " padded "),
            ("Model hash", "12ab"),
        ];
        for (prompt, negative) in
            [("a dog", ""), ("two\nlines, (x:1.2)", "ugly\nand bad"), ("", "x")]
        {
            let written = parameters(prompt, negative, &values);
            assert_eq!(Parameters::parse(&written.to_string()), Ok(written));
        }
    }

    /// As A1111's web interface 1.10 writes it: without a negative prompt if there is none.
    #[test]
    fn text_of_other_programs() {
        let text = "a dog\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, \
                    Size: 512x512, Lora hashes: \"a: 1, b: 2\", Version: v1.10.1";
        let read = Parameters::parse(text).unwrap();
        assert_eq!((read.prompt.as_str(), read.negative.as_str()), ("a dog", ""));
        assert_eq!(read.get("Sampler"), Ok(Some("DPM++ 2M")));
        assert_eq!(read.get("Lora hashes"), Ok(Some("a: 1, b: 2")));
        assert_eq!(read.get("Clip skip"), Ok(None));
    }

    #[test]
    fn texts_that_are_none_are_refused() {
        for (text, reason) in [
            ("", "single line"),
            ("Steps: 1", "single line"),
            ("a dog\nof some kind", "no setting `Name: value` at `of some kind`"),
            ("a dog\nSeed: 1", "no `Steps`"),
            ("a dog\nSteps: 1, \"x\"", "no setting"),
            ("a dog\nSteps: \"1", "no setting"),
            ("a dog\nSteps: \"1\" 2", "no setting"),
            ("a\nNegative prompt: b\nNegative prompt: c\nSteps: 1", "several lines"),
        ] {
            let error = Parameters::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let twice = Parameters::parse("a dog\nSteps: 1, Seed: 1, Seed: 2").unwrap();
        assert!(twice.get("Seed").unwrap_err().contains("several values for `Seed`"));
        assert_eq!(twice.all("Seed").collect::<Vec<_>>(), ["1", "2"]);
    }

    #[test]
    fn texts_of_png_files() {
        assert_eq!(text_of(&png(b"tEXt", b"parameters\0caf\xe9")), Ok("café".into()));
        let utf8 = ["parameters\0\0\0\0\0café".as_bytes(), b""].concat();
        assert_eq!(text_of(&png(b"iTXt", &utf8)), Ok("café".into()));
        for (bytes, reason) in [
            (b"GIF89a".to_vec(), "no PNG"),
            (png(b"tEXt", b"workflow\0{}"), "no text `parameters`"),
            (png(b"iTXt", b"parameters\0\x01\0\0\0x"), "compressed"),
            (png(b"zTXt", b"parameters\0\0x"), "compressed"),
            (png(b"iTXt", b"parameters\0"), "damaged"),
            (png(b"iTXt", b"parameters\0\0\0\0\0\xff"), "damaged"),
            (png(b"IDAT", b"")[..40].to_vec(), "no text `parameters`"),
        ] {
            let error = text_of(&bytes).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        let mut long = b"parameters\0\0\0\0\0".to_vec();
        long.resize(LONGEST + 100, b'x');
        assert!(text_of(&png(b"iTXt", &long)).unwrap_err().contains("more than 1048576 bytes"));
    }
}
