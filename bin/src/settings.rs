//! Settings files.

use std::path::Path;

use burn_seqlora::files::{plain, read_text};
use burn_seqlora::methods::NAMES;
use burn_seqlora::settings::TrainConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::failure::Failure;

/// Reads a TOML file over the defaults: what it leaves out keeps its default, in sub-tables too.
///
/// # Errors
/// If the file cannot be read, is no TOML, or holds a setting that does not exist.
pub fn read<T: Default + Serialize + DeserializeOwned>(file: &Path) -> Result<T, Failure> {
    read_over(file, &T::default())
}

/// Reads training settings over others, and checks that the method is one of the program's.
///
/// # Errors
/// Those of [`read`], or if there is no such method.
pub fn read_training(file: &Path, under: &TrainConfig) -> Result<TrainConfig, Failure> {
    let settings = read_over(file, under)?;
    if !NAMES.contains(&settings.method.as_str()) {
        let known: Vec<_> = NAMES.iter().map(|name| format!("`{name}`")).collect();
        let (file, known) = (file.display(), known.join(", "));
        let text = format!("{file}: unknown method `{}`; known: {known}", settings.method);
        return Err(Failure::Usage(text));
    }
    Ok(settings)
}

/// Reads a TOML file over settings, likewise.
///
/// # Errors
/// Those of [`read`].
fn read_over<T: Serialize + DeserializeOwned>(file: &Path, under: &T) -> Result<T, Failure> {
    let wrong = |error: &toml::de::Error| {
        Failure::Usage(format!("{}: {}", file.display(), plain(&error.to_string())))
    };
    let text = read_text(file).map_err(Failure::usage)?;
    // Read as it is first: these errors know the line.
    toml::from_str::<T>(&text).map_err(|e| wrong(&e))?;
    let given: Table = toml::from_str(&text).map_err(|e| wrong(&e))?;
    let mut settings = Table::try_from(under).expect("settings are a table");
    lay_over(&mut settings, given);
    settings.try_into().map_err(|e| wrong(&e))
}

fn lay_over(settings: &mut Table, given: Table) {
    for (name, value) in given {
        match (settings.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(value)) => lay_over(inner, value),
            (_, value) => drop(settings.insert(name, value)),
        }
    }
}
