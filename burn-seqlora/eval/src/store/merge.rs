//! Taking over what another folder of the same run holds.

use std::fs;
use std::path::{Path, PathBuf};

use seqlora_files::{FileError, GuardedFolder, read_bytes};

use super::images::IMAGE_LIMIT;
use super::scores::SCORES_LIMIT;
use super::{RunFolder, RunRecord, StoreError};

/// What was taken over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// Files that were not there before.
    pub new: usize,
    /// Files that both had.
    pub equal: usize,
}

/// Files of a run at most.
const MOST_FILES: usize = 50_000_000;

impl RunFolder {
    /// Copies the images and scores that this folder lacks from another one of the same run. Nothing is copied
    /// if any file differs.
    ///
    /// # Errors
    /// If the other folder holds another run or a file under a name that no run has, if files of both differ,
    /// or a file cannot be read or written.
    pub fn merge(&self, other: &Path, record: &RunRecord) -> Result<Merged, StoreError> {
        let from = RunFolder::existing(other, record)?;
        let files = files(from.guarded())?;
        let (mut new, mut equal, mut conflicts) = (Vec::new(), 0, Vec::new());
        for (file, limit) in files {
            let own = self.guarded().check(&file)?;
            if !own.exists() {
                new.push((file, limit));
                continue;
            }
            let theirs = read_bytes(&from.guarded().check(&file)?, limit)?;
            match read_bytes(&own, limit)? == theirs {
                true => equal += 1,
                false => conflicts.push(file),
            }
        }
        if let Some(first) = conflicts.first() {
            return Err(StoreError::Conflict {
                own: self.path().into(),
                other: other.into(),
                first: first.display().to_string(),
                count: conflicts.len(),
            });
        }
        for (file, limit) in &new {
            self.add(file, &read_bytes(&from.guarded().check(file)?, *limit)?)?;
        }
        Ok(Merged { new: new.len(), equal })
    }
}

/// The images and scores of a folder in the order of their names, each with the limit of its kind.
fn files(folder: &GuardedFolder) -> Result<Vec<(PathBuf, u64)>, StoreError> {
    let mut files = Vec::new();
    for (kind, is_folder, endings, limit) in [
        ("images", is_start as fn(&str) -> bool, &[".png", ".failed"][..], IMAGE_LIMIT),
        ("scores", is_metric as fn(&str) -> bool, &[".jsonl"][..], SCORES_LIMIT),
    ] {
        for inner in names(folder, Path::new(kind))? {
            let path = Path::new(kind).join(&inner);
            check_name(folder, &path, is_folder(&inner))?;
            for name in names(folder, &path)? {
                let path = path.join(&name);
                let key = endings.iter().find_map(|ending| name.strip_suffix(ending));
                check_name(folder, &path, key.is_some_and(is_key))?;
                files.push((path, limit));
                if files.len() > MOST_FILES {
                    let reason = format!("more than {MOST_FILES} files");
                    return Err(FileError::damaged(folder.path())(reason).into());
                }
            }
        }
    }
    Ok(files)
}

/// The names in a folder, sorted, but for those of unfinished files; none if it is not there.
fn names(folder: &GuardedFolder, inside: &Path) -> Result<Vec<String>, StoreError> {
    let path = folder.check(inside)?;
    if !path.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(&path).map_err(FileError::io("cannot read", &path))?;
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(FileError::io("cannot read", &path))?.file_name();
        if !seqlora_files::is_temporary(&name) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn check_name(folder: &GuardedFolder, inside: &Path, good: bool) -> Result<(), StoreError> {
    match good {
        true => Ok(()),
        false => {
            let reason = "no evaluation writes a file of this name".to_string();
            Err(FileError::damaged(folder.path().join(inside))(reason).into())
        }
    }
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_key(text: &str) -> bool {
    text.len() == 64 && is_hexadecimal(text)
}

fn is_start(text: &str) -> bool {
    text.len() == 2 && is_hexadecimal(text)
}

fn is_metric(text: &str) -> bool {
    let safe = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    !text.starts_with('.') && text.len() <= 100 && text.chars().all(safe)
}

#[cfg(test)]
mod tests {
    use super::super::folder::tests::record;
    use super::*;

    fn key(start: &str) -> String {
        start.repeat(32)
    }

    fn runs(folder: &Path) -> [RunFolder; 2] {
        ["one", "two"].map(|name| RunFolder::open(&folder.join(name), &record()).unwrap())
    }

    #[test]
    fn a_union_is_made_of_what_agrees_and_nothing_of_what_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = runs(folder.path());
        one.add_image(&key("aa"), b"1").unwrap();
        two.add_image(&key("aa"), b"1").unwrap();
        two.add_failure(&key("bb"), "2").unwrap();
        two.add(Path::new("scores/dino-12345678").join(key("cc") + ".jsonl").as_path(), b"{}")
            .unwrap();
        assert_eq!(one.merge(two.path(), &record()).unwrap(), Merged { new: 2, equal: 1 });
        assert_eq!(one.merge(two.path(), &record()).unwrap(), Merged { new: 0, equal: 3 });

        two.add_image(&key("dd"), b"new").unwrap();
        one.add_image(&key("ee"), b"here").unwrap();
        two.add_image(&key("ee"), b"there").unwrap();
        let error = one.merge(two.path(), &record()).unwrap_err();
        assert!(matches!(error, StoreError::Conflict { count: 1, .. }), "{error}");
        assert!(error.to_string().contains(&key("ee")), "{error}");
        assert_eq!(one.state(&key("dd")).unwrap(), super::super::ImageState::Missing);

        let mut other = record();
        other.protocol.seeds = vec![9];
        let error = one.merge(two.path(), &other).unwrap_err();
        assert!(matches!(error, StoreError::Other { .. }), "{error}");
    }

    #[test]
    fn names_that_no_run_writes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["images/zz/x.png", "images/aa/short.png", "images/aa/notes", "scores/.hidden/x"]
        {
            let [one, two] = runs(&folder.path().join(bad.replace('/', "-")));
            let path = two.path().join(bad);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
            let error = one.merge(two.path(), &record()).unwrap_err().to_string();
            assert!(error.contains("no evaluation writes"), "{bad}: {error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_and_pipes_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, "secret").unwrap();
        let make = |name: &str| {
            let [one, two] = runs(&folder.path().join(name));
            fs::create_dir_all(two.path().join("images/aa")).unwrap();
            let file = two.path().join("images/aa").join(key("aa") + ".png");
            (one, two, file)
        };
        let (one, two, file) = make("link");
        std::os::unix::fs::symlink(&secret, file).unwrap();
        let error = one.merge(two.path(), &record()).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        let (one, two, file) = make("pipe");
        assert!(std::process::Command::new("mkfifo").arg(file).status().unwrap().success());
        let error = one.merge(two.path(), &record()).unwrap_err().to_string();
        assert!(error.contains("not a regular file"), "{error}");
    }
}
