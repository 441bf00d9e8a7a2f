//! `seqlora completions` and `seqlora reference`: what clap knows of the command line, for shells and people.

use clap::{Command, CommandFactory};

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
    match (args.format, &args.of) {
        (ReferenceFormat::Man, of) => {
            let mut text = Vec::new();
            let page = clap_mangen::Man::new(command(of.as_deref())?);
            page.render(&mut text).expect("memory takes everything");
            terminal.file(&text)
        }
        (ReferenceFormat::Markdown, None) => terminal.file(markdown().as_bytes()),
        (ReferenceFormat::Markdown, Some(_)) => {
            Err(Failure::Usage("a command is chosen with --format man only".into()))
        }
    }
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

/// The program, or one of its commands.
fn command(of: Option<&str>) -> Result<Command, Failure> {
    let mut program = Args::command();
    // Commands then know the program's name.
    program.build();
    let Some(name) = of else { return Ok(program) };
    let found = program.find_subcommand(name).cloned();
    found.ok_or_else(|| Failure::Usage(format!("there is no command `{name}`")))
}
