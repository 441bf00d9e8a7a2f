//! Sources of the concepts' Gram matrices: memory, or a folder.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;

use seqlora_files::write_new_folder;

use crate::bank::{NamedTensors, read_tensors, to_safetensors};
use crate::error::{Error, Result};
use crate::lora::{ActivationStatistics, Gram, Site};

/// The names of the matrices in a file.
const GRAM: &str = "gram";
const ROWS: &str = "rows";
const KEPT: &str = "kept";

/// Inputs that are kept of each run of a model for [`Statistics::GramAndInputs`]: all of a prompt's, of which
/// Mix-of-Show's longest has 112 with 16 copies, and some of an image's.
///
/// [`Statistics::GramAndInputs`]: super::Statistics::GramAndInputs
pub const KEPT_ROWS: usize = 256;

/// Gives the Gram matrix of one concept's inputs at one site.
pub trait GramSource: Debug + Sync {
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

/// A folder with a file `<id>/<site>.safetensors` for each concept and site. It holds `rows` `[1, 1]`, `kept`
/// `[kept rows, m]` if inputs were kept, and `gram` `[m, m]` unless all were, in f32; the number of rows is exact up to
/// 2²⁴. A concept's folder is there when all of it is on the disk.
///
/// The statistics of one concept are Σ m² numbers over its sites, 0.5 GB for the attention layers of
/// Stable Diffusion 1.5. From a folder, only one matrix is read at a time.
#[derive(Debug, Clone)]
pub struct StatisticsFolder {
    path: PathBuf,
}

impl StatisticsFolder {
    /// Statistics in a folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Whether there are statistics of a concept.
    pub fn has(&self, concept: &str) -> bool {
        self.path.join(concept).is_dir()
    }

    fn file(&self, concept: &str, site: &str) -> PathBuf {
        self.path.join(concept).join(file_name(site))
    }

    /// Writes the statistics of a concept, unless they are there. The folder itself has to be there.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, concept: &str, statistics: ActivationStatistics) -> Result<()> {
        let path = self.path.join(concept);
        let file = |(site, gram): (String, Gram)| {
            let Gram { rows, inputs, values, kept } = gram;
            let mut matrices =
                NamedTensors::from([(ROWS.to_string(), ([1, 1], vec![rows as f32]))]);
            if !values.is_empty() {
                matrices.insert(GRAM.to_string(), ([inputs, inputs], values));
            }
            if !kept.is_empty() {
                matrices.insert(KEPT.to_string(), ([kept.len() / inputs, inputs], kept));
            }
            let name = file_name(&site);
            Ok::<_, Error>((name.clone(), to_safetensors(&path.join(name), &matrices)?))
        };
        write_new_folder(&path, statistics.0.into_iter().map(file)).map(drop)
    }
}

/// The file of a site.
fn file_name(site: &str) -> String {
    format!("{site}.safetensors")
}

impl GramSource for StatisticsFolder {
    fn gram(&self, concept: &str, site: &Site) -> Result<Gram> {
        let file = self.file(concept, &site.name);
        let mut tensors = read_tensors(&file)?;
        let inputs = site.inputs;
        let mut take = |name: &str| tensors.remove(name).unwrap_or(([0, inputs], Vec::new()));
        let [rows, gram, kept] = [ROWS, GRAM, KEPT].map(&mut take);
        let wrong = |name: &str, [n, m]: [usize; 2]| {
            Err(Error::damaged(&file, format!("`{name}` is {n} x {m}, with {inputs} inputs")))
        };
        let [1, 1] = rows.0 else { return wrong(ROWS, rows.0) };
        let count = rows.1[0] as usize;
        let [count_kept, width] = kept.0;
        if width != inputs {
            return wrong(KEPT, kept.0);
        }
        let all_kept = count_kept == count && gram.1.is_empty();
        if !all_kept && gram.0 != [inputs; 2] {
            return wrong(GRAM, gram.0);
        }
        Ok(Gram { rows: count, inputs, values: gram.1, kept: kept.1 })
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
            Gram { rows, inputs, values, kept: vec![1.0; inputs * (rows % 2)] }
        };
        let all_kept = Gram { values: vec![], kept: vec![1.0; 6], ..gram(3, 2) };
        let entries = [("a", gram(3, 2)), ("b", gram(81_920, 5)), ("d", all_kept.clone())];
        let entries = entries.map(|(name, gram)| (name.to_string(), gram));
        let statistics = ActivationStatistics(entries.into());
        let folder = tempfile::tempdir().unwrap();
        let on_disk = StatisticsFolder::new(folder.path());
        on_disk.write("dog", statistics.clone()).unwrap();
        let in_memory = BTreeMap::from([("dog".to_string(), statistics)]);
        let sources: [&dyn GramSource; 2] = [&on_disk, &in_memory];
        for source in sources {
            assert_eq!(source.gram("dog", &site("b", 5)).unwrap(), gram(81_920, 5));
            assert_eq!(source.gram("dog", &site("a", 2)).unwrap(), gram(3, 2));
            assert_eq!(source.gram("dog", &site("d", 2)).unwrap(), all_kept);
            for (concept, site) in
                [("dog", site("c", 2)), ("dog", site("a", 3)), ("cat", site("a", 2))]
            {
                assert!(source.gram(concept, &site).is_err(), "{source:?} {concept} {site:?}");
            }
        }
    }
}
