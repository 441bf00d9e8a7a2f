//! The path of a parameter in a module, while a visitor or a mapper walks through it.

/// The names of the modules around the present parameter, and its own.
#[derive(Debug, Default)]
pub(crate) struct ModulePath {
    names: Vec<String>,
}

impl ModulePath {
    /// Goes into a field. The variants of an enum have no name in a checkpoint.
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !is_variant(container) {
            self.names.push(name.to_string());
        }
    }

    /// Leaves it again.
    pub(crate) fn leave(&mut self, container: &str) {
        if !is_variant(container) {
            self.names.pop();
        }
    }

    /// The path with dots.
    pub(crate) fn dotted(&self) -> String {
        self.names.join(".")
    }
}

/// Burn's mark of an enum among the types of modules.
fn is_variant(container: &str) -> bool {
    container.starts_with("Enum:")
}
