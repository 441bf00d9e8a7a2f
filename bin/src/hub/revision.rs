//! A version of a model on a hub.

use std::str::FromStr;

/// A branch, a tag or a commit. Its name is safe as a path: relative, and without `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision(String);

impl Revision {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The commit, if the name is one.
    pub fn commit(&self) -> Option<&str> {
        Some(self.name()).filter(|name| is_commit(name))
    }

    /// The name as one part of a URL's path, where `refs/pr/1` is written `refs%2Fpr%2F1`.
    pub fn in_url(&self) -> String {
        self.0.replace('/', "%2F")
    }
}

impl Default for Revision {
    fn default() -> Self {
        Self("main".into())
    }
}

impl FromStr for Revision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_part =
            |part: &str| !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed);
        match name.split('/').all(is_part) {
            true => Ok(Self(name.into())),
            false => Err(format!("`{name}` is no name of a branch, a tag or a commit")),
        }
    }
}

/// Whether a text is the name of a commit: 40 hexadecimal digits.
pub fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.chars().all(|c| c.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_none() {
        for name in
            ["main", "fp16", "v1.5", "refs/pr/12", "0123456789abcdef0123456789abcdef01234567"]
        {
            assert_eq!(name.parse::<Revision>().unwrap().name(), name);
        }
        for name in ["", "..", "../main", "/main", "a//b", "a/../b", "a\\b", "a b", "a?b", "refs/"]
        {
            assert!(name.parse::<Revision>().is_err(), "{name}");
        }
        assert_eq!("refs/pr/1".parse::<Revision>().unwrap().in_url(), "refs%2Fpr%2F1");
    }
}
