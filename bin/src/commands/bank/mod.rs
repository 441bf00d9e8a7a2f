//! `seqlora bank`: one file per command.

mod list;
mod merge;
mod remove;
mod verify;

use crate::args::BankCommand;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Lists, verifies or removes the concepts of a bank, or merges banks.
pub fn run(command: &BankCommand, terminal: &Terminal) -> Result<(), Failure> {
    match command {
        BankCommand::List(args) => list::run(&args.bank, terminal),
        BankCommand::Verify(args) => verify::run(&args.bank, terminal),
        BankCommand::Remove(args) => remove::run(args, terminal),
        BankCommand::Merge(args) => merge::run(args, terminal),
    }
}
