//! A longer run than a demo's, which was made before: forgetting over eight concepts.

use burn_seqlora::eval::report::{RecordedRun, Summary};

/// Its numbers.
const SUMMARY: &str = include_str!("recorded.json");

/// How it was made.
const SOURCE: &str =
    "`seqlora demo --concepts 8` on two CPU cores; see benchmarks/runs/2026-11-29-eight-concepts.";

/// The run, if it was made with this base model.
pub fn recorded(base: &str) -> Option<RecordedRun> {
    let summary: Summary = serde_json::from_str(SUMMARY).expect("a test reads it");
    (summary.base == base).then(|| RecordedRun { source: SOURCE.into(), summary })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_belongs_to_one_model() {
        let Summary { base, concepts, .. } = serde_json::from_str(SUMMARY).unwrap();
        assert_eq!(concepts.len(), 8);
        assert!(recorded(&base).is_some());
        assert!(recorded("another one").is_none());
    }
}
