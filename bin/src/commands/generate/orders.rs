//! Which images are made: prompt by prompt, seed by seed.

use burn::tensor::TensorData;
use burn_seqlora::pipeline::{ImageRequest, Noise};

use crate::args::{Generate, MOST_IMAGES};
use crate::failure::Failure;
use crate::prompt_file;

/// Bytes of a prompt. Text encoders read 77 tokens of it.
const LONGEST_PROMPT: usize = 65_536;

/// An image that is asked for: whose prompt, seed and number it has.
#[derive(Debug, Clone)]
pub struct Order {
    pub prompt: String,
    pub seed: u64,
    pub number: usize,
    /// The number of its file, if the run is a part of one.
    pub place: Option<usize>,
}

/// All images that the arguments ask for; `seed` is for those without `--seeds`.
///
/// # Errors
/// If the file of prompts cannot be read, or there is no prompt, one is too long, or there are too many
/// images.
pub fn orders(args: &Generate, seed: u64) -> Result<Vec<Order>, Failure> {
    let prompts = prompts(args)?;
    let seeds = if args.seeds.is_empty() { vec![seed] } else { args.seeds.clone() };
    let numbers = if args.image.is_empty() { (0..args.num).collect() } else { args.image.clone() };
    let count = prompts.len().saturating_mul(seeds.len()).saturating_mul(numbers.len());
    if count > MOST_IMAGES {
        return Err(Failure::Usage(format!(
            "{} prompts with {} seeds and {} images each are {count} images; a run makes at most \
             {MOST_IMAGES}",
            prompts.len(),
            seeds.len(),
            numbers.len()
        )));
    }
    let mut orders = Vec::with_capacity(count);
    for prompt in prompts {
        for seed in &seeds {
            let order = |number: &usize| Order {
                prompt: prompt.clone(),
                seed: *seed,
                number: *number,
                place: None,
            };
            orders.extend(numbers.iter().map(order));
        }
    }
    Ok(orders)
}

fn prompts(args: &Generate) -> Result<Vec<String>, Failure> {
    let mut prompts = args.prompt.clone();
    if let Some(file) = &args.prompts {
        prompts.extend(prompt_file::read("--prompts", file)?);
    }
    let regions = args.region.iter().map(|region| &region.prompt);
    let too_long = |prompt: &&String| prompt.len() > LONGEST_PROMPT;
    if let Some(long) = prompts.iter().chain([&args.negative]).chain(regions).find(too_long) {
        let start: String = long.chars().take(40).collect();
        let length = long.len();
        return Err(Failure::Usage(format!(
            "the prompt `{start}…` has {length} bytes; at most {LONGEST_PROMPT} are read"
        )));
    }
    Ok(prompts)
}

/// The pipeline's request for an image, which may start from given latents `[1, channels, height, width]`.
pub fn request(args: &Generate, order: &Order, latents: Option<TensorData>) -> ImageRequest {
    let noise = Noise::of(order.seed, order.number);
    let regions = args.region.iter().map(|region| (region.corners, region.prompt.clone()));
    ImageRequest {
        prompt: order.prompt.clone(),
        negative: args.negative.clone(),
        regions: regions.collect(),
        noise: match latents {
            Some(latents) => noise.starting_from(latents),
            None => noise,
        },
    }
}
