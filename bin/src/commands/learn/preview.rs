//! Images of a concept while it is learnt, from the same noise each time.

use std::fs;
use std::path::{Path, PathBuf};

use burn_seqlora::bank::Bank;
use burn_seqlora::compose::{Composition, HostConcept, Member};
use burn_seqlora::error::Error;
use burn_seqlora::files::read_text;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::model::DiffusionModel;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::pipeline::{ImageRequest, Pipeline, SamplingSettings};
use burn_seqlora::train::{Event, Flow};
use image::RgbImage;

use crate::args::Previews;
use crate::commands::builtin;
use crate::failure::Failure;
use crate::images::{contact_sheet, read_png, to_rgb_image, write_png};
use crate::interrupt;
use crate::terminal::Terminal;

/// Draws each prompt with the concepts of the bank and the one that is being learnt.
pub struct Previewer<'a, B: TrainBackend> {
    model: &'a StableDiffusion<B>,
    /// The concepts of the bank.
    earlier: Vec<(HostConcept, f64)>,
    /// The concept that is being learnt.
    latest: Option<HostConcept>,
    prompts: Vec<String>,
    folder: PathBuf,
    settings: SamplingSettings,
    terminal: &'a Terminal,
    /// What was drawn at the last event.
    drawn: Vec<Preview>,
}

/// The prompts that are to be drawn.
///
/// # Errors
/// If their file cannot be read, or a prompt holds options as other tools have them.
pub fn prompts(args: &Previews) -> Result<Vec<String>, Failure> {
    let mut prompts = args.preview.clone();
    if let Some(file) = &args.preview_file {
        let text = read_text(file).map_err(Error::from)?;
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        prompts.extend(lines.map(String::from));
        if prompts.is_empty() {
            return Err(Failure::Usage(format!("{} holds no prompt", file.display())));
        }
    }
    match prompts.iter().find(|prompt| prompt.contains(" --")) {
        Some(prompt) => Err(Failure::Usage(format!(
            "`{prompt}`: options in the line of a preview are not read; previews have the model's size \
             and seed 0"
        ))),
        None => Ok(prompts),
    }
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
    /// # Errors
    /// If a concept of the bank cannot be read.
    pub fn new(
        model: &'a StableDiffusion<B>,
        bank: &Bank,
        prompts: Vec<String>,
        folder: &Path,
        base: &Path,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        let member = |id: &_| Ok((Member::new(id).concept(bank, model.sites())?, 1.0));
        let earlier = bank.concepts().iter().map(member).collect::<Result<_, Error>>()?;
        let guidance = builtin::usual_guidance(base);
        let settings = SamplingSettings { guidance, ..SamplingSettings::default() };
        let folder = folder.to_path_buf();
        Ok(Self {
            model,
            earlier,
            latest: None,
            prompts,
            folder,
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
        let own = self.folder.join(&concept.id);
        fs::create_dir_all(&own).map_err(Error::io("cannot create", &own))?;
        // Not as it was, if it is trained further.
        let others = self.earlier.iter().filter(|(other, _)| other.id != concept.id);
        let concepts: Vec<_> = others.cloned().chain([(concept.clone(), 1.0)]).collect();
        let device = DiffusionModel::<B>::device(self.model);
        let composition = Composition::of(&concepts, self.model.sites(), &device);
        let pipeline = Pipeline::new(self.model, composition);
        for number in 0..self.prompts.len() {
            let prompt = self.prompts[number].replace("{}", &format!("<{}>", concept.id));
            let request = ImageRequest::new(&prompt, 0, number);
            let advance = |_| interrupt::flow();
            let sampled =
                pipeline.sample(std::slice::from_ref(&request), &self.settings, advance)?;
            let Some(mut sampled) = sampled else { return Ok(()) };
            let image = to_rgb_image(sampled.images.remove(0));
            write_png(&own.join(format!("{number}-{step:06}.png")), &image, &prompt)?;
            self.drawn.push(Preview { step, prompt: number, image });
        }
        self.write_sheet(concept)
    }

    /// A row for each prompt, and a column for each step.
    fn write_sheet(&self, concept: &HostConcept) -> Result<(), Failure> {
        let own = self.folder.join(&concept.id);
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
        let sheet = self.folder.join(format!("{}.png", concept.id));
        Ok(write_png(&sheet, &contact_sheet(&rows), &self.prompts.join("\n"))?)
    }
}
