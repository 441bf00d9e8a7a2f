//! `generate --from IMAGE`: the options that a generated image tells, in the places of those that are not
//! typed.
//!
//! Images come from anywhere. What one tells is only ever read as options of `generate`, with their
//! checks: where images are written is typed, no model is downloaded, and no file is written by a name
//! from it.

mod given;
mod options;
mod samplers;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use burn_seqlora::bank::BaseModel;
use burn_seqlora::data::Parameters;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};

use crate::args::{Args, Generate};
use crate::failure::Failure;
use crate::progress;
use crate::terminal::{Terminal, Verbosity};
use options::{Options, is_ours, options};

/// Names of unused settings that are shown.
const MOST_SHOWN: usize = 20;

/// The command line with the options of the image that it names, if it does.
///
/// # Errors
/// The exit code, if the image cannot be used, which has been told.
pub fn arguments(typed: Vec<OsString>) -> Result<Vec<OsString>, ExitCode> {
    // What is missing may come from the image. Other mistakes are told by whoever parses the result.
    let relaxed = Args::command()
        .mut_subcommand("generate", |command| command.mut_args(|arg| arg.required(false)));
    let Ok(matches) = relaxed.try_get_matches_from(&typed) else { return Ok(typed) };
    let Some(("generate", matches)) = matches.subcommand() else { return Ok(typed) };
    let Some(image) = matches.get_one::<PathBuf>("from") else { return Ok(typed) };
    let quiet = if matches.get_flag("quiet") { Verbosity::Quiet } else { Verbosity::Normal };
    let terminal = Terminal::new(quiet, matches.get_flag("json"), progress::USUAL);
    completed(&typed, image, matches, &terminal).map_err(|failure| {
        terminal.error(&failure);
        ExitCode::from(failure.exit_code())
    })
}

fn completed(
    typed: &[OsString],
    image: &Path,
    matches: &ArgMatches,
    terminal: &Terminal,
) -> Result<Vec<OsString>, Failure> {
    let wrong = |reason: String| Failure::Usage(format!("--from {}: {reason}", image.display()));
    let Options { options, unused, notes } = options(&Parameters::read(image)?).map_err(wrong)?;
    let is_typed = |id: &str| matches.value_source(id) == Some(ValueSource::CommandLine);
    let mut all = typed.to_vec();
    for option in options.iter().filter(|option| !option.ids.iter().any(|id| is_typed(id))) {
        all.push(option.text().map_err(wrong)?.into());
    }
    if let Err(error) = Args::command().try_get_matches_from(&all)
        && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
    {
        let text = error.to_string();
        let text = text.split("\n\n").next().unwrap_or_default();
        return Err(wrong(text.trim_start_matches("error: ").to_string()));
    }
    for note in notes {
        terminal.warning(note);
    }
    if !unused.is_empty() {
        let (shown, more) = unused.split_at(unused.len().min(MOST_SHOWN));
        let and_more = if more.is_empty() { "" } else { ", …" };
        let shown = shown.join(", ");
        terminal
            .warning(format!("settings of the image that are not taken over: {shown}{and_more}"));
    }
    Ok(all)
}

/// The text of the image that is to be made again, if this program wrote it.
pub fn original(args: &Generate) -> Option<Parameters> {
    Parameters::read(args.from.as_deref()?).ok().filter(is_ours)
}

/// Warns if the model is not the one that an image was made with.
pub fn warn_of_other_model(original: &Parameters, base: &BaseModel, terminal: &Terminal) {
    if let Ok(Some(made_with)) = original.get("Model hash")
        && made_with != base.fingerprint
    {
        terminal.warning(format!(
            "the image was made with another model, whose fingerprint is {made_with}; it will be another one"
        ));
    }
}
