//! Images of a concept while it is learnt, from the same noise each time.

use std::fs;
use std::path::Path;

use burn_seqlora::bank::{Bank, BaseModel};
use burn_seqlora::compose::{Composition, HostConcept, Member};
use burn_seqlora::error::Error;
use burn_seqlora::files::GuardedFolder;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{ImageRequest, Pipeline, SamplingSettings};
use burn_seqlora::precision::Precision;
use burn_seqlora::train::{Event, Flow, LearnPlan};
use image::RgbImage;

use super::folders;
use super::preview_prompts::{TEXT, named};
use crate::args::Learn;
use crate::commands::builtin;
use crate::failure::Failure;
use crate::images::{contact_sheet, read_png, to_rgb_image, write_png};
use crate::interrupt;
use crate::parameters::{ImageParameters, bank_fields, text};
use crate::terminal::Terminal;

/// The seed of all previews.
const SEED: u64 = 0;

/// Draws each prompt with the concepts of the bank and the one that is being learnt.
pub struct Previewer<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    base: &'a BaseModel,
    precision: Precision,
    args: &'a Learn,
    /// The concepts of the bank.
    earlier: Vec<(HostConcept, f64)>,
    /// The concept that is being learnt.
    latest: Option<HostConcept>,
    prompts: &'a [String],
    settings: SamplingSettings,
    terminal: &'a Terminal,
    /// What was drawn at the last event.
    drawn: Vec<Preview>,
}

/// Checks that previews can be written where they go, and that a concept finds none of another run there.
///
/// # Errors
/// Names the folder, or the sheet.
pub fn check_folder(plan: &LearnPlan, bank: &Bank, args: &Learn) -> Result<(), Failure> {
    let folder = args.previews.folder();
    folders::check(folder, plan)?;
    for concept in plan.concepts.iter().filter(|concept| !folders::is_begun(bank, concept)) {
        let id = concept.data.id();
        let sheet = GuardedFolder::new(folder).check(format!("{id}.png"))?;
        let taken = [folder.join(id), sheet].into_iter().find(|path| is_taken(path));
        if let Some(taken) = taken {
            return Err(Failure::Usage(format!(
                "{} holds previews of another run; move it, or choose another --preview-out",
                taken.display()
            )));
        }
    }
    Ok(())
}

/// Whether there is a file, or a folder that is not empty.
fn is_taken(path: &Path) -> bool {
    path.exists() && fs::read_dir(path).map_or(true, |mut entries| entries.next().is_some())
}

/// An image of the concept that is being learnt.
pub struct Preview {
    /// Steps done.
    pub step: usize,
    /// The number of its prompt.
    pub prompt: usize,
    /// The image.
    pub image: RgbImage,
}

