//! What an image is made from besides its model: concepts and files, each with the beginning of its SHA-256,
//! so that whoever makes the image again is told what has changed.

use std::path::Path;

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::Member;
use burn_seqlora::data::Parameters;
use burn_seqlora::files::sha256_of_file;

use crate::args::Generate;
use crate::failure::Failure;
use crate::parameters::Field;
use crate::terminal::Terminal;

/// The setting's name, of which an image has one for each input: the digest, and what has it.
const NAME: &str = "Input";

/// Hexadecimal digits of a digest, as many as A1111 shows of a LoRA's.
const DIGITS: usize = 12;

/// A digest, and the concept or file that has it.
#[derive(Debug, Clone)]
pub struct Input {
    digest: String,
    name: String,
}

impl Input {
    /// As a setting of an image.
    pub fn field(&self) -> Field {
        (NAME, format!("{} {}", self.digest, self.name))
    }
}

/// The concepts of the bank that are used, and the files that the command line names. Fused weights are left out, since
/// they say themselves what they were made of.
///
/// # Errors
/// If a file cannot be read.
pub fn inputs(
    args: &Generate,
    bank: Option<&Bank>,
    members: &[Member],
) -> Result<Vec<Input>, Failure> {
    let input = |digest: &str, name: String| {
        let digest = digest.chars().take(DIGITS).collect();
        Input { digest, name }
    };
    let concepts = members.iter().filter_map(|Member { id, .. }| {
        let bank = bank?;
        Some(input(bank.record_digest(bank.find(id).ok()?)?, format!("concept {id}")))
    });
    let file = |file: &Path| Ok(input(&sha256_of_file(file)?, file.display().to_string()));
    // Adapters of several files lie in folders.
    let loras = args.lora.iter().map(|lora| lora.file.as_path()).filter(|file| file.is_file());
    let files = loras.chain(args.init.as_deref()).chain(args.latents.as_deref()).map(file);
    concepts.map(Ok).chain(files).collect()
}

/// Warns of inputs that an image to be made again was made from, and that are others by now.
pub fn warn_of_others(image: &Parameters, inputs: &[Input], terminal: &Terminal) {
    for (digest, name) in image.all(NAME).filter_map(|input| input.split_once(' ')) {
        if inputs.iter().any(|input| input.name == name && input.digest != digest) {
            terminal.warning(format!(
                "{name} has changed since the image was made, which will be another one"
            ));
        }
    }
}
