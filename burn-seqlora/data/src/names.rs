//! Concept ids and class words from folder names.

use seqlora_core::bank::is_concept_id;

use super::error::DataError;

/// Made-up identifiers that tutorials put before the class word ("sks dog").
const INSTANCE_TOKENS: [&str; 6] = ["sks", "ohwx", "zwx", "zwc", "shs", "tok"];

/// Folder names that say nothing about the subject.
const GENERIC: [&str; 23] = [
    "concept",
    "data",
    "dataset",
    "dir",
    "folder",
    "image",
    "images",
    "img",
    "imgs",
    "input",
    "inputs",
    "instance",
    "instances",
    "photo",
    "photos",
    "pic",
    "pics",
    "picture",
    "pictures",
    "subject",
    "train",
    "training",
    "untitled",
];

/// Turns a folder name into an id: every run of characters outside `[A-Za-z0-9._-]` becomes one `-`,
/// and leading and trailing punctuation is removed. The result may be empty.
pub(crate) fn slug(name: &str) -> String {
    let is_id = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.split(|c| !is_id(c))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("-")
        .trim_matches(['.', '_', '-'])
        .to_string()
}

/// Checks that `id` can name a folder of the bank on every system.
///
/// # Errors
/// [`DataError::InvalidId`], which names `origin`.
pub(crate) fn check_id(id: &str, origin: &str) -> Result<(), DataError> {
    if is_concept_id(id) {
        return Ok(());
    }
    Err(DataError::InvalidId { id: id.to_string(), origin: origin.to_string() })
}

/// The class word in a folder name: "dog" for `dog6`, "bear plushie" for `bear_plushie` and "dog" for
/// `10_sks dog`. `None` if no meaningful word is left, as for `01` or `images`.
pub(crate) fn class_word(name: &str) -> Option<String> {
    let mut words: Vec<&str> =
        name.split(['_', '-', '.', ' ']).filter(|word| !word.is_empty()).collect();
    let number = |word: &&str| word.chars().all(|c| c.is_ascii_digit());
    while words.first().is_some_and(number) {
        words.remove(0);
    }
    while words.last().is_some_and(number) {
        words.pop();
    }
    let made_up = |word: &&str| {
        let bare = word.trim_matches(['<', '>']);
        bare.len() < word.len() || INSTANCE_TOKENS.contains(&bare.to_ascii_lowercase().as_str())
    };
    if words.first().is_some_and(made_up) {
        words.remove(0);
    }
    let last = words.pop()?.trim_end_matches(|c: char| c.is_ascii_digit());
    words.push(last);
    let class = words.join(" ");
    let meaningful = !class.is_empty() && !GENERIC.contains(&class.to_ascii_lowercase().as_str());
    meaningful.then_some(class)
}

/// A kohya folder name `<repeats>_<name> <class>`, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Kohya<'a> {
    /// How often the folder's images come in an epoch.
    pub(crate) repeats: usize,
    /// The name and the class: "sks dog".
    pub(crate) prompt: &'a str,
}

impl<'a> Kohya<'a> {
    /// `None` if the name is not of this form.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (repeats, prompt) = name.split_once('_')?;
        let repeats = repeats.parse().ok().filter(|&n| n > 0)?;
        let prompt = prompt.trim();
        (!prompt.is_empty()).then_some(Self { repeats, prompt })
    }

    /// The class word: all words after the first, which is the concept's name in kohya's scripts; a
    /// single word is the class itself.
    pub(crate) fn class_word(&self) -> Option<String> {
        class_word(self.prompt.split_once(' ').map_or(self.prompt, |(_, class)| class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_words_follow_the_folder_name() {
        let cases = [
            ("dog6", Some("dog")),
            ("bear_plushie", Some("bear plushie")),
            ("red_cartoon", Some("red cartoon")),
            ("10_sks dog", Some("dog")),
            ("<new1> kids table-2", Some("kids table")),
            ("3d_printer", Some("3d printer")),
            ("images", None),
            ("train_01", None),
            ("ohwx", None),
            ("2024_05", None),
        ];
        for (name, expected) in cases {
            assert_eq!(class_word(name).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn ids_are_safe_folder_names() {
        assert_eq!(slug("My dog (2)!"), "My-dog-2");
        assert_eq!(slug("../évil"), "vil");
        assert_eq!(slug("子犬"), "");
        assert!(check_id("bear_plushie-2.1", "x").is_ok());
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "-rf", "dog.", &"a".repeat(101)] {
            assert!(check_id(bad, "x").is_err(), "{bad}");
        }
    }

    #[test]
    fn kohya_names_need_a_count_and_a_class() {
        let parsed = |name| {
            let kohya = Kohya::parse(name)?;
            Some((kohya.repeats, kohya.prompt.to_string(), kohya.class_word()?))
        };
        let expected =
            |repeats, prompt: &str, class: &str| Some((repeats, prompt.into(), class.into()));
        assert_eq!(parsed("10_sks dog"), expected(10, "sks dog", "dog"));
        assert_eq!(parsed("10_dog6 dog"), expected(10, "dog6 dog", "dog"));
        assert_eq!(
            parsed("4_rex stuffed animal"),
            expected(4, "rex stuffed animal", "stuffed animal")
        );
        assert_eq!(parsed("5_wolf_plushie"), expected(5, "wolf_plushie", "wolf plushie"));
        assert_eq!(parsed("5_dog6"), expected(5, "dog6", "dog"));
        for other in ["dog6", "10", "10_", "0_dog", "x_dog"] {
            assert_eq!(Kohya::parse(other), None, "{other}");
        }
    }
}
