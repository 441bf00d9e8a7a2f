//! The files of a diffusers model, in a folder or in the listing of a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use seqlora_files::{parse_object, printable, read_bytes};
use serde::Deserialize;

use super::ModelError;

/// The safetensors files of one component.
#[derive(Debug, Clone)]
pub struct WeightFiles {
    /// The component's folder, or the single file.
    pub folder: PathBuf,
    /// One file, or all shards.
    pub shards: Vec<PathBuf>,
}

/// The parts of a model that have weights.
pub const COMPONENTS: [&str; 3] = ["unet", "text_encoder", "vae"];

/// Which weights are used where a model has several copies of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Variant {
    /// Those in full precision, or those of the variant `fp16` if there are no others.
    #[default]
    Any,
    /// Those of the variant `fp16`: half the size, rounded to half precision.
    Fp16,
}

impl Variant {
    /// The names that are looked for; the first that exists is used.
    fn names(self) -> &'static [Name] {
        match self {
            Self::Any => &NAMES,
            Self::Fp16 => &NAMES[2..],
        }
    }
}

/// A name under which diffusers or transformers write weights.
#[derive(Debug, Clone, Copy)]
struct Name {
    stem: &'static str,
    fp16: bool,
}

const NAMES: [Name; 4] = [
    Name { stem: "diffusion_pytorch_model", fp16: false },
    Name { stem: "model", fp16: false },
    Name { stem: "diffusion_pytorch_model", fp16: true },
    Name { stem: "model", fp16: true },
];

impl Name {
    /// The name of a file with all weights.
    fn single(self) -> String {
        format!("{}{}.safetensors", self.stem, if self.fp16 { ".fp16" } else { "" })
    }

    /// The names of a list of shards.
    fn indices(self) -> Vec<String> {
        let stem = self.stem;
        match self.fp16 {
            true => vec![
                format!("{stem}.safetensors.index.fp16.json"),
                format!("{stem}.fp16.safetensors.index.json"),
            ],
            false => vec![format!("{stem}.safetensors.index.json")],
        }
    }

    /// The number of shards that the name of one of them tells, such as
    /// `model.fp16-00001-of-00002.safetensors`; `None` if it is not a shard's.
    fn shards(self, file: &str) -> Option<usize> {
        let rest = file.strip_prefix(self.stem)?.strip_suffix(".safetensors")?;
        let numbers = match self.fp16 {
            true => rest.strip_prefix(".fp16").or_else(|| rest.strip_suffix(".fp16"))?,
            false => rest,
        };
        let (number, count) = numbers.strip_prefix('-')?.split_once("-of-")?;
        // A listing is a stranger's, and the name becomes a path.
        let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
        if is_number(number) && is_number(count) { count.parse().ok() } else { None }
    }
}

/// The files of a tokenizer folder, of which only the vocabulary is required.
pub const TOKENIZER: [&str; 6] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.json",
    "merges.txt",
    "vocab.json",
];

/// The files that a model is loaded from, among all `files` of a repository (paths with `/`).
///
/// Weights come last, so a copy that has its weights has all small files too.
///
/// # Errors
/// [`ModelError::Incomplete`], which names the first file that is missing.
pub fn needed_files<'a>(files: &[&'a str], variant: Variant) -> Result<Vec<&'a str>, ModelError> {
    let find = |name: &str| files.iter().copied().find(|file| *file == name);
    let one = |name: String| find(&name).ok_or(ModelError::Incomplete { missing: name });
    let mut needed = vec![one("scheduler/scheduler_config.json".into())?];
    for component in COMPONENTS {
        needed.push(one(format!("{component}/config.json"))?);
    }
    needed.extend(TOKENIZER.iter().filter_map(|name| find(&format!("tokenizer/{name}"))));
    if find("tokenizer/tokenizer.json").is_none() {
        one("tokenizer/vocab.json".into())?;
        one("tokenizer/merges.txt".into())?;
    }
    for component in COMPONENTS {
        let inside = |file: &'a str| file.strip_prefix(component)?.strip_prefix('/');
        let sharded = |name: &Name| {
            let indices = name.indices().into_iter();
            let index = indices.filter_map(|index| find(&format!("{component}/{index}"))).next()?;
            let count = |file: &&'a str| name.shards(inside(file)?);
            let mut shards: Vec<&str> =
                files.iter().copied().filter(|file| count(file).is_some()).collect();
            let complete = shards.first().and_then(count) == Some(shards.len());
            shards.push(index);
            complete.then_some(shards)
        };
        let single = |name: &Name| find(&format!("{component}/{}", name.single())).map(|f| vec![f]);
        let names = variant.names();
        let weights = names.iter().find_map(|name| single(name).or_else(|| sharded(name)));
        needed.extend(weights.ok_or_else(|| ModelError::Incomplete {
            missing: format!("{component}/{}", names[0].single()),
        })?);
    }
    Ok(needed)
}

impl WeightFiles {
    /// Finds a component's weights, in full precision if they are there.
    ///
    /// # Errors
    /// Those of [`find_variant`](Self::find_variant).
    pub fn find(folder: &Path) -> Result<Self, ModelError> {
        Self::find_variant(folder, Variant::Any)
    }

