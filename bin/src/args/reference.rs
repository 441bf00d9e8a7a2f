//! `seqlora completions` and `seqlora reference`: the command line itself.

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
    /// With `--format man`: the command, such as `learn` [default: the program as a whole]
    #[arg(value_name = "COMMAND")]
    pub of: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReferenceFormat {
    /// A page with all commands, as docs/reference.md has it
    Markdown,
    /// roff, for `man`
    Man,
}