impl<'a, B: TrainBackend> Previewer<'a, B> {
    /// Draws with a model, which is `base` in this precision.
    ///
    /// # Errors
    /// If a concept of the bank cannot be read.
    pub fn new(
        model: &'a StableDiffusion<B>,
        (base, precision): (&'a BaseModel, Precision),
        bank: &Bank,
        prompts: &'a [String],
        args: &'a Learn,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        let member = |id: &_| Ok((Member::new(id).concept(bank, model.sites())?, 1.0));
        let earlier = bank.concepts().iter().map(member).collect::<Result<_, Error>>()?;
        let guidance = builtin::usual_guidance(&args.model.model);
        let settings = SamplingSettings { guidance, text: TEXT, ..SamplingSettings::default() };
        Ok(Self {
            model,
            base,
            precision,
            args,
            earlier,
            latest: None,
            prompts,
            settings,
            terminal,
            drawn: vec![],
        })
    }

    /// What was drawn at the last event.
    pub fn drawn(&self) -> &[Preview] {
        &self.drawn
    }

    /// Draws what an event shows.
    pub fn see(&mut self, event: &Event) -> Flow {
        self.drawn.clear();
        match event {
            Event::Snapshot { step, concept, .. } => self.draw(*step, concept),
            Event::Learnt { .. } => {
                // It is in the bank now, and is drawn with the next ones.
                self.earlier.extend(self.latest.take().map(|concept| (concept, 1.0)));
                Flow::Continue
            }
            Event::Failed { .. } => {
                self.latest = None;
                Flow::Continue
            }
            _ => Flow::Continue,
        }
    }

    /// Draws a concept as it is after so many steps. What goes wrong is told, and training goes on.
    fn draw(&mut self, step: usize, concept: &HostConcept) -> Flow {
        if let Err(error) = self.try_draw(step, concept) {
            let text = format!("no preview of <{}> at step {step}: {error}", concept.id);
            self.terminal.warning(text);
        }
        self.latest = Some(concept.clone());
        interrupt::flow()
    }

    fn try_draw(&mut self, step: usize, concept: &HostConcept) -> Result<(), Failure> {
        let own = self.args.previews.folder().join(&concept.id);
        GuardedFolder::new(self.args.previews.folder()).create_folder(&concept.id)?;
        // Not as it was, if it is trained further.
        let others = self.earlier.iter().filter(|(other, _)| other.id != concept.id);
        let concepts: Vec<_> = others.cloned().chain([(concept.clone(), 1.0)]).collect();
        let device = DiffusionModel::<B>::device(self.model);
        let composition = Composition::of(&concepts, self.model.sites(), &device);
        let pipeline = Pipeline::new(self.model, composition);
        for (number, prompt) in self.prompts.iter().enumerate() {
            let prompt = named(prompt, &concept.id);
            let request = ImageRequest::new(&prompt, SEED, number);
            let advance = |_| interrupt::flow();
            let sampled =
                pipeline.sample(std::slice::from_ref(&request), &self.settings, advance)?;
            let Some(mut sampled) = sampled else { return Ok(()) };
            let image = to_rgb_image(sampled.images.remove(0));
            let text = self.text(&prompt, number, step, &concepts)?;
            write_png(&own.join(format!("{number}-{step:06}.png")), &image, &text)?;
            self.drawn.push(Preview { step, prompt: number, image });
        }
        self.write_sheet(concept)
    }

    /// What is told of a preview of the last of these concepts: as of any image with all of them, and at which step it
    /// was drawn.
    fn text(
        &self,
        prompt: &str,
        number: usize,
        step: usize,
        concepts: &[(HostConcept, f64)],
    ) -> Result<String, Failure> {
        let image = ImageParameters {
            model: &self.args.model,
            base: self.base,
            settings: &self.settings,
            precision: self.precision,
            size: self.model.config().image_sizes().pixels(self.settings.size)?,
        };
        let mut fields = image.fields(SEED, number);
        let scales = concepts.iter().map(|(concept, scale)| (concept.id.as_str(), *scale));
        fields.extend(bank_fields(&self.args.bank, scales));
        fields.extend(concepts.last().map(|(latest, _)| ("Concept", latest.id.clone())));
        fields.push(("Concept step", step.to_string()));
        Ok(text(prompt, "", fields))
    }

    /// A row for each prompt, and a column for each step.
    fn write_sheet(&self, concept: &HostConcept) -> Result<(), Failure> {
        let folder = self.args.previews.folder();
        let own = folder.join(&concept.id);
        let mut names: Vec<String> = fs::read_dir(&own)
            .map_err(Error::io("cannot read", &own))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".png"))
            .collect();
        names.sort();
        let row = |number: usize| {
            let own_names = names.iter().filter(|name| name.starts_with(&format!("{number}-")));
            own_names.map(|name| read_png(&own.join(name))).collect::<Result<Vec<RgbImage>, _>>()
        };
        let rows = (0..self.prompts.len()).map(row).collect::<Result<Vec<_>, _>>()?;
        let sheet = folder.join(format!("{}.png", concept.id));
        Ok(write_png(&sheet, &contact_sheet(&rows), &self.prompts.join("\n"))?)
    }
}
