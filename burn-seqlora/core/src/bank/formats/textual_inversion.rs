//! Token embeddings as files that A1111, ComfyUI and diffusers load as "textual inversion".
//!
//! The file is `<name>.safetensors` with one tensor `emb_params` `[words, width]`. In A1111 and ComfyUI
//! one writes the file's name in the prompt, in diffusers the token that one loads it as. It has one
//! embedding per word: those of ED-LoRA, one per word and cross-attention layer, have no place in it.
//! diffusers' own files name the tensor after the token.

use std::collections::BTreeMap;
use std::path::Path;

use seqlora_files::Header;

use crate::bank::tensors::{Matrix, read_arrays, write_arrays};
use crate::error::{Error, Result};

const KEY: &str = "emb_params";

/// Writes embeddings `[words, width]`.
///
/// # Errors
/// If the file cannot be written.
pub fn write_textual_inversion(file: &Path, (shape, values): &Matrix) -> Result<()> {
    let tensors = BTreeMap::from([(KEY.to_string(), (shape.to_vec(), values.clone()))]);
    write_arrays(file, &tensors, BTreeMap::new())
}

/// Reads embeddings `[words, width]`.
///
/// # Errors
/// If the file is missing or damaged, or holds anything else, such as the words of a model with two text
/// encoders.
pub fn read_textual_inversion(file: &Path) -> Result<Matrix> {
    let tensors = read_arrays(&Header::read(file)?)?;
    let names = tensors.keys().cloned().collect::<Vec<_>>().join(", ");
    let mut tensors = tensors.into_iter();
    let (Some((name, (shape, values))), None) = (tensors.next(), tensors.next()) else {
        let reason = format!("it holds [{names}], and not the embeddings of words alone");
        return Err(Error::damaged(file, reason));
    };
    match shape[..] {
        [words, width] if words > 0 => Ok(([words, width], values)),
        [width] => Ok(([1, width], values)),
        _ => Err(Error::damaged(file, format!("`{name}` has shape {shape:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bank::tensors::write_tensors;

    #[test]
    fn embeddings_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("dog6.safetensors");
        let embeddings = ([2, 3], vec![0.5, 0.25, 0.0, -1.0, 2.0, 3.0]);
        write_textual_inversion(&file, &embeddings).unwrap();
        assert_eq!(read_textual_inversion(&file).unwrap(), embeddings);
        write_tensors(&file, &[("<dog6>".to_string(), embeddings.clone())].into()).unwrap();
        assert_eq!(read_textual_inversion(&file).unwrap(), embeddings);
        let two = ["clip_l", "clip_g"].map(|name| (name.to_string(), embeddings.clone()));
        write_tensors(&file, &two.into()).unwrap();
        let error = read_textual_inversion(&file).unwrap_err().to_string();
        assert!(error.contains("it holds [clip_g, clip_l]"), "{error}");
    }
}
