//! Values that several options share.

/// Parses the name that serde gives a choice; the error lists all names.
pub fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let name: StrDeserializer<Error> = text.into_deserializer();
    T::deserialize(name).map_err(|e| e.to_string())
}

/// Parses a number from 1 to `MOST`.
pub fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it must be at least 1".into()),
        Ok(number) if number <= MOST => Ok(number),
        _ => Err(format!("it must be a number from 1 to {MOST}")),
    }
}
