//! Which file of a crate uses which.
//!
//! A path such as `crate::a::Item` leads to the file that defines the item: `a.rs`, or a file below
//! it if `a.rs` only re-exports the item. A re-export is no use of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::source::Source;

/// A module's path from the root of its crate: `["a", "b"]` for `crate::a::b`.
type Module = Vec<String>;

/// What a `use` brings into a file.
#[derive(Debug, Clone)]
struct Import {
    path: Vec<String>,
    name: String,
    public: bool,
}

/// A file of the crate.
#[derive(Debug)]
struct File {
    name: String,
    imports: Vec<Import>,
    /// Paths outside of `use`.
    mentions: Vec<Vec<String>>,
    /// Names outside of `use`.
    names: BTreeSet<String>,
}

/// The files of a crate by the modules that they hold, and which of them each file uses.
#[derive(Debug)]
pub struct Graph {
    files: BTreeMap<Module, File>,
}

impl Graph {
    /// Reads a crate from its files, whose paths are relative to `src`.
    pub fn of(sources: &[(PathBuf, Source)]) -> Self {
        let mut files = BTreeMap::new();
        let mut tests: Vec<Module> = Vec::new();
        for (path, source) in sources {
            let module = module(path);
            let child = |name: &String| [&module[..], std::slice::from_ref(name)].concat();
            tests.extend(source.test_modules.iter().map(child));
            files.insert(module, File::of(path, &source.tokens));
        }
        files.retain(|module, _| !tests.iter().any(|test| module.starts_with(test)));
        Self { files }
    }

    /// The groups of files that use each other, directly or through others.
    pub fn cycles(&self) -> Vec<Vec<String>> {
        let reached: BTreeMap<_, _> =
            self.files.keys().map(|m| (m, self.reached_from(m))).collect();
        let mut cycles = BTreeSet::new();
        for (module, others) in &reached {
            let back = |other: &&&Module| reached[**other].contains(module);
            let cycle: Vec<_> = others.iter().filter(back).collect();
            if !cycle.is_empty() {
                cycles.insert(cycle);
            }
        }
        let name = |module: &&Module| self.files[*module].name.clone();
        cycles.into_iter().map(|cycle| cycle.into_iter().map(name).collect()).collect()
    }

    /// All files that a file uses, directly or through others.
    fn reached_from(&self, start: &Module) -> BTreeSet<&Module> {
        let (mut reached, mut next) = (BTreeSet::new(), self.used_by(start));
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(self.used_by(module));
            }
        }
        reached
    }

    /// The other files that a file uses directly.
    fn used_by(&self, module: &Module) -> Vec<&Module> {
        let File { imports, mentions, names, .. } = &self.files[module];
        let used = imports.iter().filter(|import| !import.public || names.contains(&import.name));
        let paths = used.map(|import| &import.path).chain(mentions);
        let files = paths.filter_map(|path| self.resolve(module, path));
        files.filter(|file| *file != module).collect()
    }

    /// The file that defines what a path in `module` names; `None` outside of the crate.
    fn resolve(&self, module: &Module, path: &[String]) -> Option<&Module> {
        let (first, mut rest) = path.split_first()?;
        let child =
            |module: &[String], name: &String| [module, std::slice::from_ref(name)].concat();
        let import = |module: &Module, name: &String| {
            self.files[module].imports.iter().find(|import| import.name == *name)
        };
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            "self" => module.clone(),
            "super" => {
                let mut parent = module[..module.len() - 1].to_vec();
                while rest.first().is_some_and(|segment| segment == "super") {
                    parent.pop();
                    rest = &rest[1..];
                }
                parent
            }
            _ if self.files.contains_key(&child(module, first)) => child(module, first),
            _ => {
                let path = &import(module, first).filter(|import| import.path[0] != *first)?.path;
                return self.resolve(module, &[path, rest].concat());
            }
        };
        while let Some((segment, deeper)) = rest.split_first() {
            let next = child(&at, segment);
            if !self.files.contains_key(&next) {
                return match import(&at, segment) {
                    Some(import) if at != *module => {
                        self.resolve(&at, &[&import.path, deeper].concat())
                    }
                    _ => self.files.get_key_value(&at).map(|(file, _)| file),
                };
            }
            (at, rest) = (next, deeper);
        }
        self.files.get_key_value(&at).map(|(file, _)| file)
    }
}

