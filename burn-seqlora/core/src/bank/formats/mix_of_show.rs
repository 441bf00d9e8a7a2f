//! Mix-of-Show's ED-LoRA (`edlora_model-latest.pth`), which LoRACLR's code writes too.
//!
//! A dictionary `params` of three: `unet` and `text_encoder` with `<module>.lora_down.weight` `[r, m]` and
//! `.lora_up.weight` `[n, r]`, and `new_concept_embedding` with an embedding `[16, 768]` for each word,
//! a row for each cross-attention layer (Mix-of-Show 51270fd5, models/edlora.py). Neither rank nor alpha
//! is stored; ΔW = up · down, and who trained with an alpha other than 1 has to give it as the strength.

use std::collections::BTreeMap;

use super::modules::{Piece, check_ranks, modules};
use super::peft::COMPONENTS;
use super::{AdapterFormat, ForeignAdapter, Source};
use crate::bank::tensors::{Matrix, read_arrays};
use crate::error::{Error, Result};

const WORDS: &str = "new_concept_embedding.";

const PIECES: [(&str, Piece); 2] =
    [(".lora_down.weight", Piece::Down), (".lora_up.weight", Piece::Up)];

/// Mix-of-Show's ED-LoRA.
#[derive(Debug, Clone, Copy)]
pub struct MixOfShow;

impl AdapterFormat for MixOfShow {
    fn name(&self) -> &'static str {
        "mix-of-show"
    }

    fn detect(&self, source: &Source) -> bool {
        source.is_file_of(|key| key.starts_with(WORDS) || split(key).is_some())
    }

    fn read(&self, source: Source) -> Result<ForeignAdapter> {
        let header = source.header(&[])?;
        check_ranks(&header, split)?;
        let (mut words, mut factors) = (BTreeMap::new(), BTreeMap::new());
        for (key, array) in read_arrays(&header)? {
            match key.strip_prefix(WORDS) {
                Some(word) => {
                    let no_matrix =
                        || Error::damaged(header.path(), format!("`{key}` is no matrix"));
                    words.insert(word.to_string(), matrix(array).ok_or_else(no_matrix)?);
                }
                None => {
                    factors.insert(key, array);
                }
            }
        }
        let modules = modules(header.path(), factors, split)?;
        Ok(ForeignAdapter { words, ..ForeignAdapter::new(&header, modules) })
    }

    fn module_names(&self, site: &str) -> Vec<String> {
        vec![site.into()]
    }
}

fn split(key: &str) -> Option<(String, Piece)> {
    let (component, _) = key.split_once('.')?;
    let piece = |(end, piece): (&str, Piece)| Some((key.strip_suffix(end)?.to_string(), piece));
    COMPONENTS.contains(&component).then(|| PIECES.into_iter().find_map(piece))?
}

fn matrix((shape, values): (Vec<usize>, Vec<f32>)) -> Option<Matrix> {
    Some((shape.try_into().ok()?, values))
}
