//! What an image is made from besides its model: concepts and files, each with the beginning of its SHA-256,
//! so that whoever makes the image again is told what has changed.

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::Member;
use burn_seqlora::data::Parameters;
use burn_seqlora::diffusion::SchedulerConfig;
use burn_seqlora::files::{sha256, sha256_of_path};

use crate::args::{Generate, Model};
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

/// The concepts of the bank that are used, the files and folders that the command line names, and what the model says
/// of noise levels, which its fingerprint does not cover.
///
/// # Errors
/// If a file cannot be read.
pub fn inputs(
    args: &Generate,
    bank: Option<&Bank>,
    members: &[Member],
    scheduler: &SchedulerConfig,
) -> Result<Vec<Input>, Failure> {
    let input = |digest: &str, name: String| {
        let digest = digest.chars().take(DIGITS).collect();
        Input { digest, name }
    };
    let concepts = members.iter().filter_map(|Member { id, .. }| {
        let bank = bank?;
        Some(input(bank.record_digest(bank.find(id).ok()?)?, format!("concept {id}")))
    });
    let loras = args.lora.iter().map(|lora| lora.file.as_path());
    let Model { tokenizer, vae, .. } = &args.model;
    let others = [tokenizer, vae, &args.fused, &args.init, &args.latents];
    let paths = loras.chain(others.into_iter().filter_map(|path| path.as_deref()));
    let named = paths.map(|path| Ok(input(&sha256_of_path(path)?, path.display().to_string())));
    let scheduler = input(&sha256(&serde_json::to_vec(scheduler)?), "scheduler".into());
    concepts.map(Ok).chain(named).chain([Ok(scheduler)]).collect()
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
