//! One file as kohya's sd-scripts write it, which A1111, ComfyUI and diffusers read too.
//!
//! A module's name is `lora_unet_` or `lora_te_` and the module path with underscores for dots, and it has
//! `.lora_down.weight` `[r, m]`, `.lora_up.weight` `[n, r]` and `.alpha`; ΔW = alpha / r · up · down
//! (sd-scripts 48d368fa, networks/lora.py). Tools read alpha from the tensor only, so that it is always
//! written. Files of diffusers' converter call the text encoder `lora_te1_`.

mod metadata;

use std::collections::BTreeMap;
use std::path::Path;

use super::modules::{Piece, read_modules};
use super::{AdapterCard, AdapterFormat, ForeignAdapter, Source};
use crate::bank::tensors::write_arrays;
use crate::error::{Error, Result};
use crate::lora::StoredAdapter;

/// What begins our sites' names, and theirs.
const PREFIXES: [(&str, &str); 3] =
    [("unet.", "lora_unet_"), ("text_encoder.", "lora_te_"), ("text_encoder.", "lora_te1_")];

const PIECES: [(&str, Piece); 3] =
    [(".lora_down.weight", Piece::Down), (".lora_up.weight", Piece::Up), (".alpha", Piece::Alpha)];

/// kohya's LoRA file.
#[derive(Debug, Clone, Copy)]
pub struct Kohya;

