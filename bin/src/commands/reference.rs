//! `seqlora completions` and `seqlora reference`: what clap knows of the command line, for shells and people.

use std::fs;
use std::path::Path;

use burn_seqlora::error::Error;
use burn_seqlora::files::write_atomic;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use serde_json::json;

use crate::args::{Args, Completions, Reference, ReferenceFormat};
use crate::failure::Failure;
use crate::terminal::Terminal;

/// The program's name.
const NAME: &str = "seqlora";

/// Prints a shell's script.
pub fn completions(args: &Completions, terminal: &Terminal) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), NAME, &mut text);
    terminal.file(&text)
}

/// Prints the reference.
pub fn run(args: &Reference, terminal: &Terminal) -> Result<(), Failure> {
    let only_man = args.out.is_some() || !args.of.is_empty();
    match (args.format, &args.out) {
        (ReferenceFormat::Markdown, _) if only_man => {
            Err(Failure::Usage("a command and a folder are chosen with --format man only".into()))
        }
        (ReferenceFormat::Markdown, _) => terminal.file(markdown().as_bytes()),
        (ReferenceFormat::Man, None) => terminal.file(&page(&man(&command(&args.of)?))),
        (ReferenceFormat::Man, Some(folder)) => {
            fs::create_dir_all(folder).map_err(Error::io("cannot create", folder))?;
            let mut written = Vec::new();
            write_pages(&command(&args.of)?, folder, &mut written)?;
            let result = json!({ "version": 1, "pages": written });
            terminal.result(&result, || written.join("\n"))
        }
    }
}

fn man(command: &Command) -> Man {
    Man::new(command.clone()).source(format!("{NAME} {}", env!("CARGO_PKG_VERSION")))
}

/// A page in roff.
fn page(man: &Man) -> Vec<u8> {
    let mut text = Vec::new();
    man.render(&mut text).expect("memory takes everything");
    text
}

/// Writes the page of a command, and those of the commands below it.
fn write_pages(command: &Command, folder: &Path, written: &mut Vec<String>) -> Result<(), Failure> {
    let man = man(command);
    let file = folder.join(man.get_filename());
    write_atomic(&file, &page(&man))?;
    written.push(file.to_string_lossy().into_owned());
    command.get_subcommands().try_for_each(|inner| write_pages(inner, folder, written))
}

/// The page with all commands.
fn markdown() -> String {
    let options = clap_markdown::MarkdownOptions::new()
        .title("Commands of seqlora".into())
        .show_footer(false)
        .show_table_of_contents(false);
    let text = clap_markdown::help_markdown_command_custom(&Args::command(), &options);
    // Outside of code, Markdown would take <ID> for a tag.
    let escape = |(number, part): (usize, &str)| match number % 2 {
        0 => part.replace('<', "\\<"),
        _ => part.into(),
    };
    text.split('`').enumerate().map(escape).collect::<Vec<_>>().join("`")
}

/// The program, or the command that the words lead to.
fn command(of: &[String]) -> Result<Command, Failure> {
    let mut found = Args::command().disable_help_subcommand(true);
    // Commands then know the names of those above them.
    found.build();
    for name in of {
        let unknown = || Failure::Usage(format!("there is no command `{}`", of.join(" ")));
        found = found.find_subcommand(name).cloned().ok_or_else(unknown)?;
    }
    Ok(found)
}
