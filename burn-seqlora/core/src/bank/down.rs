//! B of one concept, by the names of the sites: what later concepts stay orthogonal to.

use std::collections::BTreeMap;
use std::path::Path;

use super::tensors::{NamedTensors, parse_tensors, to_safetensors};
use crate::error::{Error, Result};
use crate::lora::{Site, StoredAdapter};

/// Bᵀ `[rank, inputs]`, row by row, at each adapted site.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Down(BTreeMap<String, Vec<f32>>);

impl Down {
    /// B of an adapter.
    pub fn of(adapter: &StoredAdapter) -> Self {
        Self(adapter.0.iter().map(|(name, factors)| (name.clone(), factors.down.clone())).collect())
    }

    /// Bᵀ at a site; nothing where it is not adapted.
    pub fn at(&self, site: &Site) -> &[f32] {
        self.0.get(&site.name).map_or(&[], Vec::as_slice)
    }

    /// Adds Bᵀ at a site.
    pub fn insert(&mut self, site: &Site, down: Vec<f32>) {
        self.0.insert(site.name.clone(), down);
    }

    /// The rank at each of these sites; 0 where it is not adapted.
    pub fn ranks(&self, sites: &[Site]) -> Vec<usize> {
        sites.iter().map(|site| self.at(site).len() / site.inputs).collect()
    }

    /// The bytes of a safetensors file with `<site>.lora_down` [r, m]; the path is for messages.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn to_bytes(&self, file: &Path, sites: &[Site]) -> Result<Vec<u8>> {
        let matrix = |site: &Site| {
            let down = self.at(site);
            let shape = [down.len() / site.inputs, site.inputs];
            (!down.is_empty()).then(|| (key(site), (shape, down.to_vec())))
        };
        to_safetensors(file, &sites.iter().filter_map(matrix).collect())
    }

    /// B in the bytes of such a file; the path is for messages.
    ///
    /// # Errors
    /// If the file is damaged, or a matrix does not fit its site.
    pub fn from_bytes(file: &Path, bytes: &[u8], sites: &[Site]) -> Result<Self> {
        let mut tensors: NamedTensors = parse_tensors(file, bytes)?;
        let mut down = Self::default();
        for site in sites {
            match tensors.remove(&key(site)) {
                None => {}
                Some(([rank, inputs], values))
                    if inputs == site.inputs && (1..=inputs).contains(&rank) =>
                {
                    down.insert(site, values);
                }
                Some(_) => {
                    let reason = format!("B of `{}` does not fit the layer", site.name);
                    return Err(Error::damaged(file, reason));
                }
            }
        }
        match tensors.keys().next() {
            None => Ok(down),
            Some(key) => {
                Err(Error::damaged(file, format!("`{key}` belongs to no layer of the base model")))
            }
        }
    }
}

fn key(site: &Site) -> String {
    format!("{}.lora_down", site.name)
}