    /// Finds a component's weights: one file, or the shards that an index lists.
    ///
    /// # Errors
    /// If there are no weights, or the index is damaged, names something that is no weight file beside
    /// it, or a missing one.
    pub fn find_variant(folder: &Path, variant: Variant) -> Result<Self, ModelError> {
        for name in variant.names() {
            let single = folder.join(name.single());
            if single.is_file() {
                return Ok(Self { folder: folder.into(), shards: vec![single] });
            }
            let indices = name.indices().into_iter().map(|index| folder.join(index));
            if let Some(index) = indices.into_iter().find(|index| index.is_file()) {
                return Ok(Self { folder: folder.into(), shards: shards(folder, &index)? });
            }
        }
        let names = variant.names();
        let has =
            |end: &str| NAMES.iter().any(|name| folder.join(name.stem.to_string() + end).is_file());
        Err(ModelError::NoWeights {
            folder: folder.into(),
            expected: format!("{} or {}", names[0].single(), names[1].single()),
            hint: match (has(".bin"), has(".safetensors")) {
                (_, true) => "; its weights are there in full precision only",
                (true, _) => "; a .bin file is there; save the model as safetensors first",
                _ => "",
            },
        })
    }
}

/// The largest list of shards that is read. That of Stable Diffusion's UNet has 60 kB.
const INDEX_LIMIT: u64 = 4 << 20;

/// `….safetensors.index.json`: the file of each weight.
#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    weight_map: BTreeMap<String, String>,
}

/// The shards that an index lists, which are files beside it.
fn shards(folder: &Path, path: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let wrong = |reason: String| ModelError::config(path, reason);
    let text = String::from_utf8(read_bytes(path, INDEX_LIMIT)?);
    let text = text.map_err(|_| wrong("it is not UTF-8".into()))?;
    let index: Index = parse_object(&text).map_err(wrong)?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    if names.is_empty() {
        return Err(wrong("`weight_map` is missing or empty".into()));
    }
    if let Some(name) = names.iter().find(|name| !is_plain_name(name)) {
        let name = printable(name);
        return Err(wrong(format!(
            "it lists `{name}`, which is not the name of a .safetensors file beside it"
        )));
    }
    let files: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    match files.iter().find(|file| !file.is_file()) {
        Some(file) => Err(wrong(format!("it lists {}, which is not there", file.display()))),
        None => Ok(files),
    }
}

/// Whether a name is that of a weight file in the same folder, on every system: Windows takes `\` and
/// `:` for parts of a path.
fn is_plain_name(name: &str) -> bool {
    name.ends_with(".safetensors") && !name.contains(|c: char| "/\\:".contains(c) || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files of a typical repository, including some that are not needed.
    const REPOSITORY: [&str; 18] = [
        "README.md",
        "model_index.json",
        "safety_checker/model.safetensors",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.fp16.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model-00001-of-00002.safetensors",
        "unet/diffusion_pytorch_model-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "v1-5-pruned.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ];

    #[test]
    fn only_what_a_model_is_loaded_from_is_needed() {
        let needed = needed_files(&REPOSITORY, Variant::Any).unwrap();
        let left: Vec<_> = REPOSITORY.iter().filter(|file| !needed.contains(file)).collect();
        let others = ["README.md", "model_index.json", "safety_checker/model.safetensors"];
        let weights = ["text_encoder/model.fp16.safetensors", "v1-5-pruned.safetensors"];
        assert_eq!(left.into_iter().copied().collect::<Vec<_>>(), [&others[..], &weights].concat());
        let first_weight = needed.iter().position(|file| file.contains(".safetensors")).unwrap();
        assert!(needed[first_weight..].iter().all(|file| file.contains(".safetensors")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let cases = [
            ("unet/config.json", "unet/config.json"),
            ("tokenizer/merges.txt", "tokenizer/merges.txt"),
            ("vae/diffusion_pytorch_model.fp16.safetensors", "vae/diffusion_pytorch_model.saf"),
            ("unet/diffusion_pytorch_model.safetensors.index.json", "unet/diffusion_pytorch_model"),
        ];
        for (absent, expected) in cases {
            let files: Vec<_> = REPOSITORY.into_iter().filter(|file| *file != absent).collect();
            let error = needed_files(&files, Variant::Any).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// The names under which diffusers and transformers write the shards of a variant.
    #[test]
    fn a_variant_is_found_by_any_of_its_names() {
        let single = "vae/diffusion_pytorch_model.fp16.safetensors";
        for (index, shard) in [
            ("safetensors.index.fp16.json", "diffusion_pytorch_model.fp16-0000N-of-00002"),
            ("fp16.safetensors.index.json", "diffusion_pytorch_model-0000N-of-00002.fp16"),
        ] {
            let index = format!("unet/diffusion_pytorch_model.{index}");
            let shards = ["1", "2"].map(|n| format!("unet/{}.safetensors", shard.replace('N', n)));
            let mut files = REPOSITORY.to_vec();
            files.extend([&index[..], &shards[0], &shards[1]]);
            let needed = needed_files(&files, Variant::Fp16).unwrap();
            for file in [&index[..], &shards[0], &shards[1], single] {
                assert!(needed.contains(&file), "{file}: {needed:?}");
            }
            assert!(!needed.contains(&"unet/diffusion_pytorch_model.safetensors.index.json"));
            let last = files.pop().map(|shard| shard.replace("0000", "/../0000"));
            files.extend(last.as_deref());
            let error = needed_files(&files, Variant::Fp16).unwrap_err().to_string();
            assert!(error.contains("unet/diffusion_pytorch_model.fp16.safetensors"), "{error}");
        }
    }

    /// No name in an index leads out of its folder, on any system.
    #[test]
    fn shards_are_files_beside_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join("model.safetensors.index.json");
        let names = [
            ("../a.safetensors", "`../a.safetensors`"),
            ("\\..\\a.safetensors", "`\\..\\a.safetensors`"),
            ("C:a.safetensors", "`C:a.safetensors`"),
            ("/etc/passwd", "`/etc/passwd`"),
            ("a.safetensors", "which is not there"),
        ];
        for (name, expected) in names {
            let map = serde_json::json!({"weight_map": {"weight": name}});
            std::fs::write(&index, map.to_string()).unwrap();
            let error = WeightFiles::find(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
