//! Where weights are looked for.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Weights that one or several metrics need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Its name in [`Places::weights`].
    pub key: &'static str,
    /// The repositories or folders that hold it, the first one by default.
    pub names: &'static [&'static str],
    /// The file inside, if it is not the whole folder.
    pub file: Option<&'static str>,
}

/// Where weights are looked for: by name, then in folders, of which the first one counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Places {
    /// The folder or file of a source, by its key.
    pub weights: BTreeMap<String, PathBuf>,
    /// Folders of repositories, by the repository's name (`dino-vits16` or `facebook/dino-vits16`), or
    /// Hugging Face's cache.
    pub folders: Vec<PathBuf>,
}

impl Places {
    /// The folders that the environment names: those in `SEQLORA_METRICS`, then the cache of Hugging
    /// Face, where its own programs would look for it.
    pub fn from_environment() -> Self {
        let own = env::var_os("SEQLORA_METRICS");
        let mut folders: Vec<PathBuf> =
            own.iter().flat_map(env::split_paths).filter(|path| path.as_os_str() != "").collect();
        let folder = |variable: &str, inside: &str| {
            let value = env::var_os(variable).filter(|value| !value.is_empty())?;
            Some(Path::new(&value).join(inside))
        };
        let cache = folder("HF_HUB_CACHE", "")
            .or_else(|| folder("HF_HOME", "hub"))
            .or_else(|| folder("HOME", ".cache/huggingface/hub"));
        folders.extend(cache);
        Self { weights: BTreeMap::new(), folders }
    }

    /// The folder or file of a source, if it is there.
    pub fn find(&self, source: &Source) -> Option<PathBuf> {
        self.candidates(source).into_iter().find(|path| path.exists())
    }

    /// What says that a source is missing: its name, and where it was looked for.
    pub fn missing(&self, source: &Source) -> String {
        let Source { key, names, file } = source;
        let what = match file {
            Some(file) => format!("{file} of {}", names.join(" or ")),
            None => names.join(" or "),
        };
        let folders: Vec<String> =
            self.folders.iter().map(|folder| folder.display().to_string()).collect();
        let places = match folders.is_empty() {
            true => "no folder to look in is known".to_string(),
            false => format!("looked in {}", folders.join(" and ")),
        };
        match self.weights.get(*key) {
            Some(path) => format!("weights missing: there is no {} (`{key}`)", path.display()),
            None => format!("weights missing: {what} (`{key}`); {places}"),
        }
    }

    fn candidates(&self, source: &Source) -> Vec<PathBuf> {
        if let Some(path) = self.weights.get(source.key) {
            // The folder of a repository, or the file itself.
            let inside = source.file.map(|file| path.join(file));
            return inside.into_iter().chain([path.clone()]).collect();
        }
        let mut found = Vec::new();
        for folder in &self.folders {
            for name in source.names {
                let last = name.rsplit('/').next().unwrap_or(name);
                let places = [folder.join(name), folder.join(last)];
                for place in places.into_iter().chain(snapshot(folder, name)) {
                    found.push(source.file.map_or(place.clone(), |file| place.join(file)));
                }
            }
            // A single file may lie beside the folders.
            found.extend(source.file.map(|file| folder.join(file)));
        }
        found
    }
}

/// The newest copy of a repository in Hugging Face's cache: the commit that `refs/main` names.
fn snapshot(cache: &Path, name: &str) -> Option<PathBuf> {
    let folder = cache.join(format!("models--{}", name.replace('/', "--")));
    let commit = fs::read_to_string(folder.join("refs/main")).ok()?;
    let commit = commit.trim();
    let is_commit = !commit.is_empty() && commit.chars().all(|c| c.is_ascii_alphanumeric());
    is_commit.then(|| folder.join("snapshots").join(commit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DINO: Source =
        Source { key: "dino", names: &["facebook/dino-vits16", "dino.other"], file: None };
    const HPS: Source = Source { key: "hps", names: &["xswu/HPSv2"], file: Some("a.pt") };

    #[test]
    fn sources_are_found_by_key_name_and_in_the_cache() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let places = |folder: &str| Places { folders: vec![path(folder)], ..Places::default() };
        assert_eq!(places("one").find(&DINO), None);
        fs::create_dir_all(path("one/dino-vits16")).unwrap();
        assert_eq!(places("one").find(&DINO), Some(path("one/dino-vits16")));

        let repository = "cache/models--facebook--dino-vits16";
        fs::create_dir_all(path(&format!("{repository}/refs"))).unwrap();
        fs::create_dir_all(path(&format!("{repository}/snapshots/abc12"))).unwrap();
        fs::write(path(&format!("{repository}/refs/main")), "abc12\n").unwrap();
        let expected = path(&format!("{repository}/snapshots/abc12"));
        assert_eq!(places("cache").find(&DINO), Some(expected));
        fs::write(path(&format!("{repository}/refs/main")), "../../../../etc").unwrap();
        assert_eq!(places("cache").find(&DINO), None);

        fs::create_dir_all(path("two/HPSv2")).unwrap();
        assert_eq!(places("two").find(&HPS), None, "the file counts, not its folder");
        fs::write(path("two/a.pt"), "").unwrap();
        assert_eq!(places("two").find(&HPS), Some(path("two/a.pt")));
        let named = |place: &str| {
            let weights = BTreeMap::from([("hps".to_string(), path(place))]);
            Places { weights, ..places("one") }
        };
        assert_eq!(named("two/a.pt").find(&HPS), Some(path("two/a.pt")));
        assert_eq!(named("two").find(&HPS), Some(path("two/a.pt")));
        assert!(named("three").missing(&HPS).contains("three"));
        let missing = places("one").missing(&HPS);
        assert!(missing.contains("a.pt of xswu/HPSv2") && missing.contains("one"), "{missing}");
    }
}
