//! A parser, and the folder that it reads.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use tempfile::TempDir;

use crate::input::{File, heading, sections};

/// A parser, and the folder of files that it reads.
#[derive(Debug)]
pub struct Target {
    /// Its name, which is also that of its folder in `corpus/`.
    pub name: &'static str,
    /// A folder that it accepts. An input that names no file is the first one.
    pub(crate) files: fn() -> Vec<File>,
    /// Reads the folder, and uses what it says as the program would. Tells whether it was accepted.
    pub(crate) read: fn(&Path) -> bool,
}

impl Target {
    /// Replaces files of the folder by those in the input, and reads it. Tells whether it was accepted.
    ///
    /// # Panics
    /// If the parser has a defect.
    pub fn run(&self, input: &[u8]) -> bool {
        let folder = Folder::of(self);
        folder.replace(input);
        (self.read)(folder.place.path())
    }

    /// An input for each file of the good folder, which replaces it by itself.
    pub fn seeds(&self) -> Vec<File> {
        let seed = |(name, content): File| {
            let input = [heading(&name).into_bytes(), content].concat();
            (name.replace('/', "-"), input)
        };
        (self.files)().into_iter().map(seed).collect()
    }
}

/// A folder on disk.
struct Folder {
    place: TempDir,
    files: Vec<File>,
    /// The files that the last input replaced.
    replaced: RefCell<Vec<usize>>,
}

impl Folder {
    /// This thread's folder of a target.
    fn of(target: &Target) -> Rc<Self> {
        thread_local! {
            static FOLDERS: RefCell<HashMap<&'static str, Rc<Folder>>> = RefCell::default();
        }
        FOLDERS.with_borrow_mut(|folders| {
            folders
                .entry(target.name)
                .or_insert_with(|| Rc::new(Self::new((target.files)())))
                .clone()
        })
    }

    fn new(files: Vec<File>) -> Self {
        // In memory, where there is such a place: every input is written.
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let place = TempDir::new_in(parent).expect("a temporary folder");
        let folder = Self { place, files, replaced: RefCell::default() };
        for (name, content) in &folder.files {
            folder.write(name, content);
        }
        folder
    }

    /// Writes the files of an input, and those of the last one as they were.
    fn replace(&self, input: &[u8]) {
        for file in self.replaced.take() {
            let (name, content) = &self.files[file];
            self.write(name, content);
        }
        for (file, content) in sections(input, &self.files) {
            self.write(&self.files[file].0, content);
            self.replaced.borrow_mut().push(file);
        }
    }

    fn write(&self, name: &str, content: &[u8]) {
        let path = self.place.path().join(name);
        fs::create_dir_all(path.parent().expect("it lies in the folder")).expect("a folder");
        fs::write(path, content).expect("room for small files");
    }
}

/// The files of a folder and its sub-folders, those with this name first.
pub fn files_of(folder: &Path, first: &str) -> Vec<File> {
    let mut files = Vec::new();
    collect(folder, folder, &mut files);
    files.sort_by_key(|(name, _)| (name != first, name.clone()));
    files
}

fn collect(root: &Path, folder: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(root, &path, files);
        } else {
            let name = path.strip_prefix(root).expect("it lies in the folder");
            let name = name.to_string_lossy().replace('\\', "/");
            files.push((name, fs::read(&path).expect("a file")));
        }
    }
}

/// What is as the library promises, whatever the input.
#[track_caller]
pub(crate) fn holds(promise: bool, what: &str) {
    assert!(promise, "a broken promise: {what}");
}
