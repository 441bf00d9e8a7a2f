//! How one component's parameters are named in its files.

use super::KeyTable;
use super::ldm::Renaming;

/// The names of a diffusers folder, or those of a single file on top of them.
#[derive(Debug, Clone)]
pub struct Layout {
    table: KeyTable,
    renaming: Option<Renaming>,
}

impl From<KeyTable> for Layout {
    fn from(table: KeyTable) -> Self {
        Self { table, renaming: None }
    }
}

impl Layout {
    /// In a single file, whose names become diffusers' first.
    pub fn single_file(renaming: Renaming, table: KeyTable) -> Self {
        Self { table, renaming: Some(renaming) }
    }

    /// Our path of a file's key; `None` if it is no parameter of this component.
    pub fn ours(&self, key: &str) -> Option<String> {
        match &self.renaming {
            Some(renaming) => self.table.ours(&renaming.to_diffusers(key)?),
            None => self.table.ours(key),
        }
    }

    /// The file's key of our path.
    pub fn theirs(&self, path: &str) -> String {
        let name = self.table.theirs(path);
        self.renaming.as_ref().map_or(name.clone(), |renaming| renaming.from_diffusers(&name))
    }
}
