//! How one input stands for several files.

/// A file's name and content.
pub type File = (String, Vec<u8>);

/// The files in an input, by the number of their name. A file follows a line `==> NAME <==`, as `head`
/// prints several files, and ends before the newline of the next such line. Lines with other names are
/// content. What comes before the first of them is the first file.
pub fn sections<'a>(input: &'a [u8], files: &[File]) -> Vec<(usize, &'a [u8])> {
    let mut sections: Vec<(usize, &[u8])> = Vec::new();
    let (mut file, mut start, mut line) = (0, 0, 0);
    while line < input.len() {
        let end = input[line..].iter().position(|byte| *byte == b'\n').map(|length| line + length);
        let next = end.map_or(input.len(), |end| end + 1);
        if let Some(named) = name(&input[line..end.unwrap_or(input.len())], files) {
            if line > 0 {
                sections.push((file, &input[start..(line - 1).max(start)]));
            }
            (file, start) = (named, next);
        }
        line = next;
    }
    sections.push((file, &input[start..]));
    sections
}

/// The line that begins a file.
pub fn heading(name: &str) -> String {
    format!("==> {name} <==\n")
}

/// The number of the file that a line begins.
fn name(line: &[u8], files: &[File]) -> Option<usize> {
    let name = line.strip_prefix(b"==> ")?.strip_suffix(b" <==")?;
    files.iter().position(|(known, _)| known.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_one_file_or_several() {
        let files = ["a", "b"].map(|name| (name.to_string(), Vec::new()));
        let read = |input: &'static str| -> Vec<(usize, &str)> {
            let text = |(file, content)| (file, str::from_utf8(content).unwrap());
            sections(input.as_bytes(), &files).into_iter().map(text).collect()
        };
        assert_eq!(read(""), [(0, "")]);
        assert_eq!(read("1\n2\n"), [(0, "1\n2\n")]);
        assert_eq!(read("==> b <==\n1\n"), [(1, "1\n")]);
        assert_eq!(read("0\n==> b <==\n1\n\n==> a <==\n"), [(0, "0"), (1, "1\n"), (0, "")]);
        assert_eq!(read("==> b <==\n==> a <==\n2"), [(1, ""), (0, "2")]);
        assert_eq!(read("==> c <==\n==> b <=="), [(0, "==> c <=="), (1, "")]);
    }
}
