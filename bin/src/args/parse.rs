//! Values that several options share.

/// Parses the name that serde gives a choice; the error lists all names.
pub fn parse_name<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let name: StrDeserializer<Error> = text.into_deserializer();
    T::deserialize(name).map_err(|e| e.to_string())
}
