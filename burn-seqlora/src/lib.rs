//! SeqLoRA on [Burn](https://burn.dev): teach Stable Diffusion one concept after another, and use all
//! of them at once.
//!
//! Each concept gets a low-rank adapter `ΔW = A Bᵀ` of its own. A and B are trained by bilevel
//! optimisation with exact second derivatives, and B stays orthogonal to the B of every earlier
//! concept, so that adapters simply add up ([arXiv 2605.22743](https://arxiv.org/abs/2605.22743)).
//!
//! # Generate
//!
//! A [`Pipeline`] is a model, with or without the concepts of a bank. `builtin` is a small model that
//! comes with the source tree; a folder in diffusers' layout or a single `.safetensors` file is loaded
//! by its path.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(all(feature = "cpu", feature = "toy-world"))] {
//! use burn_seqlora::prelude::*;
//!
//! let pipeline = Pipeline::<Flex>::load("builtin")?;
//! let image = pipeline.generate(Prompt::new("a red ball on grass").seed(7).steps(2))?;
//! assert_eq!(image.dimensions(), (64, 64));
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(folder.path())?;
//! image.save("ball.png")?;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # Learn a concept from a folder of images
//!
//! Learning needs a backend that records a tape, [`Autodiff`](prelude::Autodiff) over any other. A bank
//! is a folder; what is learnt later is added to it, and the images of earlier concepts are not needed
//! again.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # #[cfg(all(feature = "cpu", feature = "toy-world"))] {
//! use burn_seqlora::prelude::*;
//!
//! # let folder = tempfile::tempdir()?;
//! # std::env::set_current_dir(folder.path())?;
//! # std::fs::create_dir_all("photos/mug")?;
//! # for shade in [120, 220] {
//! #     let image = burn_seqlora::RgbImage::from_pixel(64, 64, [shade, 40, 90].into());
//! #     image.save(format!("photos/mug/{shade}.png"))?;
//! # }
//! let model = Model::<Autodiff<Flex>>::load("builtin")?;
//! let config = TrainConfig { steps: 80, ..TrainConfig::default() };
//! # let config = TrainConfig { steps: 1, outer: 1, inner: 1, crops: 1, probes: 1, ..config };
//! let learnt = learn("photos", "bank", &model, &config)?; // photos/mug/*.png
//! assert_eq!(learnt, ["mug"]);
//!
//! let pipeline = Pipeline::new(model).with_bank("bank")?;
//! let prompt = Prompt::new("a <mug> on a plain white background");
//! # let prompt = prompt.steps(2);
//! pipeline.generate(prompt)?.save("mug.png")?;
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//!
//! | modules | what they hold |
//! |---|---|
//! | [`methods`], [`objective`], [`optim`], [`train`] | how concepts are learnt: trait [`Method`](methods::Method), trait [`Objective`](objective::Objective), the loop |
//! | [`bank`], [`lora`], [`compose`] | what is learnt, on disk and on a device |
//! | [`diffusion`], [`text`], [`pipeline`] | noise, samplers and prompts; batches of images with any model |
//! | [`model`] | the traits that a model of one's own implements |
//! | [`jvp`], [`kernels`] | dual numbers for Hessian products, and the operations that they pass through |
//! | [`data`], [`eval`], [`files`] | images and captions; metrics and reports; atomic files |
//! | `models`, `scorers`, `toy_world` | Stable Diffusion 1.x and 2.x; DINO, CLIP, DreamSim and HPSv2 as metrics; the toy world behind `builtin` (features of the same names) |
//!
//! The features `cpu` (the default), `wgpu` and `cuda` compile backends in; `autotune` lets GPUs choose
//! their fastest kernels at run time.

#[cfg(feature = "models")]
mod learning;
#[cfg(feature = "models")]
mod loading;
pub mod prelude;
#[cfg(feature = "models")]
mod prompt;
#[cfg(feature = "models")]
mod text_to_image;

pub use burn;
pub use burn_jvp as jvp;
pub use image;
pub use image::RgbImage;
pub use seqlora_core::*;
pub use seqlora_data as data;
pub use seqlora_eval as eval;
pub use seqlora_files as files;
pub use seqlora_kernels as kernels;
#[cfg(feature = "models")]
pub use seqlora_models as models;
#[cfg(feature = "scorers")]
pub use seqlora_scorers as scorers;
#[cfg(feature = "toy-world")]
pub use seqlora_toy_world as toy_world;

#[cfg(feature = "models")]
pub use self::{
    learning::{Learning, Learnt, learn},
    loading::{FoundModel, LoadError, LoadOptions, Model},
    prompt::Prompt,
    text_to_image::Pipeline,
};
