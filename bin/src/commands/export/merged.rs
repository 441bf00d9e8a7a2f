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
            for pack in packs {
                let path = path(args, *format, pack);
                if *format == ExportFormat::SingleFile {
                    // The path of a file relative to itself is empty.
                    let own = BTreeSet::from([PathBuf::new()]);
                    check(&path, &own)?;
                    check(&sidecar_of(&path), &own)?;
                    let names = [path.as_path(), &sidecar_of(&path)].map(name_of);
                    check(&partial_of(&path), &names.into())?;
                } else {
                    let own = self.found.merged_names()?;
                    check(&path, &own)?;
                    check(&partial_of(&path), &own)?;
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

    /// Writes into a folder beside the place where it goes, so that nothing half-written is ever there.
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
        let written = match format {
            ExportFormat::SingleFile => self.write_file(changes, &partial, path),
            _ => self.write_folder(changes, &partial, path),
        };
        if written.is_err() {
            // What matters is why.
            let _ = remove(&partial);
        }
        written
    }

    fn write_folder(
        &self,
        changes: &PatchSet,
        partial: &Path,
        path: &Path,
    ) -> Result<Written, Failure> {
        let files = self.found.write_merged_folder(changes, partial)?;
        remove(path)?;
        rename(partial, path)?;
        Ok(Written { files, sidecar: None })
    }

    /// Writes one file, and next to it what that does not hold.
    fn write_file(
        &self,
        changes: &PatchSet,
        partial: &Path,
        path: &Path,
    ) -> Result<Written, Failure> {
        // Another model's tokenizer there is told before gigabytes are written.
        self.found.write_tokenizer(&path.with_file_name("tokenizer"))?;
        fs::create_dir(partial).map_err(Error::io("cannot create", partial))?;
        let file = partial.join(name_of(path));
        let files = self.found.write_merged_file(changes, &file)?;
        let sidecar = sidecar_of(path);
        let has_sidecar = self.found.write_sidecar(&file, &sidecar_of(&file))?;
        match has_sidecar {
            true => rename(&sidecar_of(&file), &sidecar)?,
            // That of an earlier file.
            false => remove(&sidecar)?,
        }
        rename(&file, path)?;
        remove(partial)?;
        Ok(Written { files, sidecar: has_sidecar.then_some(sidecar) })
    }
}

/// What was written of a model.
struct Written {
    files: MergedFiles,
    /// The config next to a single file, if it needs one.
    sidecar: Option<PathBuf>,
}

/// The folder in which something is written that is to get this path.
fn partial_of(path: &Path) -> PathBuf {
    let mut name = name_of(path).into_os_string();
    name.push(".partial");
    path.with_file_name(name)
}

fn name_of(path: &Path) -> PathBuf {
    path.file_name().expect("it has a name").into()
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

/// Checks that a path is free, or a file or a folder of such an export, which holds these files.
fn check(path: &Path, own: &BTreeSet<PathBuf>) -> Result<(), Failure> {
    match first_other(path, path, own)? {
        None => Ok(()),
        Some(other) => Err(Failure::Usage(format!(
            "{} is no file of this export, which would replace {}; move it, or choose another --out",
            other.display(),
            path.display()
        ))),
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
        let is_own = own.contains(inside)
            || is_left_over(folder, inside)
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

/// Whether a file is a temporary one that a killed run left: ours, or in a folder that was being written one of the crate
/// `safetensors`, which calls it `.tmp` and six more characters.
fn is_left_over(folder: &Path, inside: &Path) -> bool {
    let Some(name) = inside.file_name() else { return false };
    let bytes = name.as_encoded_bytes();
    let is_partial = folder.extension().is_some_and(|extension| extension == "partial");
    is_temporary(name) || is_partial && bytes.len() == 10 && bytes.starts_with(b".tmp")
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

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    Ok(fs::rename(from, to).map_err(Error::io("cannot rename", from))?)
}
