//! Loads metrics by their names.

use seqlora_eval::{Metric, PromptText};
use seqlora_kernels::KernelBackend;
use seqlora_models::weights::ModelError;

use super::loader::{Failure, Loader};
use super::places::Places;
use super::table::{TABLE, names as all_names};

/// The metrics that can be computed, and those that cannot.
#[derive(Debug)]
pub struct Loaded {
    /// In the order in which they were asked for.
    pub metrics: Vec<Box<dyn Metric>>,
    /// Those whose weights are missing.
    pub skipped: Vec<Skipped>,
}

/// A metric whose weights are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The metric.
    pub name: String,
    /// "weights missing: …", with the places where they were looked for.
    pub reason: String,
}

/// Metrics that cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No metric has this name.
    #[error("there is no metric `{name}`; there are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// All names.
        known: String,
    },
    /// Weights are there, but cannot be used.
    #[error("the metric `{name}`: {source}")]
    Model {
        /// The metric.
        name: String,
        /// What is wrong with its weights.
        source: ModelError,
    },
    /// Weights are there that were trained for images of another kind.
    #[error("the metric `{name}`: {reason}")]
    Unsuitable {
        /// The metric.
        name: String,
        /// Why they do not suit.
        reason: String,
    },
}

/// Loads metrics by their names, each network once. `prompts` says what prompts are turned into.
///
/// # Errors
/// If a name is not known, or weights are there but damaged or unsuitable.
pub fn load<B: KernelBackend>(
    names: &[&str],
    places: &Places,
    prompts: &PromptText,
    device: &B::Device,
) -> Result<Loaded, LoadError> {
    let loader = Loader::<B>::new(places, prompts, device);
    let mut loaded = Loaded { metrics: Vec::new(), skipped: Vec::new() };
    for name in names {
        let Some(entry) = TABLE.iter().find(|entry| entry.name == *name) else {
            let known = all_names().join(", ");
            return Err(LoadError::Unknown { name: name.to_string(), known });
        };
        let name = entry.name.to_string();
        match entry.load(&loader) {
            Ok(metric) => loaded.metrics.push(metric),
            Err(Failure::Missing(reason)) => loaded.skipped.push(Skipped { name, reason }),
            Err(Failure::Model(source)) => return Err(LoadError::Model { name, source }),
            Err(Failure::Unsuitable(reason)) => return Err(LoadError::Unsuitable { name, reason }),
        }
    }
    Ok(loaded)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use seqlora_kernels::Flex;

    use super::*;

    fn load(names: &[&str], places: &Places) -> Result<Loaded, LoadError> {
        super::load::<Flex>(names, places, &PromptText::default(), &Default::default())
    }

    #[test]
    fn without_weights_every_metric_is_skipped() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places { folders: vec![folder.path().into()], ..Places::default() };
        let loaded = load(&all_names(), &places).unwrap();
        assert!(loaded.metrics.is_empty());
        assert_eq!(loaded.skipped.len(), all_names().len());
        for Skipped { name, reason } in loaded.skipped {
            assert!(reason.starts_with("weights missing: "), "{name}: {reason}");
            assert!(reason.contains(&folder.path().display().to_string()), "{name}: {reason}");
        }
    }

    #[test]
    fn damaged_weights_and_unknown_names_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("dino-vits16")).unwrap();
        let places = Places { folders: vec![folder.path().into()], ..Places::default() };
        let error = load(&["dino"], &places).unwrap_err().to_string();
        assert!(error.contains("`dino`") && error.contains("holds no weights"), "{error}");
        let error = load(&["dinov4"], &places).unwrap_err().to_string();
        assert!(error.contains("no metric `dinov4`") && error.contains("dinov3"), "{error}");
        let satellite = folder.path().join("dinov3-vitl16-pretrain-sat493m");
        std::fs::create_dir(&satellite).unwrap();
        let weights = [("dinov3".to_string(), satellite)].into();
        let error = load(&["dinov3"], &Places { weights, ..places }).unwrap_err().to_string();
        assert!(error.contains("satellite"), "{error}");
    }
}
