//! The rules that keep the workspace readable: crates depend on each other in one direction, no
//! two files of a crate use each other, and no library names an option of the command line. Where
//! the method lives, few files read from a device: each read waits for it.

mod graph;
mod source;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use graph::Graph;
use serde_json::Value;
use source::Source;

/// All crates, lowest first: each may depend on those before it.
const ORDER: [&str; 15] = [
    "burn-jvp",
    "seqlora-kernels",
    "seqlora-files",
    "seqlora-core",
    "seqlora-data",
    "seqlora-eval",
    "seqlora-models",
    "seqlora-scorers",
    "seqlora-toy-world",
    "burn-seqlora",
    "seqlora",
    "seqlora-tests",
    "seqlora-fuzz",
    "seqlora-dry-cuda",
    "seqlora-benchmarks",
];

/// The crates that may name an option of the command line.
const PROGRAMS: [&str; 3] = ["seqlora", "seqlora-tests", "seqlora-benchmarks"];

/// The files that may read numbers from a device, in the crates that training runs through.
const READERS: [(&str, &[&str]); 4] = [
    ("burn-jvp", &["vector.rs"]),
    ("seqlora-kernels", &[]),
    ("seqlora-core", &["read.rs"]),
    ("seqlora-models", &["stable_diffusion/model.rs", "vit/model.rs", "weights/save.rs"]),
];

/// Burn's functions that do.
const READS: [&str; 11] = [
    "into_data",
    "into_data_async",
    "to_data",
    "to_data_async",
    "try_into_data",
    "into_scalar",
    "into_scalar_async",
    "try_into_scalar",
    "all_close",
    "argwhere",
    "nonzero",
];

/// A crate of the workspace, as `cargo metadata` describes it.
struct Package {
    name: String,
    root: PathBuf,
    dependencies: Vec<String>,
}

fn workspace() -> Vec<Package> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value| value.as_str().expect("a string").to_string();
    let package = |package: &Value| Package {
        name: text(&package["name"]),
        root: Path::new(&text(&package["manifest_path"])).parent().expect("a folder").into(),
        dependencies: package["dependencies"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    };
    metadata["packages"].as_array().expect("a list").iter().map(package).collect()
}

/// All Rust files below `folder/src`, with their paths relative to `src`.
fn sources(root: &Path) -> Vec<(PathBuf, Source)> {
    let src = root.join("src");
    let (mut folders, mut sources) = (vec![src.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = Source::parse(&fs::read_to_string(&path).expect("UTF-8 text"));
                sources.push((path.strip_prefix(&src).expect("below src").into(), source));
            }
        }
    }
    sources.sort_by_key(|(path, _): &(PathBuf, Source)| path.clone());
    sources
}

/// Dependencies for tests count too.
#[test]
fn crates_depend_on_those_before_them_only() {
    let packages = workspace();
    let level = |name: &str| ORDER.iter().position(|other| *other == name);
    for Package { name, dependencies, .. } in &packages {
        let own = level(name).unwrap_or_else(|| panic!("{name} is not in the order"));
        for dependency in dependencies {
            let is_later = level(dependency).is_some_and(|level| level >= own);
            assert!(!is_later, "{name} depends on {dependency}, which comes later in the order");
        }
    }
    assert_eq!(packages.len(), ORDER.len());
}

#[test]
fn no_files_use_each_other() {
    let mut cycles = Vec::new();
    for Package { name, root, .. } in workspace() {
        for files in Graph::of(&sources(&root)).cycles() {
            cycles.push(format!("{name}: {}", files.join(", ")));
        }
    }
    assert!(cycles.is_empty(), "these files use each other:\n{}", cycles.join("\n"));
}

#[test]
fn libraries_name_no_options_of_the_command_line() {
    let mut found = Vec::new();
    for Package { name, root, .. } in workspace() {
        if PROGRAMS.contains(&name.as_str()) {
            continue;
        }
        for (file, source) in sources(&root) {
            let flags = source.strings.iter().filter(|text| source::names_a_flag(text));
            found.extend(flags.map(|text| format!("{name}, {}: {text:?}", file.display())));
        }
    }
    assert!(found.is_empty(), "only the program knows its options:\n{}", found.join("\n"));
}

/// The trainer's own test counts the reads of a minibatch in `read.rs`, so there must be no others.
#[test]
fn few_files_read_from_the_device() {
    let packages = workspace();
    for (name, readers) in READERS {
        let package = packages.iter().find(|package| package.name == name).expect("a crate");
        for (file, source) in sources(&package.root) {
            let reads = source.tokens.windows(2).find(|pair| {
                READS.contains(&pair[1].as_str()) && [".", "::"].contains(&pair[0].as_str())
            });
            let may_read = readers.iter().any(|reader| file == Path::new(reader));
            assert_eq!(reads.is_some(), may_read, "{name}, {}: {reads:?}", file.display());
        }
    }
}
