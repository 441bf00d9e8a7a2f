//! Where adapters come from: banks, and files and folders in the formats that are known.

use std::path::{Path, PathBuf};

use burn_seqlora::audit::Subject;
use burn_seqlora::bank::{Bank, BaseModel, ConceptId, formats};
use burn_seqlora::kernels::KernelBackend;
use burn_seqlora::lora::{Site, StoredAdapter};
use burn_seqlora::model::DiffusionModel;

use crate::failure::Failure;

/// Adapters of one path, under the names that reports give them.
pub enum Source {
    /// A bank, and what precedes its concepts' ids.
    Bank(Box<Bank>, String),
    /// One adapter in the format of any tool, and its name.
    Adapter(PathBuf, String),
}

/// What lies at these paths. With several, a concept's name is preceded by that of its bank.
///
/// # Errors
/// If a path is neither a bank nor an adapter, a bank is empty, or two have the same name.
pub fn sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let source = |path: &PathBuf| {
        let name = name(path);
        if path.join("bank.json").exists() {
            let prefix = if paths.len() > 1 { format!("{name}/") } else { String::new() };
            return Ok(Source::Bank(Box::new(Bank::open(path)?), prefix));
        }
        match formats::Source::open(path).is_ok_and(|found| formats::detect(&found).is_some()) {
            true => Ok(Source::Adapter(path.clone(), name)),
            false => {
                let known = formats::all().map(|format| format.name()).join(", ");
                Err(Failure::Usage(format!(
                    "{} is neither a bank nor an adapter in a known format ({known})",
                    path.display()
                )))
            }
        }
    };
    let sources: Vec<Source> = paths.iter().map(source).collect::<Result<_, Failure>>()?;
    let ids: Vec<String> = sources.iter().flat_map(Source::ids).collect();
    let twice = ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id));
    if let Some((_, id)) = twice {
        return Err(Failure::Usage(format!("two adapters are called `{id}`; rename one")));
    }
    match ids.len() {
        0 | 1 => Err(Failure::Usage(format!("{} adapters: it takes two to interfere", ids.len()))),
        _ => Ok(sources),
    }
}

/// The name of a folder, or of a file without its extension.
fn name(path: &Path) -> String {
    let path = path.components().as_path();
    let name = if path.is_file() { path.file_stem() } else { path.file_name() };
    name.map_or_else(String::new, |name| name.to_string_lossy().into())
}

impl Source {
    /// The names of its adapters.
    pub fn ids(&self) -> Vec<String> {
        match self {
            Self::Bank(bank, prefix) => {
                bank.concepts().iter().map(|id| format!("{prefix}{id}")).collect()
            }
            Self::Adapter(_, name) => vec![name.clone()],
        }
    }

    /// Its adapters with what it takes to run the model with each.
    ///
    /// # Errors
    /// If a bank belongs to another model, or an adapter is damaged or does not fit.
    pub fn subjects<B: KernelBackend, M: DiffusionModel<B>>(
        &self,
        model: &M,
        base: &BaseModel,
    ) -> Result<Vec<Subject<B>>, Failure> {
        match self {
            Self::Adapter(path, name) => {
                let adapter = formats::read(path, model.sites())?;
                Ok(vec![Subject::of_adapter(name.clone(), adapter, Vec::new())])
            }
            Self::Bank(bank, prefix) => {
                let bank = Bank::open_for(bank.path(), base)?;
                let subject = |id: &ConceptId| {
                    Ok(Subject::of_bank(&bank, id, model)?.called(format!("{prefix}{id}")))
                };
                bank.concepts().iter().map(subject).collect()
            }
        }
    }
}

/// The adapters of banks, without a model.
pub struct Adapters {
    /// By name.
    pub named: Vec<(String, StoredAdapter)>,
    /// The sites of the model that all of them were made for.
    pub sites: Vec<Site>,
}

/// The adapters of banks.
///
/// # Errors
/// If a path is no bank, the banks were made for different models, or an adapter is damaged.
pub fn without_model(sources: &[Source]) -> Result<Adapters, Failure> {
    let mut named = Vec::new();
    let mut first: Option<&Bank> = None;
    for source in sources {
        let Source::Bank(bank, _) = source else {
            let text = "an adapter that is in no bank needs --model, whose layers it is for";
            return Err(Failure::Usage(text.into()));
        };
        let known = *first.get_or_insert(bank);
        if !known.base().is_like(bank.base()) {
            return Err(Failure::Usage(format!(
                "{} and {} were made for different models",
                known.path().display(),
                bank.path().display()
            )));
        }
        for (name, id) in source.ids().into_iter().zip(bank.concepts()) {
            named.push((name, bank.adapter(id)?));
        }
    }
    let sites = first.map(|bank| bank.sites().to_vec()).unwrap_or_default();
    Ok(Adapters { named, sites })
}
