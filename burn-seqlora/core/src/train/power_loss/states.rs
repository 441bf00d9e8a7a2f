//! What a loss of power can leave of recorded operations.
//!
//! A file system keeps contents and names apart. What was synced is certain. Of everything else each change
//! may have reached the disk or not, whatever its order, and contents may have reached it in part.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::recorder::Operation;

/// Files with their contents and folders (`None`), by their path.
pub type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// All combinations of so many changes are tried; of more, those in which one change differs.
const MOST_COMBINED: usize = 5;

/// A file or folder, whatever its names are.
type Node = usize;

/// The folder that everything lies in.
const ROOT: Node = 0;

#[derive(Debug)]
enum Change {
    /// A file is cut to `length` bytes, and these are added.
    Content { node: Node, length: usize, bytes: Vec<u8> },
    /// Names in a folder get another node, or none.
    Names { folder: Node, names: Vec<(PathBuf, Option<Node>)> },
}

/// How much of a change has reached the disk.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reached {
    Nothing,
    Half,
    All,
}

/// The changes so far, and which of them are certain.
#[derive(Debug, Default)]
pub struct Journal {
    /// What a running program sees.
    nodes: BTreeMap<PathBuf, Node>,
    folders: BTreeSet<Node>,
    changes: Vec<(Change, bool)>,
    count: usize,
}

impl Journal {
    /// Adds an operation.
    pub fn add(&mut self, operation: &Operation) {
        match operation {
            Operation::CreateFolder(path) => {
                let node = self.create(path);
                self.folders.insert(node);
            }
            Operation::Write { path, length, bytes } => {
                let node = match self.nodes.get(path) {
                    Some(node) => *node,
                    None => self.create(path),
                };
                let (length, bytes) = (*length as usize, bytes.clone());
                self.changes.push((Change::Content { node, length, bytes }, false));
            }
            Operation::Sync(path) => self.sync(self.node(path)),
            Operation::Rename { from, to } => {
                let node = self.nodes.remove(from).expect("it is there");
                self.nodes.insert(to.clone(), node);
                self.rename(from, vec![(from.clone(), None), (to.clone(), Some(node))]);
            }
            Operation::Remove(path) => {
                self.nodes.remove(path).expect("it is there");
                self.rename(path, vec![(path.clone(), None)]);
            }
        }
    }

    fn node(&self, path: &Path) -> Node {
        if path == Path::new("") { ROOT } else { self.nodes[path] }
    }

    fn create(&mut self, path: &Path) -> Node {
        self.count += 1;
        self.nodes.insert(path.into(), self.count);
        self.rename(path, vec![(path.into(), Some(self.count))]);
        self.count
    }

    /// Changes names in the folder of `path`.
    fn rename(&mut self, path: &Path, names: Vec<(PathBuf, Option<Node>)>) {
        let folder = self.node(path.parent().expect("it lies in a folder"));
        self.changes.push((Change::Names { folder, names }, false));
    }

    fn sync(&mut self, synced: Node) {
        for (change, certain) in &mut self.changes {
            match change {
                Change::Content { node, .. } => *certain |= *node == synced,
                Change::Names { folder, .. } => *certain |= *folder == synced,
            }
        }
    }

    /// What the disk can hold if power is lost now.
    pub fn states(&self) -> BTreeSet<Tree> {
        let open: Vec<usize> = (0..self.changes.len()).filter(|i| !self.changes[*i].1).collect();
        let mut states = BTreeSet::new();
        let mut add = |reached: &dyn Fn(usize) -> Reached| {
            states.insert(self.tree(reached));
        };
        let whole = |yes: bool| if yes { Reached::All } else { Reached::Nothing };
        if open.len() <= MOST_COMBINED {
            for choice in 0..1 << open.len() {
                add(&|i| {
                    whole(open.iter().position(|o| *o == i).is_none_or(|b| (choice >> b) & 1 == 1))
                });
            }
        }
        for rest in [Reached::Nothing, Reached::All] {
            for one in &open {
                for this in [Reached::Nothing, Reached::Half, Reached::All] {
                    add(&|i| if i == *one { this } else { rest });
                }
            }
        }
        states
    }

    /// The tree if so much of each open change has reached the disk.
    fn tree(&self, reached: &dyn Fn(usize) -> Reached) -> Tree {
        let mut contents: BTreeMap<Node, Vec<u8>> = BTreeMap::new();
        let mut names: BTreeMap<Node, BTreeMap<&Path, Node>> = BTreeMap::new();
        for (number, (change, certain)) in self.changes.iter().enumerate() {
            let reached = if *certain { Reached::All } else { reached(number) };
            match change {
                _ if reached == Reached::Nothing => {}
                Change::Content { node, length, bytes } => {
                    let content = contents.entry(*node).or_default();
                    let end = if reached == Reached::Half { bytes.len() / 2 } else { bytes.len() };
                    content.resize(*length, 0);
                    content.extend(&bytes[..end]);
                }
                Change::Names { folder, names: changed } => {
                    let names = names.entry(*folder).or_default();
                    for (path, node) in changed {
                        match node {
                            Some(node) => names.insert(path, *node),
                            None => names.remove(path.as_path()),
                        };
                    }
                }
            }
        }
        let (mut tree, mut folders) = (Tree::new(), vec![ROOT]);
        while let Some(folder) = folders.pop() {
            for (path, node) in names.get(&folder).into_iter().flatten() {
                let is_folder = self.folders.contains(node);
                folders.extend(is_folder.then_some(*node));
                let content = || contents.get(node).cloned().unwrap_or_default();
                tree.insert(path.to_path_buf(), (!is_folder).then(content));
            }
        }
        tree
    }
}

/// Writes a tree into a folder.
pub fn write(tree: &Tree, root: &Path) {
    for (path, content) in tree {
        let path = root.join(path);
        match content {
            None => std::fs::create_dir(path).unwrap(),
            Some(bytes) => std::fs::write(path, bytes).unwrap(),
        }
    }
}

/// Reads what lies in a folder.
pub fn read(root: &Path) -> Tree {
    let (mut tree, mut folders) = (Tree::new(), vec![root.to_path_buf()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let content = (!path.is_dir()).then(|| std::fs::read(&path).unwrap());
            tree.insert(path.strip_prefix(root).unwrap().into(), content);
            folders.extend(path.is_dir().then_some(path));
        }
    }
    tree
}
