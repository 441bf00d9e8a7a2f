//! Text to image with Stable Diffusion and the concepts of a bank.

use std::path::Path;

use image::RgbImage;
use seqlora_core::Result;
use seqlora_core::bank::Bank;
use seqlora_core::compose::{Composition, Member};
use seqlora_core::model::DiffusionModel;
use seqlora_core::pipeline;
use seqlora_kernels::KernelBackend;

use crate::{LoadError, Model, Prompt};

/// Generates images with Stable Diffusion and, optionally, the concepts of a bank.
///
/// It generates one image at a time. [`pipeline::Pipeline`], on which it is built, takes batches, reports
/// progress and works with any model.
#[derive(Debug)]
pub struct Pipeline<B: KernelBackend> {
    model: Model<B>,
    composition: Composition<B>,
}

impl<B: KernelBackend> Pipeline<B> {
    /// Loads a model in f32 on the default device, without concepts; see [`Model::load`].
    ///
    /// # Errors
    /// If there is no such model, or anything in it is missing, damaged or does not fit.
    pub fn load(model: impl AsRef<Path>) -> Result<Self, LoadError> {
        Ok(Self::new(Model::load(model)?))
    }

    /// Takes a model that is already loaded, without concepts.
    pub fn new(model: Model<B>) -> Self {
        let composition = Composition::none(model.model.sites().len());
        Self { model, composition }
    }

    /// Loads all concepts of a bank, each at its trained strength. They replace those loaded before.
    ///
    /// # Errors
    /// If there is no such bank, it was made for another base model, or it is damaged.
    pub fn with_bank(self, bank: impl AsRef<Path>) -> Result<Self> {
        let bank = self.open(bank.as_ref())?;
        let members: Vec<Member> = bank.concepts().iter().map(Member::new).collect();
        self.with_members(&bank, &members)
    }

    /// Loads some concepts of a bank, each with its strength λ (1 is the trained one). They replace
    /// those loaded before.
    ///
    /// # Errors
    /// Those of [`with_bank`](Self::with_bank), or if a concept is not in the bank, is given twice, or
    /// its strength is not finite.
    pub fn with_concepts<I: Into<String>>(
        self,
        bank: impl AsRef<Path>,
        concepts: impl IntoIterator<Item = (I, f64)>,
    ) -> Result<Self> {
        let bank = self.open(bank.as_ref())?;
        let member = |(id, scale): (I, f64)| Member { id: id.into(), scale };
        let members: Vec<Member> = concepts.into_iter().map(member).collect();
        self.with_members(&bank, &members)
    }

    fn open(&self, bank: &Path) -> Result<Bank> {
        Bank::open_for(bank, &self.model.base)
    }

    fn with_members(self, bank: &Bank, members: &[Member]) -> Result<Self> {
        let (sites, device) = (self.model.model.sites(), self.model.model.device());
        let composition = Composition::load(bank, members, sites, &device)?;
        Ok(Self { composition, ..self })
    }

    /// The ids of the concepts that prompts may name.
    pub fn concepts(&self) -> impl Iterator<Item = &str> {
        self.composition.vocabulary.concepts()
    }

    /// The base model.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Generates one image.
    ///
    /// # Errors
    /// If the prompt names an unknown concept, a setting does not fit the model, or the image comes out
    /// as numbers that are not finite.
    pub fn generate(&self, prompt: impl Into<Prompt>) -> Result<RgbImage> {
        let (request, settings) = prompt.into().into_request(self.model.guidance);
        // Cloning the composition copies no numbers: tensors share their memory.
        let pipeline = pipeline::Pipeline::new(&self.model.model, self.composition.clone());
        let pipeline::Image { width, height, rgb } = pipeline.generate(&request, &settings)?;
        let image = RgbImage::from_raw(width as u32, height as u32, rgb);
        Ok(image.expect("three bytes per pixel"))
    }
}
