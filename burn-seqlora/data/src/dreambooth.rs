//! `prompts_and_classes.txt` of the google/dreambooth data set.

use std::path::Path;

use seqlora_files::read_text;

use super::error::DataError;

/// Subjects, their classes and the evaluation prompts of the DreamBooth data set.
///
/// The file has a format of its own: a `subject_name,class` table, followed by two lists of lines such
/// as `'a {0} {1} in the snow'.format(unique_token, class_token),`.
///
/// Source: <https://github.com/google/dreambooth>.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DreamBoothIndex {
    /// Pairs of a subject's folder and its class word, in the order of the file.
    pub classes: Vec<(String, String)>,
    /// Evaluation prompts for objects, each with one `{}`.
    pub object_prompts: Vec<String>,
    /// Evaluation prompts for animals, each with one `{}`.
    pub live_prompts: Vec<String>,
}

impl DreamBoothIndex {
    /// Name of the file.
    pub const FILE_NAME: &str = "prompts_and_classes.txt";

    /// Text files that are part of the data set, so they are not reported as skipped.
    pub(crate) const COMPANIONS: [&str; 2] = [Self::FILE_NAME, "references_and_licenses.txt"];

    /// Reads the index of the data set in `folder`.
    ///
    /// # Errors
    /// If the file cannot be read or has no `subject_name,class` table.
    pub fn read(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(Self::FILE_NAME);
        let text = read_text(&path)?;
        let index = Self::parse(&text);
        if index.classes.is_empty() {
            let reason = "the table is missing or empty; expected lines like `dog6,dog` below it";
            return Err(DataError::manifest(&path, "subject_name,class", reason));
        }
        Ok(index)
    }

    /// The class word of a subject folder.
    pub fn class(&self, subject: &str) -> Option<&str> {
        let entry = self.classes.iter().find(|(name, _)| name == subject);
        entry.map(|(_, class)| class.as_str())
    }

    fn parse(text: &str) -> Self {
        let mut index = Self::default();
        let (mut in_table, mut live) = (false, false);
        for line in text.lines().map(str::trim) {
            if let Some(prompt) = prompt(line) {
                let list = if live { &mut index.live_prompts } else { &mut index.object_prompts };
                list.push(prompt);
            } else if line == "subject_name,class" {
                in_table = true;
            } else if let (true, Some((subject, class))) = (in_table, line.split_once(',')) {
                index.classes.push((subject.trim().into(), class.trim().into()));
            } else {
                // A heading or a blank line ends the table.
                in_table = false;
                live |= line.starts_with("Live");
            }
        }
        index
    }
}

/// The prompt in `'a {0} {1} in the snow'.format(...)`, in which `{}` replaces both the token and the
/// class word.
fn prompt(line: &str) -> Option<String> {
    let (text, _) = line.strip_prefix('\'')?.split_once("'.format(")?;
    text.contains("{0} {1}").then(|| text.replacen("{0} {1}", "{}", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_table_and_both_prompt_lists() {
        let index = DreamBoothIndex::parse(
            "Classes\n\nsubject_name,class\ndog6,dog\nwolf_plushie,stuffed animal\n\nPrompts\n\n\
             Object Prompts\n\nprompt_list = [\n\
             'a {0} {1} on a rug'.format(unique_token, class_token),\n\
             'a red {0} {1}'.format(unique_token, class_token)\n]\n\n\
             Live Subject Prompts\n\nprompt_list = [\n\
             'a {0} {1} in a hat'.format(unique_token, class_token)\n]\n",
        );
        assert_eq!(index.class("wolf_plushie"), Some("stuffed animal"));
        assert_eq!(index.classes.len(), 2);
        assert_eq!(index.object_prompts, ["a {} on a rug", "a red {}"]);
        assert_eq!(index.live_prompts, ["a {} in a hat"]);
    }
}
