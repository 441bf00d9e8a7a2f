//! The lines of `evalscore/1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name of the protocol.
const PROTOCOL: &str = "evalscore/1";

/// The first line of a scorer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Hello {
    protocol: String,
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
    columns: Vec<String>,
    pub(super) primary: String,
    pub(super) higher_is_better: bool,
    #[serde(default)]
    needs: Vec<String>,
}

/// An image that is to be scored.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Request {
    pub(super) id: String,
    pub(super) image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) refs: Vec<String>,
}

/// A scorer's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Reply {
    pub(super) id: String,
    #[serde(default)]
    scores: BTreeMap<String, f64>,
    error: Option<String>,
}

impl Hello {
    /// Parses the first line.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let hello: Self = serde_json::from_str(line)
            .map_err(|error| format!("expected the first line of {PROTOCOL}: {error}"))?;
        if hello.protocol != PROTOCOL {
            return Err(format!("expected the protocol {PROTOCOL}"));
        }
        if !hello.columns.contains(&hello.primary) {
            return Err("`primary` is not among `columns`".into());
        }
        match hello.needs.iter().find(|need| !["prompt", "refs"].contains(&need.as_str())) {
            Some(_) => Err("`needs` has something else than prompt and refs".into()),
            None => Ok(hello),
        }
    }

    /// Whether it needs the prompt, or `refs`, the references.
    pub(super) fn needs(&self, what: &str) -> bool {
        self.needs.iter().any(|need| need == what)
    }
}

impl Reply {
    /// Parses an answer.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        serde_json::from_str(line).map_err(|error| format!("expected an answer: {error}"))
    }

    /// The score of a column, or why there is none.
    pub(super) fn score(&self, column: &str) -> Result<f64, String> {
        match (&self.error, self.scores.get(column)) {
            (Some(error), _) => Err(error.clone()),
            (None, Some(score)) => Ok(*score),
            (None, None) => Err(format!("its answer has no `{column}`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = r#"{"protocol":"evalscore/1","name":"a","columns":["x"],"primary":"x",
        "higher_is_better":true,"needs":["prompt"]}"#;

    #[test]
    fn lines_are_read_or_refused_with_a_reason() {
        let hello = Hello::parse(HELLO).unwrap();
        assert!(hello.needs("prompt") && !hello.needs("refs"));
        let refused = |line: &str| Hello::parse(line).unwrap_err();
        assert!(refused("Loading…").contains("first line"));
        assert!(refused(&HELLO.replace("/1", "/2")).contains("evalscore/1"));
        assert!(refused(&HELLO.replace(r#"primary":"x"#, r#"primary":"y"#)).contains("`primary`"));
        assert!(refused(&HELLO.replace("prompt", "depth")).contains("`needs`"));
        let reply = |line: &str| Reply::parse(line).map(|reply| reply.score("x"));
        assert_eq!(reply(r#"{"id":"1","scores":{"x":0.5}}"#), Ok(Ok(0.5)));
        assert_eq!(reply(r#"{"id":"1","error":"too dark"}"#), Ok(Err("too dark".into())));
        assert!(reply(r#"{"id":"1","scores":{"y":1}}"#).unwrap().unwrap_err().contains("`x`"));
        assert!(reply(r#"{"id":"1","scores":{"x":NaN}}"#).is_err());
    }
}
