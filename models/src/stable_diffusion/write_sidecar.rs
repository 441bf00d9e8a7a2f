//! What lies next to a single file that was written: a config, where the file does not tell its own, and the
//! tokenizer.

use std::path::Path;

use seqlora_core::diffusion::{Prediction, SchedulerConfig};
use seqlora_files::{read_bytes, write_json, write_new_folder};
use serde_json::{Value, json};

use super::config::StableDiffusionConfig;
use super::sidecar::Sidecar;
use super::single_file::{SCHEDULE, name, single_file_config};
use super::source::ModelSource;
use crate::tokenizer::ClipTokenizer;
use crate::weights::{Header, ModelError, TOKENIZER};

/// The largest file of a tokenizer that is copied. Vocabularies have 1 to 4 MB.
const COPIED: u64 = 64 << 20;

impl ModelSource {
    /// Writes the config of a single file of this model that has been written, `NAME.config.json`, unless the file is
    /// read as the same model without. Returns whether it was written.
    ///
    /// # Errors
    /// If the file cannot be read, or the config cannot be written.
    pub fn write_sidecar(&self, file: &Path, sidecar: &Path) -> Result<bool, ModelError> {
        let header = Header::read(file)?;
        // Shapes may suggest what cannot be, such as 32 groups of 24 channels.
        let told = single_file_config(&header, Sidecar::default(), None, file).ok();
        let is_same = told.is_some_and(|(told, _)| agree(&told, &self.config));
        if !is_same {
            write_json(sidecar, &whole(&self.config))?;
        }
        Ok(!is_same)
    }

    /// Writes its tokenizer into a folder, unless it is there already.
    ///
    /// # Errors
    /// If the folder holds anything but this tokenizer, or a file cannot be read or written.
    pub fn write_tokenizer(&self, folder: &Path) -> Result<(), ModelError> {
        let file = |name: &str| {
            let path = self.tokenizer.join(name);
            let bytes = || read_bytes(&path, COPIED).map_err(ModelError::from);
            path.is_file().then(|| bytes().map(|bytes| (name.to_string(), bytes)))
        };
        let is_new = !folder.exists();
        if is_new && write_new_folder(folder, TOKENIZER.into_iter().filter_map(file))? {
            return Ok(());
        }
        let [own, other] = [self.tokenizer.as_path(), folder].map(ClipTokenizer::from_folder);
        match own?.digest() == other?.digest() {
            true => Ok(()),
            false => {
                let reason =
                    "it is another model's tokenizer; write the model's file into another folder";
                Err(ModelError::config(folder, reason))
            }
        }
    }
}

/// Whether two configs describe the same model.
fn agree(a: &StableDiffusionConfig, b: &StableDiffusionConfig) -> bool {
    // Which class of diffusers wrote a schedule changes nothing.
    let schedule = |config: &StableDiffusionConfig| {
        let class_name = None;
        SchedulerConfig { class_name, ..scheduler(config) }
    };
    (&a.unet, &a.text_encoder, &a.vae) == (&b.unet, &b.text_encoder, &b.vae)
        && schedule(a) == schedule(b)
}

/// The schedule, with what the model predicts also where its file leaves that to the default.
fn scheduler(config: &StableDiffusionConfig) -> SchedulerConfig {
    let given = config.scheduler.prediction_type.clone();
    let prediction_type = Some(given.unwrap_or_else(|| name(Prediction::Epsilon)));
    SchedulerConfig { prediction_type, ..config.scheduler.clone() }
}

/// All keys, those too that a file tells: nobody has to know which ones these are.
fn whole(config: &StableDiffusionConfig) -> Value {
    let mut schedule = json!(scheduler(config));
    for key in SCHEDULE {
        // null is diffusers' default, and not Stable Diffusion's value.
        schedule.as_object_mut().expect("it has keys").entry(key).or_insert(Value::Null);
    }
    json!({
        "unet": &config.unet,
        "text_encoder": &config.text_encoder,
        "vae": &config.vae,
        "scheduler": schedule,
    })
}
