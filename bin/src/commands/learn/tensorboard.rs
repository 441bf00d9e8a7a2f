//! `learn --tensorboard`: what is recorded of every step, and the previews, as TensorBoard's event files.

use std::path::Path;
use std::{fs, io};

use burn_seqlora::bank::Bank;
use burn_seqlora::files::GuardedFolder;
use burn_seqlora::settings::TrainConfig;
use burn_seqlora::train::{Event, LearnPlan};

use super::folders;
use super::preview::Preview;
use crate::event_file::EventFile;
use crate::failure::Failure;
use crate::images::encode_png;
use crate::terminal::Terminal;

/// The event files of a run: a folder for each concept.
pub struct Tensorboard<'a> {
    folder: &'a Path,
    terminal: &'a Terminal,
    /// The concept that is being learnt, and the first step that is recorded.
    concept: Option<(String, usize, TrainConfig)>,
    /// Its file.
    file: Option<EventFile>,
}

impl<'a> Tensorboard<'a> {
    /// Of a run whose concepts are new, or have been begun in this bank.
    ///
    /// # Errors
    /// If the folder cannot be written, or a new concept would hide what another run has recorded: TensorBoard shows
    /// nothing that was recorded before a start at the first step.
    pub fn new(
        folder: &'a Path,
        plan: &LearnPlan,
        bank: &Bank,
        terminal: &'a Terminal,
    ) -> Result<Self, Failure> {
        folders::check(folder, plan)?;
        let new = plan.concepts.iter().filter(|concept| !folders::is_begun(bank, concept));
        let mut own = new.map(|concept| folder.join(concept.data.id()));
        if let Some(own) = own.find(|own| has_events(own)) {
            return Err(Failure::Usage(format!(
                "--tensorboard: {} has event files of another run, whose curves TensorBoard would hide; move it, or \
                 choose another folder",
                own.display()
            )));
        }
        Ok(Self { folder, terminal, concept: None, file: None })
    }

    /// Records an event, and the previews that were drawn at it. What goes wrong is told, and training goes on
    /// without a record of this concept.
    pub fn see(&mut self, event: &Event, previews: &[Preview]) {
        if let Err(error) = self.try_see(event, previews) {
            self.file = None;
            let text = format!("nothing more goes to {}: {error}", self.folder.display());
            self.terminal.warning(text);
        }
    }

    fn try_see(&mut self, event: &Event, previews: &[Preview]) -> io::Result<()> {
        match event {
            Event::Start(plan) => {
                let first = if plan.resume_at == 0 { 0 } else { plan.resume_at + 1 };
                self.concept = Some((plan.data.id().into(), first, plan.config.clone()));
                self.file = None;
            }
            // Not before: the bank now tells that the concept is begun, so that a run which is killed can go on.
            Event::Ready { .. } => self.file = self.open()?,
            _ => (),
        }
        let (Some(file), Some((_, _, config))) = (&mut self.file, &self.concept) else {
            return Ok(());
        };
        if let Event::Step(report) = event {
            let numbers = [
                ("loss", report.loss),
                ("hypergradient_norm", report.hypergradient),
                ("overlap", report.overlap),
                ("embedding_norm", report.embedding_norm),
                ("learning_rate", config.lr_unet * config.decay(report.step - 1)),
            ];
            file.scalars(report.step, &numbers)?;
        }
        for Preview { step, prompt, image } in previews {
            let (tag, png) = (format!("preview/{prompt}"), encode_png(image, "")?);
            file.image(*step, &tag, image.dimensions(), png)?;
        }
        Ok(())
    }

    fn open(&self) -> io::Result<Option<EventFile>> {
        let Some((id, first, _)) = &self.concept else { return Ok(None) };
        GuardedFolder::new(self.folder).create_folder(id).map_err(io::Error::other)?;
        EventFile::create(&self.folder.join(id), *first).map(Some)
    }
}

/// Whether TensorBoard finds a run in a folder.
fn has_events(folder: &Path) -> bool {
    let mut entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.any(|entry| entry.file_name().to_string_lossy().contains("tfevents"))
}
