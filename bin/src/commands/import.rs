//! `seqlora import`: an adapter of another tool as a concept of a bank.

use std::path::{Path, PathBuf};

use burn_seqlora::FoundModel;
use burn_seqlora::bank::formats::{self, AdapterFormat, ForeignAdapter};
use burn_seqlora::bank::{
    Bank, BaseModel, ConceptId, ConceptRecord, GaugedAdapter, Matrix, TrainingRecord, gauged,
};
use burn_seqlora::files::sha256;
use burn_seqlora::kernels::TrainBackend;
use burn_seqlora::lora::StoredAdapter;
use burn_seqlora::model::DiffusionModel as _;
use burn_seqlora::models::StableDiffusion;
use burn_seqlora::train::check_nothing_unfinished;
use serde_json::json;

use super::{incomplete, model};
use crate::args::{Compute, Import};
use crate::device::Job;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// The methods of a bank that an import begins: one whose concepts are kept apart, and one whose are not.
const PROJECTED: &str = "seqlora";
const PLAIN: &str = "lora";

/// kohya's and ModelSpec's key of what one writes in a prompt.
const TRIGGER: &str = "modelspec.trigger_phrase";

/// Reads the adapter, and adds it.
pub fn run(args: &Import, compute: &Compute, terminal: &Terminal) -> Result<(), Failure> {
    check_texts(args)?;
    let (format, adapter) = formats::open(&args.file)?;
    incomplete::warn(&adapter, terminal);
    let id = id(args)?;
    if let Some(file) = words_beside(args) {
        terminal.warning(format!(
            "{} may hold the words that go with this adapter: --words takes them",
            file.display()
        ));
    }
    let found = model::find(&args.model, terminal)?;
    compute.device.run(Session { args, compute, format, adapter, id, found, terminal })
}

/// The longest class in bytes, as of data that are learnt from.
const LONGEST_CLASS: usize = 256;

/// Checks what is typed of the concept.
fn check_texts(args: &Import) -> Result<(), Failure> {
    let class = &args.class_word;
    let is_odd = |c: char| c.is_control() || "<>".contains(c);
    if class.trim().is_empty() || class.len() > LONGEST_CLASS || class.contains(is_odd) {
        let text = format!("--class {class:?}: write one or two words, such as dog");
        return Err(Failure::Usage(text));
    }
    match args.trigger.as_ref().filter(|trigger| trigger.contains(is_odd)) {
        None => Ok(()),
        Some(trigger) => Err(Failure::Usage(format!(
            "--trigger {trigger:?}: write the words alone, without tags in angle brackets"
        ))),
    }
}

/// The words that an export of this program writes beside an adapter, `textual-inversion/ID.safetensors`, if they are
/// there and not asked for.
fn words_beside(args: &Import) -> Option<PathBuf> {
    if args.words.is_some() || args.trigger.is_some() {
        return None;
    }
    // `kohya/ID.safetensors`, `peft/ID`, `diffusers/ID/…`.
    let place = |adapter: &Path| {
        let mut name = adapter.file_stem()?.to_os_string();
        name.push(".safetensors");
        Some(adapter.parent()?.parent()?.join("textual-inversion").join(name))
    };
    args.file.ancestors().take(2).filter_map(place).find(|file| file.is_file())
}

/// Words of a file, with one embedding each.
fn textual_inversion(file: &Path, base: &BaseModel) -> Result<(Matrix, usize), Failure> {
    let embeddings = formats::read_textual_inversion(file)?;
    let [_, width] = embeddings.0;
    match width == base.token_width {
        true => Ok((embeddings, 1)),
        false => Err(Failure::Usage(format!(
            "{}: its words have {width} numbers each, and those of this model have {}",
            file.display(),
            base.token_width
        ))),
    }
}