impl AdapterFormat for Kohya {
    fn name(&self) -> &'static str {
        "kohya"
    }

    fn detect(&self, source: &Source) -> bool {
        let begins = |key: &str| PREFIXES.iter().any(|(_, theirs)| key.starts_with(theirs));
        source.is_file_of(begins)
    }

    fn read(&self, source: Source) -> Result<ForeignAdapter> {
        let header = source.header(&[])?;
        let split = |key: &str| {
            let piece =
                |(end, piece): &(&str, Piece)| Some((key.strip_suffix(end)?.to_string(), *piece));
            PIECES.iter().find_map(piece)
        };
        let adapter = ForeignAdapter::new(&header, read_modules(&header, split)?);
        Ok(ForeignAdapter { is_changed: metadata::is_changed(&header)?, ..adapter })
    }

    fn module_names(&self, site: &str) -> Vec<String> {
        let name = |(ours, theirs): &(&str, &str)| {
            Some(format!("{theirs}{}", site.strip_prefix(ours)?.replace('.', "_")))
        };
        PREFIXES.iter().filter_map(name).collect()
    }

    fn file_name(&self, name: &str) -> Option<String> {
        Some(format!("{name}.safetensors"))
    }

    fn write(&self, folder: &Path, adapter: &StoredAdapter, card: &AdapterCard) -> Result<()> {
        let file = folder.join(self.file_name(&card.name).expect("it is one file"));
        let mut tensors = BTreeMap::new();
        for (site, f) in &adapter.0 {
            let names = self.module_names(site);
            let Some(name) = names.first() else {
                return Err(Error::damaged(&file, format!("kohya has no place for `{site}`")));
            };
            let rank = f.rank;
            let values: [(Vec<usize>, Vec<f32>); 3] = [
                (vec![rank, f.inputs()], f.down.clone()),
                (vec![f.outputs(), rank], f.up.clone()),
                (vec![], vec![rank as f32]),
            ];
            for ((end, _), value) in PIECES.iter().zip(values) {
                tensors.insert(format!("{name}{end}"), value);
            }
        }
        let metadata = metadata::of(&file, &tensors, adapter, card)?;
        write_arrays(&file, &tensors, metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{card, factors, read_file, site};
    use super::super::{open, read};
    use super::*;
    use crate::lora::Site;

    const UNET: &str = "unet.up_blocks.3.attentions.2.transformer_blocks.0.attn1.to_out.0";
    const TEXT: &str = "text_encoder.text_model.encoder.layers.11.mlp.fc1";

    fn sites() -> [Site; 2] {
        [UNET, TEXT].map(site)
    }

    fn written() -> (tempfile::TempDir, std::path::PathBuf, StoredAdapter) {
        let entries = [(UNET.to_string(), factors(2)), (TEXT.to_string(), factors(1))];
        let (folder, adapter) = (tempfile::tempdir().unwrap(), StoredAdapter(entries.into()));
        Kohya.write(folder.path(), &adapter, &card("dog6")).unwrap();
        let file = folder.path().join("dog6.safetensors");
        (folder, file, adapter)
    }

    /// The key names of a real file (sd-scripts 48d368fa), and what A1111 reads of the metadata.
    #[test]
    fn what_is_written_has_kohyas_names() {
        let (_folder, file, adapter) = written();
        let (tensors, metadata) = read_file(&file);
        let unet = "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn1_to_out_0";
        let text = "lora_te_text_model_encoder_layers_11_mlp_fc1";
        let keys: Vec<String> = [text, unet]
            .iter()
            .flat_map(|name| {
                ["alpha", "lora_down.weight", "lora_up.weight"].map(|end| format!("{name}.{end}"))
            })
            .collect();
        assert!(tensors.keys().eq(&keys), "{:?}", tensors.keys());
        assert_eq!(tensors[&format!("{unet}.alpha")], (vec![], vec![2.0]));
        assert_eq!(metadata["ss_v2"], "False");
        assert_eq!(metadata["modelspec.trigger_phrase"], "<dog6>");
        assert_eq!(metadata["modelspec.architecture"], "stable-diffusion-v1/lora");
        let (format, _) = open(&file).unwrap();
        assert_eq!(format.name(), "kohya");
        assert_eq!(read(&file, &sites()).unwrap(), adapter);
    }

    /// alpha divides by the rank, is 1 times the rank where it is missing, and diffusers' converter names
    /// the text encoder otherwise.
    #[test]
    fn alpha_scales_the_product() {
        let (_folder, file, adapter) = written();
        let (tensors, metadata) = read_file(&file);
        let change = |(key, (shape, values)): (String, (Vec<usize>, Vec<f32>))| {
            let is_unet = key.starts_with("lora_unet");
            match key.ends_with(".alpha") {
                true if is_unet => Some((key, (shape, vec![1.0]))),
                true => None,
                false => Some((key.replace("lora_te_", "lora_te1_"), (shape, values))),
            }
        };
        let tensors = tensors.into_iter().filter_map(change).collect();
        write_arrays(&file, &tensors, metadata).unwrap();
        let found = read(&file, &sites()).unwrap();
        let half = |x: &f32| x / 2.0;
        let expected: Vec<f32> = adapter.get(UNET).unwrap().up.iter().map(half).collect();
        assert_eq!(found.get(UNET).unwrap().up, expected);
        assert_eq!(found.get(TEXT), adapter.get(TEXT));
    }

    /// A digest belongs to the tensors; other metadata may change.
    #[test]
    fn changed_tensors_are_told() {
        let (_folder, file, _) = written();
        let (mut tensors, mut metadata) = read_file(&file);
        metadata.insert("ss_output_name".into(), "renamed".into());
        write_arrays(&file, &tensors, metadata.clone()).unwrap();
        assert!(!open(&file).unwrap().1.is_changed);
        tensors.retain(|key, _| key.starts_with("lora_unet_"));
        write_arrays(&file, &tensors, metadata).unwrap();
        assert!(open(&file).unwrap().1.is_changed);
        write_arrays(&file, &tensors, BTreeMap::new()).unwrap();
        assert!(!open(&file).unwrap().1.is_changed);
    }

    #[test]
    fn what_no_layer_is_for_is_named() {
        let (_folder, file, _) = written();
        let error = read(&file, &sites()[..1]).unwrap_err().to_string();
        assert!(error.contains("`lora_te_text_model_encoder_layers_11_mlp_fc1` belongs to no"));
        let (mut tensors, metadata) = read_file(&file);
        tensors.insert("lora_unet_x.diff".into(), (vec![1], vec![1.0]));
        write_arrays(&file, &tensors, metadata).unwrap();
        let error = read(&file, &sites()).unwrap_err().to_string();
        assert!(error.contains("`lora_unet_x.diff` is not a factor"), "{error}");
    }
}
