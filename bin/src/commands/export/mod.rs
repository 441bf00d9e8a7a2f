//! `seqlora export`: concepts as files of other tools.

mod lines;
mod merged;
mod pack;

use std::fs;
use std::path::PathBuf;

use burn_seqlora::bank::formats::{self, AdapterFormat};
use burn_seqlora::bank::{
    Bank, ConceptId, composed_adapter, export_adapter, export_words, word_embeddings,
};
use burn_seqlora::compose::Member;
use burn_seqlora::files::{GuardedFolder, refuse_link};
use serde_json::json;

use self::lines::{AdapterLine, WordLine};
use self::merged::MergedExport;
use self::pack::Pack;
use super::generate::members;
use crate::args::Export;
use crate::failure::Failure;
use crate::terminal::{Terminal, table};

/// The sub-folder of the words.
const WORDS: &str = "textual-inversion";

/// A mean of embeddings that loses more of them than this deserves a warning.
const NOTICEABLE: f64 = 0.05;

/// Writes the files, reads each again, and says what was found.
pub fn run(args: &Export, terminal: &Terminal) -> Result<(), Failure> {
    let bank = Bank::open(&args.bank)?;
    let members = members(&args.concept, Some(&bank))?;
    if members.is_empty() {
        return Err(Failure::Usage(format!("{} holds no concepts", args.bank.display())));
    }
    let packs = packs(args, &members)?;
    let formats = formats(args)?;
    let models = MergedExport::new(args, &bank, terminal)?;
    let of_models = packs.iter().flat_map(|pack| models.iter().flat_map(|m| m.paths(args, pack)));
    let paths: Vec<PathBuf> = adapter_paths(args, &packs, &formats).chain(of_models).collect();
    refuse_links(args, &paths)?;
    if !args.overwrite {
        refuse_existing(args, &bank, &members, &paths)?;
    }
    if let Some(models) = &models {
        models.check_replaced(args, &packs)?;
    }
    let mut adapters = Vec::new();
    for pack in &packs {
        let adapter = composed_adapter(&bank, &pack.members)?;
        for format in &formats {
            let folder = pack.folder(args, *format);
            let card = pack.card(&bank);
            let exported = export_adapter(*format, &folder, &adapter, &card, bank.sites())?;
            adapters.push(AdapterLine::new(*format, pack, exported));
        }
        if let Some(models) = &models {
            adapters.extend(models.write(args, &bank, pack, terminal)?);
        }
    }
    let mut words = Vec::new();
    for Member { id, .. } in &members {
        let record = bank.record(id)?;
        let (path, embeddings) = export_words(&bank, &record, &args.out.join(WORDS))?;
        words.push(WordLine::new(id, &path, &embeddings));
    }
    let lost = words.iter().filter(|line| line.relative_error > NOTICEABLE);
    if let Some(worst) = lost.max_by(|a, b| a.relative_error.total_cmp(&b.relative_error)) {
        terminal.warning(format!(
            "textual inversion has one embedding per word, and `{}` has {}: their mean, which is \
             written, differs from them by {:.0} % of their norm; a concept that is learnt with \
             --tokens single loses nothing",
            worst.id,
            worst.embeddings_per_word,
            100.0 * worst.relative_error
        ));
    }
    terminal.result(&json!({ "version": 1, "adapters": adapters, "words": words }), || {
        text(&adapters, &words)
    })
}

fn packs(args: &Export, members: &[Member]) -> Result<Vec<Pack>, Failure> {
    match &args.pack {
        Some(name) => {
            // It becomes the name of a file, as a concept's id does.
            ConceptId::new(name.as_str())
                .map_err(|error| Failure::Usage(format!("--pack {name}: {error}")))?;
            Ok(vec![Pack { name: name.clone(), members: members.to_vec() }])
        }
        None => {
            let one =
                |member: &Member| Pack { name: member.id.clone(), members: vec![member.clone()] };
            Ok(members.iter().map(one).collect())
        }
    }
}

fn formats(args: &Export) -> Result<Vec<&'static dyn AdapterFormat>, Failure> {
    let adapters = args.format.iter().filter(|format| format.is_adapter());
    let mut names: Vec<_> = adapters.map(|format| format.name()).collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().map(formats::by_name).collect::<Result<_, _>>()?)
}

/// The files of adapters, or their folders if they have several.
fn adapter_paths<'a>(
    args: &'a Export,
    packs: &'a [Pack],
    formats: &'a [&dyn AdapterFormat],
) -> impl Iterator<Item = PathBuf> + 'a {
    packs.iter().flat_map(move |pack| {
        formats.iter().map(move |format| {
            let folder = pack.folder(args, *format);
            format.file_name(&pack.name).map_or(folder.clone(), |file| folder.join(file))
        })
    })
}

/// # Errors
/// Names the first link below the output folder through which something would be written.
fn refuse_links(args: &Export, paths: &[PathBuf]) -> Result<(), Failure> {
    let folder = GuardedFolder::new(&args.out);
    folder.check(WORDS)?;
    for path in paths {
        folder.check(path.strip_prefix(&args.out).unwrap_or(path))?;
        // PEFT's adapters have a folder for each part of the model.
        for inside in fs::read_dir(path).into_iter().flatten().flatten() {
            refuse_link(&inside.path())?;
        }
    }
    Ok(())
}

/// # Errors
/// Names the first file or folder that would be replaced.
fn refuse_existing(
    args: &Export,
    bank: &Bank,
    members: &[Member],
    paths: &[PathBuf],
) -> Result<(), Failure> {
    let mut existing = paths.iter().filter(|path| path.exists()).cloned();
    let mut other = None;
    for Member { id, .. } in members {
        let file = args.out.join(WORDS).join(format!("{id}.safetensors"));
        if !file.exists() {
            continue;
        }
        // An earlier export of the same concept has written the same words.
        let words = word_embeddings(bank, &bank.record(id)?)?.embeddings;
        if formats::read_textual_inversion(&file).ok() != Some(words) {
            other.get_or_insert(file);
        }
    }
    match existing.next().or(other) {
        Some(path) => Err(Failure::Usage(format!(
            "{} is there already; use --overwrite or another --out than that for {}",
            path.display(),
            bank.path().display()
        ))),
        None => Ok(()),
    }
}

fn text(adapters: &[AdapterLine], words: &[WordLine]) -> String {
    let head = ["format", "name", "matched", "file"].map(String::from).to_vec();
    let adapter = |line: &AdapterLine| {
        let matched = format!("{}/{}", line.matched, line.modules);
        vec![line.format.into(), line.name.clone(), matched, line.place()]
    };
    let word = |line: &WordLine| {
        vec![WORDS.into(), line.id.clone(), format!("{} words", line.words), line.path.clone()]
    };
    let lines = adapters.iter().map(adapter).chain(words.iter().map(word));
    table(&[head].into_iter().chain(lines).collect::<Vec<_>>())
}