/// The concept's id, by default the file's name.
fn id(args: &Import) -> Result<ConceptId, Failure> {
    let stem = args.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let id = args.id.clone().or(stem).unwrap_or_default();
    ConceptId::new(id).map_err(|error| Failure::Usage(format!("{error}; choose another --id")))
}

struct Session<'a> {
    args: &'a Import,
    compute: &'a Compute,
    format: &'static dyn AdapterFormat,
    adapter: ForeignAdapter,
    id: ConceptId,
    found: FoundModel,
    terminal: &'a Terminal,
}

impl Job for Session<'_> {
    fn run<B: TrainBackend>(self, device: B::Device) -> Result<(), Failure> {
        let Self { args, compute, format, adapter, id, terminal, .. } = &self;
        let precision = compute.precision.unwrap_or_default();
        let (model, base) = model::load::<B>(&self.found, precision, &device)?;
        let matched = adapter.matched(|site| format.module_names(site), model.sites())?;
        let dropped = self.dropped(&matched.others)?;
        self.check_change(&matched.adapter)?;
        let (embeddings, per_word) = self.words(&model, &base)?;
        let mut bank = Bank::open_or_create(&args.bank, &base, model.sites())?;
        check_nothing_unfinished(&bank, &[])?;
        if bank.concepts().contains(id) {
            let text = format!("{} holds `{id}` already; choose another --id", args.bank.display());
            return Err(Failure::Usage(text));
        }
        let alone = bank.concepts().is_empty();
        let gauged = gauged(&matched.adapter, model.sites(), bank.directions(model.sites(), None)?);
        let method = self.method(&bank, gauged.shared)?;
        self.check_rest(&gauged)?;
        let stored = if args.project { &gauged.projected } else { &gauged.adapter };
        let words = [embeddings.0[0] / per_word, per_word];
        let record = ConceptRecord::new(id, args.class_word.trim(), words, args.project, stored);
        let training = self.training(method)?;
        bank.append(record, &training, stored, embeddings)?;
        let result = json!({
            "version": 1,
            "bank": args.bank.to_string_lossy(),
            "id": id.as_str(),
            "format": format.name(),
            "modules": adapter.modules.len(),
            "matched": matched.adapter.0.len(),
            "lost_with_modules": dropped,
            "shared": gauged.shared,
            "projected": args.project,
            "words": words[0],
        });
        terminal.result(&result, || {
            let (matched, modules) = (matched.adapter.0.len(), adapter.modules.len());
            if alone {
                return format!(
                    "<{id}>: matched {matched}/{modules} modules; the bank's first concept"
                );
            }
            let shared = acting(gauged.shared);
            let what = match args.project {
                true => "removed",
                false => "which interferes with them",
            };
            format!("<{id}>: matched {matched}/{modules} modules; {shared}, {what}")
        })
    }
}

/// The share of an adapter's change that interferes with the bank's concepts, for people.
fn acting(shared: f64) -> String {
    format!("{:.2} % of its change acts on directions of the bank's concepts", 100.0 * shared)
}

