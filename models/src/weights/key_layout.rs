//! How one component's parameters are named in its files.

use super::KeyTable;
use super::ldm::Renaming;

/// The parameter names of a component: those of a diffusers folder, or those of a single file, which
/// are translated to diffusers' names first.
#[derive(Debug, Clone)]
pub struct KeyLayout {
    table: KeyTable,
    renaming: Option<Renaming>,
}

impl From<KeyTable> for KeyLayout {
    fn from(table: KeyTable) -> Self {
        Self { table, renaming: None }
    }
}

impl KeyLayout {
    /// The names of a single file: `renaming` leads to diffusers' names, `table` from there to ours.
    pub fn single_file(renaming: Renaming, table: KeyTable) -> Self {
        Self { table, renaming: Some(renaming) }
    }

    /// Our module path for a key of the file; `None` if the key is not a parameter of this component.
    pub fn ours(&self, key: &str) -> Option<String> {
        match &self.renaming {
            Some(renaming) => self.table.ours(&renaming.to_diffusers(key)?),
            None => self.table.ours(key),
        }
    }

    /// The file's key for our module path.
    pub fn theirs(&self, path: &str) -> String {
        let name = self.table.theirs(path);
        self.renaming.as_ref().map_or(name.clone(), |renaming| renaming.from_diffusers(&name))
    }

    /// The names of a diffusers folder.
    pub(crate) fn table(&self) -> &KeyTable {
        &self.table
    }

    /// Whether our path's matrix is stored as `[inputs, outputs]`.
    pub fn is_transposed(&self, path: &str) -> bool {
        self.table.is_transposed(path)
    }
}
