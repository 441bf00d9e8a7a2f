//! Where a fusion finds the Gram matrices of concepts: in memory, or on disk one at a time.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use crate::bank::{NamedTensors, read_tensor, write_tensors};
use crate::error::{Error, Result};
use crate::lora::{ActivationStatistics, Gram, Site};

/// Gives the Gram matrix of one concept's inputs at one site.
pub trait GramSource: Debug {
    /// G `[m, m]` of a concept at a site.
    ///
    /// # Errors
    /// If there is none, or it cannot be read or does not fit the site.
    fn gram(&self, concept: &str, site: &Site) -> Result<Gram>;
}

/// Statistics in memory, by the concept's id.
impl GramSource for BTreeMap<String, ActivationStatistics> {
    fn gram(&self, concept: &str, site: &Site) -> Result<Gram> {
        let found = self.get(concept).and_then(|statistics| statistics.0.get(&site.name));
        match found.filter(|gram| gram.inputs == site.inputs) {
            Some(gram) => Ok(gram.clone()),
            None => {
                let name = &site.name;
                let reason =
                    format!("there are no statistics of the inputs of `{name}` for <{concept}>");
                Err(Error::Invalid(reason))
            }
        }
    }
}

/// A folder with a file `<id>.safetensors` per concept, which holds `<site>.gram` `[m, m]` and
/// `<site>.rows` `[1, 1]` in f32 (the number of rows is exact up to 2²⁴).
///
/// The statistics of one concept are Σ m² numbers over its sites, 0.5 GB for the attention layers of
/// Stable Diffusion 1.5. Here they wait on disk, and a layer reads one matrix after the other.
#[derive(Debug, Clone)]
pub struct StatisticsFolder {
    path: PathBuf,
}

impl StatisticsFolder {
    /// A folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    fn file(&self, concept: &str) -> PathBuf {
        self.path.join(format!("{concept}.safetensors"))
    }

    /// Writes the statistics of a concept, in place of older ones.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, concept: &str, statistics: ActivationStatistics) -> Result<()> {
        fs::create_dir_all(&self.path).map_err(Error::io("cannot create", &self.path))?;
        let mut tensors = NamedTensors::new();
        for (site, Gram { rows, inputs, values }) in statistics.0 {
            tensors.insert(format!("{site}.rows"), ([1, 1], vec![rows as f32]));
            tensors.insert(format!("{site}.gram"), ([inputs, inputs], values));
        }
        write_tensors(&self.file(concept), &tensors)
    }
}

impl GramSource for StatisticsFolder {
    fn gram(&self, concept: &str, site: &Site) -> Result<Gram> {
        let file = self.file(concept);
        let read = |what: &str, expected: [usize; 2]| {
            let name = format!("{}.{what}", site.name);
            let (shape, values) = read_tensor(&file, &name)?;
            match shape == expected {
                true => Ok(values),
                false => {
                    let reason = format!("`{name}` has shape {shape:?}, expected {expected:?}");
                    Err(Error::damaged(&file, reason))
                }
            }
        };
        let rows = read("rows", [1, 1])?[0] as usize;
        let values = read("gram", [site.inputs, site.inputs])?;
        Ok(Gram { rows, inputs: site.inputs, values })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lora::{Part, Role};

    #[test]
    fn a_folder_gives_back_what_was_written() {
        let site = |name: &str, inputs| Site {
            name: name.into(),
            inputs,
            outputs: 1,
            part: Part::Denoiser,
            role: Role::SelfAttention,
        };
        let gram = |rows, inputs: usize| {
            let values = (0..inputs * inputs).map(|x| x as f32).collect();
            Gram { rows, inputs, values }
        };
        let entries = [("a".to_string(), gram(3, 2)), ("b".to_string(), gram(81_920, 5))];
        let statistics = ActivationStatistics(entries.into());
        let folder = tempfile::tempdir().unwrap();
        let on_disk = StatisticsFolder::new(folder.path().join("statistics"));
        on_disk.write("dog", statistics.clone()).unwrap();
        let in_memory = BTreeMap::from([("dog".to_string(), statistics)]);
        let sources: [&dyn GramSource; 2] = [&on_disk, &in_memory];
        for source in sources {
            assert_eq!(source.gram("dog", &site("b", 5)).unwrap(), gram(81_920, 5));
            assert_eq!(source.gram("dog", &site("a", 2)).unwrap(), gram(3, 2));
            for (concept, site) in
                [("dog", site("c", 2)), ("dog", site("a", 3)), ("cat", site("a", 2))]
            {
                assert!(source.gram(concept, &site).is_err(), "{source:?} {concept} {site:?}");
            }
        }
    }
}