impl Session<'_> {
    /// The share of the change that is in modules which no concept can have.
    fn dropped(&self, others: &[String]) -> Result<f64, Failure> {
        let Some(first) = others.first() else { return Ok(0.0) };
        let modules = &self.adapter.modules;
        let total: f64 = modules.values().map(|module| module.energy()).sum();
        let lost: f64 = others.iter().map(|name| modules[name].energy()).sum();
        let share = lost / total.max(f64::MIN_POSITIVE);
        let text = format!(
            "{} of its {} modules, e.g. `{first}`, belong to no layer that a concept can adapt; they \
             are {:.1} % of its change",
            others.len(),
            modules.len(),
            100.0 * share
        );
        match self.args.allow_partial {
            true => {
                self.terminal.warning(text);
                Ok(share)
            }
            false => Err(Failure::Usage(format!(
                "{}: {text}: leave them out with --allow-partial, or use all of it with \
                 `generate --lora`",
                self.args.file.display()
            ))),
        }
    }

    /// The token embeddings of its words, and how many each word has.
    fn words<B: TrainBackend>(
        &self,
        model: &StableDiffusion<B>,
        base: &BaseModel,
    ) -> Result<(Matrix, usize), Failure> {
        let Self { args, adapter, .. } = self;
        if let Some(file) = &args.words {
            return textual_inversion(file, base);
        }
        if args.trigger.is_none() && !adapter.words.is_empty() {
            return self.own_words(base);
        }
        let trigger = args.trigger.as_ref().or(adapter.metadata.get(TRIGGER)).ok_or_else(|| {
            Failure::Usage(format!(
                "{} does not say what one writes to get the concept; give it as --trigger \"sks dog\"",
                args.file.display()
            ))
        })?;
        Ok((model.token_embeddings(trigger)?, 1))
    }

    /// The words that came with the adapter, one after another.
    fn own_words(&self, base: &BaseModel) -> Result<(Matrix, usize), Failure> {
        let per_word = base.cross_attention_layers;
        let mut all = Vec::new();
        for (word, (shape, values)) in &self.adapter.words {
            if *shape != [per_word, base.token_width] {
                return Err(Failure::Usage(format!(
                    "{}: `{word}` has embeddings of shape {shape:?}, and this model's words have {:?}",
                    self.args.file.display(),
                    [per_word, base.token_width]
                )));
            }
            all.extend(values);
        }
        let rows = per_word * self.adapter.words.len();
        Ok((([rows, base.token_width], all), per_word))
    }

    /// The method of the bank's concepts. What is not projected belongs among plain LoRAs only; a refusal tells the
    /// share that interferes, by which to choose.
    fn method<'a>(&self, bank: &'a Bank, shared: f64) -> Result<&'a str, Failure> {
        let (project, shared) = (self.args.project, acting(shared));
        match bank.method() {
            None => Ok(if project { PROJECTED } else { PLAIN }),
            Some(PLAIN) if !project => Ok(PLAIN),
            Some(PLAIN) => Err(Failure::Usage(format!(
                "{} holds plain LoRAs, which are not kept apart, and {shared}; leave out --project",
                bank.path().display()
            ))),
            Some(method) if project => Ok(method),
            Some(method) => Err(Failure::Usage(format!(
                "{} holds concepts of `{method}`, which are kept apart, and {shared}; remove that with \
                 --project, or use another bank",
                bank.path().display()
            ))),
        }
    }

    /// Refuses an adapter of which projecting leaves nothing but rounding.
    fn check_rest(&self, gauged: &GaugedAdapter) -> Result<(), Failure> {
        self.check_change(&gauged.adapter)?;
        match self.args.project && gauged.leaves_nothing() {
            false => Ok(()),
            true => Err(Failure::Usage(format!(
                "{}: {}; --project leaves nothing of it",
                self.args.file.display(),
                acting(gauged.shared)
            ))),
        }
    }

    /// Refuses an adapter that does nothing.
    fn check_change(&self, adapter: &StoredAdapter) -> Result<(), Failure> {
        match adapter.0.is_empty() {
            false => Ok(()),
            true => Err(Failure::Usage(format!("{} changes nothing", self.args.file.display()))),
        }
    }

    fn training(&self, method: &str) -> Result<TrainingRecord, Failure> {
        let Self { args, format, adapter, .. } = self;
        let said = json!({ "format": format.name(), "metadata": adapter.metadata });
        Ok(TrainingRecord {
            method: method.into(),
            images: Vec::new(),
            // Of what was imported: there are no images to compare with.
            data_digest: sha256(said.to_string().as_bytes()),
            steps: 0,
            initial_loss: f64::NAN,
            final_loss: f64::NAN,
            settings: json!({ "imported": said, "projected": args.project }),
            trained_by: format!("imported by seqlora {}", env!("CARGO_PKG_VERSION")),
        })
    }
}
