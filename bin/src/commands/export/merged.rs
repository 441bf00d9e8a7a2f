//! Whole models with concepts merged into their weights.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::{fs, io};

use burn_seqlora::FoundModel;
use burn_seqlora::bank::{Bank, composed_adapter};
use burn_seqlora::error::Error;
use burn_seqlora::files::is_temporary;
use burn_seqlora::lora::{PatchSet, WeightPatch};
use burn_seqlora::models::MergedFiles;

use super::lines::AdapterLine;
use super::pack::Pack;
use crate::args::{Export, ExportFormat};
use crate::commands::{fused, model};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// A rounding error of the changes above this deserves a warning.
const NOTICEABLE: f64 = 0.02;

/// What is written of every pack: folders, files, or both.
pub struct MergedExport {
    found: FoundModel,
    formats: Vec<ExportFormat>,
}

impl MergedExport {
    /// Finds the base model; `None` if no format is a whole model.
    ///
    /// # Errors
    /// If it is missing, or not the bank's.
    pub fn new(args: &Export, bank: &Bank, terminal: &Terminal) -> Result<Option<Self>, Failure> {
        let mut formats: Vec<ExportFormat> =
            args.format.iter().copied().filter(|format| format.is_model()).collect();
        formats.dedup();
        let Some(first) = formats.first() else {
            let given = match (&args.fused, &args.model) {
                (Some(_), _) => "--fused",
                (_, Some(_)) => "--model",
                _ => return Ok(None),
            };
            let text = format!("{given} is for --format merged and --format single-file");
            return Err(Failure::Usage(text));
        };
        let Some(model) = &args.model else {
            let text = format!("--format {} needs the base model: --model", first.name());
            return Err(Failure::Usage(text));
        };
        let found = model::find(model, terminal)?;
        if found.fingerprint()? != bank.base().fingerprint {
            return Err(Failure::Usage(format!(
                "{} was made with another base model, {}; --model chooses the model",
                bank.path().display(),
                bank.base()
            )));
        }
        Ok(Some(Self { found, formats }))
    }