/// The module that a file holds.
fn module(path: &Path) -> Module {
    let parts = path.with_extension("");
    let mut module: Module = parts.iter().map(|part| part.to_string_lossy().into()).collect();
    if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

impl File {
    fn of(path: &Path, tokens: &[String]) -> Self {
        let name = path.display().to_string();
        let (mut imports, mut mentions, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let before = at.checked_sub(1).map(|before| tokens[before].as_str());
            if token == "use" {
                at += 1;
                let public = matches!(before, Some("pub" | ")"));
                tree(tokens, &mut at, &[], public, &mut imports);
            } else if is_name(token) && before != Some("$") {
                let mut path = vec![token.clone()];
                while tokens.get(at + 1).is_some_and(|token| token == "::")
                    && tokens.get(at + 2).is_some_and(|token| is_name(token))
                {
                    path.push(tokens[at + 2].clone());
                    at += 2;
                }
                names.insert(path[0].clone());
                if path.len() > 1 {
                    mentions.push(path);
                }
            }
            at += 1;
        }
        Self { name, imports, mentions, names }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads one tree of a `use`, such as `a::{b, c::d as e}`, and stops after it.
fn tree(
    tokens: &[String],
    at: &mut usize,
    start: &[String],
    public: bool,
    imports: &mut Vec<Import>,
) {
    let mut path = start.to_vec();
    let token = |at: usize| tokens.get(at).map_or(";", String::as_str);
    loop {
        match token(*at) {
            "{" => {
                *at += 1;
                while token(*at) != "}" {
                    tree(tokens, at, &path, public, imports);
                    *at += usize::from(token(*at) == ",");
                }
                *at += 1;
                return;
            }
            "self" if !path.is_empty() => {}
            segment => path.push(segment.to_string()),
        }
        *at += 1;
        match token(*at) {
            "::" => *at += 1,
            "as" => {
                imports.push(Import { path, name: token(*at + 1).into(), public });
                *at += 2;
                return;
            }
            _ => {
                let name = path[path.len() - 1].clone();
                imports.push(Import { path, name, public });
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cycles(files: &[(&str, &str)]) -> Vec<Vec<String>> {
        let sources: Vec<_> =
            files.iter().map(|(path, text)| (path.into(), Source::parse(text))).collect();
        Graph::of(&sources).cycles()
    }

    #[test]
    fn a_cycle_is_found_through_other_files() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let b = ("b/mod.rs", "mod inner; pub use inner::{B, C as D};");
        let inner = ("b/inner.rs", "use super::super::c; fn f() { c::g() }");
        let c = ("c.rs", "pub fn g() { crate::a::A; }");
        assert_eq!(cycles(&[a, b, inner, c]), [["a.rs", "b/inner.rs", "c.rs"]]);
        assert!(cycles(&[a, b, inner, ("c.rs", "pub fn g() {}")]).is_empty());
    }

    #[test]
    fn a_parent_that_uses_its_child_is_not_used_by_it() {
        let child = ("a/child.rs", "use super::LIMIT;");
        let uses = ("a.rs", "mod child; use child::f; const LIMIT: usize = 1;");
        assert_eq!(cycles(&[uses, child]), [["a.rs", "a/child.rs"]]);
        let calls = ("a.rs", "mod child; const LIMIT: usize = child::f();");
        assert_eq!(cycles(&[calls, child]), [["a.rs", "a/child.rs"]]);
        let exports = ("a.rs", "mod child; pub use child::f; const LIMIT: usize = 1;");
        assert!(cycles(&[exports, child]).is_empty());
        let both = ("a.rs", "mod child; pub use child::f; const LIMIT: usize = f();");
        assert_eq!(cycles(&[both, child]), [["a.rs", "a/child.rs"]]);
    }

    #[test]
    fn tests_and_other_crates_close_no_cycle() {
        let a = ("a.rs", "use crate::b::B;");
        assert!(cycles(&[a, ("b.rs", "#[cfg(test)] mod tests { use crate::a::A; }")]).is_empty());
        assert!(cycles(&[a, ("b.rs", "use burn::a::A;")]).is_empty());
    }
}
