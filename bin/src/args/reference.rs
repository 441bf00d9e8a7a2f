//! `seqlora completions` and `seqlora reference`: the command line itself.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};
use clap_complete::Shell;

#[derive(Debug, ClapArgs)]
pub struct Completions {
    /// The shell whose script is printed
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, ClapArgs)]
pub struct Reference {
    /// What is printed: one page of Markdown, or the man page of the program or of one of its commands
    #[arg(long, value_enum, default_value_t = ReferenceFormat::Markdown)]
    pub format: ReferenceFormat,
    /// With `--format man`: the command, such as `learn` or `bank merge` [default: the program as a whole]
    #[arg(value_name = "COMMAND")]
    pub of: Vec<String>,
    /// With `--format man`: write this page and those of all commands below it into a folder, instead of printing
    /// one
    #[arg(long, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceFormat {
    /// A page with all commands, as docs/reference.md has it
    Markdown,
    /// roff, for `man`
    Man,
}
