//! An option that an image gives.

/// An option that the text gives.
#[derive(Debug, PartialEq)]
pub struct Given {
    /// The options that it gives way to if they are typed, itself first.
    pub ids: &'static [&'static str],
    value: Value,
}

#[derive(Debug, PartialEq)]
enum Value {
    Text(String),
    Switch,
    /// Why it has to be typed.
    Missing(String),
}

impl Given {
    /// An option with this value.
    pub fn new(ids: &'static [&'static str], value: impl Into<String>) -> Self {
        Self { ids, value: Value::Text(value.into()) }
    }

    /// An option that takes no value.
    pub fn switch(ids: &'static [&'static str]) -> Self {
        Self { ids, value: Value::Switch }
    }

    /// An option that has to be typed, and why.
    pub fn missing(ids: &'static [&'static str], reason: String) -> Self {
        Self { ids, value: Value::Missing(reason) }
    }

    /// As it is typed.
    ///
    /// # Errors
    /// If it has to be typed.
    pub fn text(&self) -> Result<String, String> {
        let name = format!("--{}", self.ids[0].replace('_', "-"));
        match &self.value {
            Value::Text(value) => Ok(format!("{name}={value}")),
            Value::Switch => Ok(name),
            Value::Missing(reason) => Err(reason.clone()),
        }
    }
}