    /// The files and folders of a pack.
    pub fn paths<'a>(
        &'a self,
        args: &'a Export,
        pack: &'a Pack,
    ) -> impl Iterator<Item = PathBuf> + 'a {
        self.formats.iter().flat_map(|format| {
            let path = path(args, *format, pack);
            let sidecar = (*format == ExportFormat::SingleFile).then(|| sidecar_of(&path));
            [path].into_iter().chain(sidecar)
        })
    }

    /// Checks that nothing but files of such an export is replaced.
    ///
    /// # Errors
    /// Names the first other file.
    pub fn check_replaced(&self, args: &Export, packs: &[Pack]) -> Result<(), Failure> {
        for format in &self.formats {
            let own = match format {
                // The path of a file relative to itself is empty.
                ExportFormat::SingleFile => BTreeSet::from([PathBuf::new()]),
                _ => self.found.merged_names()?,
            };
            for pack in packs {
                let path = path(args, *format, pack);
                let mut replaced = vec![partial_of(&path), path];
                if *format == ExportFormat::SingleFile {
                    replaced.extend([sidecar_of(&replaced[0]), sidecar_of(&replaced[1])]);
                }
                for path in &replaced {
                    if let Some(other) = first_other(path, path, &own)? {
                        return Err(Failure::Usage(format!(
                            "{} is no file of this export, which would replace {}; move it, or choose another \
                             --out",
                            other.display(),
                            path.display()
                        )));
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes a pack, and says how well the type of the model's weights holds the changes.
    pub fn write(
        &self,
        args: &Export,
        bank: &Bank,
        pack: &Pack,
        terminal: &Terminal,
    ) -> Result<Vec<AdapterLine>, Failure> {
        let changes = match &args.fused {
            Some(file) => {
                let (sites, base) = (bank.sites(), bank.base());
                fused::read(file, sites, base, Some(bank), &pack.members, terminal)?
            }
            None => {
                let adapter = composed_adapter(bank, &pack.members)?.0.into_iter();
                PatchSet(adapter.map(|(site, f)| (site, WeightPatch::LowRank(f))).collect())
            }
        };
        let line = |format: &ExportFormat| {
            let path = path(args, *format, pack);
            let Written { files, sidecar } = self.write_one(*format, &changes, &path)?;
            let MergedFiles { layers, error } = files;
            if error.is_nan() || error > NOTICEABLE {
                terminal.warning(format!(
                    "{}: the type in which the model stores its weights rounds the changes by {:.0} %; a model \
                     in f32 does not",
                    path.display(),
                    100.0 * error
                ));
            }
            let line = AdapterLine::merged(format.name(), pack, &path, layers, error);
            Ok(line.with_sidecar(sidecar.as_deref()))
        };
        self.formats.iter().map(line).collect()
    }

    /// Writes beside the place where it goes, so that nothing half-written is ever there.
    fn write_one(
        &self,
        format: ExportFormat,
        changes: &PatchSet,
        path: &Path,
    ) -> Result<Written, Failure> {
        let partial = partial_of(path);
        let parent = path.parent().expect("it is in a folder");
        fs::create_dir_all(parent).map_err(Error::io("cannot create", parent))?;
        remove(&partial)?;
        remove(&sidecar_of(&partial))?;
        let written = self.write_partial(format, changes, &partial, path);
        if written.is_err() {
            // What matters is why.
            let _ = remove(&partial).and_then(|()| remove(&sidecar_of(&partial)));
        }
        let written = written?;
        if format == ExportFormat::SingleFile {
            self.put_sidecar(&partial, path)?;
        }
        remove(path)?;
        fs::rename(&partial, path).map_err(Error::io("cannot rename", &partial))?;
        Ok(written)
    }

    /// Writes what is to be at a path, and next to the path what a single file does not hold.
    fn write_partial(
        &self,
        format: ExportFormat,
        changes: &PatchSet,
        partial: &Path,
        path: &Path,
    ) -> Result<Written, Failure> {
        if format != ExportFormat::SingleFile {
            let files = self.found.write_merged_folder(changes, partial)?;
            return Ok(Written { files, sidecar: None });
        }
        // Another model's tokenizer there is told before gigabytes are written.
        self.found.write_tokenizer(&path.with_file_name("tokenizer"))?;
        let files = self.found.write_merged_file(changes, partial)?;
        let needs = self.found.write_sidecar(partial, &sidecar_of(partial))?;
        Ok(Written { files, sidecar: needs.then(|| sidecar_of(path)) })
    }

    /// Gives the config of a file that is about to get its name its own; an earlier one goes if there is none.
    fn put_sidecar(&self, partial: &Path, path: &Path) -> Result<(), Failure> {
        let [from, to] = [partial, path].map(sidecar_of);
        match from.exists() {
            true => fs::rename(&from, to).map_err(Error::io("cannot rename", &from))?,
            false => remove(&to)?,
        }
        Ok(())
    }
}

/// What was written of a model.
struct Written {
    files: MergedFiles,
    /// The config next to a single file, if it needs one.
    sidecar: Option<PathBuf>,
}

/// Where something is written that is to get this path.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().expect("it has a name").to_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

/// Where the config of a single file is looked for.
fn sidecar_of(path: &Path) -> PathBuf {
    path.with_extension("config.json")
}

fn path(args: &Export, format: ExportFormat, pack: &Pack) -> PathBuf {
    let folder = args.out.join(format.name());
    match format {
        ExportFormat::SingleFile => folder.join(format!("{}.safetensors", pack.name)),
        _ => folder.join(&pack.name),
    }
}

/// The first file below `part` of a folder that is neither among its own, whose paths in it are given, nor holds weights
/// beside them, as an export with another variant or VAE has. `part` may be a file.
fn first_other(
    folder: &Path,
    part: &Path,
    own: &BTreeSet<PathBuf>,
) -> Result<Option<PathBuf>, Failure> {
    let Ok(metadata) = fs::symlink_metadata(part) else { return Ok(None) };
    if !metadata.is_dir() {
        let inside = part.strip_prefix(folder).expect("it lies in the folder");
        // A run that was killed may have left temporary files.
        let is_own = own.contains(inside)
            || inside.file_name().is_some_and(is_temporary)
            || is_weights(inside) && own.iter().any(|file| file.parent() == inside.parent());
        return Ok((!is_own).then(|| part.into()));
    }
    let entries = fs::read_dir(part).map_err(Error::io("cannot read", part))?;
    let entries = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut entries = entries.map_err(Error::io("cannot read", part))?;
    entries.sort();
    for entry in entries {
        if let Some(other) = first_other(folder, &entry, own)? {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

/// Whether a file is called as diffusers calls weights, their parts and the index of those.
fn is_weights(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let begins = ["model.", "model-", "diffusion_pytorch_model", "pytorch_model"];
    let ends = [".safetensors", ".bin", ".index.json"];
    begins.iter().any(|begin| name.starts_with(begin)) && ends.iter().any(|end| name.ends_with(end))
}

/// Removes a file or a folder, if there is one.
fn remove(path: &Path) -> Result<(), Failure> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    Ok(removed.map_err(Error::io("cannot remove", path))?)
}
