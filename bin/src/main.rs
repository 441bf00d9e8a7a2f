//! `seqlora`: parse, call the library, print.

mod allocator;
mod args;
mod commands;
mod device;
mod event_file;
mod failure;
mod hints;
mod hub;
mod images;
mod interrupt;
mod machine;
mod parameters;
mod progress;
mod prompt_file;
mod repeat;
mod settings;
mod terminal;
mod text;

use std::env;
use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use failure::Failure;
use terminal::Terminal;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let arguments = match repeat::arguments(env::args_os().collect()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => return args::explain(&error),
    };
    let interval = progress::interval();
    let every = *interval.as_ref().unwrap_or(&progress::USUAL);
    let terminal = Terminal::new(args.verbosity(), args.json, every);
    interrupt::install();
    match interval.and_then(|_| run(args.command, &terminal)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.error(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, terminal: &Terminal) -> Result<(), Failure> {
    match command {
        Command::Learn(args) => commands::learn::run(&args, &args.compute, terminal),
        Command::Generate(args) => commands::generate::run(&args, &args.compute, terminal),
        Command::Evaluate(args) => commands::evaluate::run(&args, &args.compute, terminal),
        Command::Fuse(args) => commands::fuse::run(&args, &args.compute, terminal),
        Command::Export(args) => commands::export::run(&args, terminal),
        Command::Import(args) => commands::import::run(&args, &args.compute, terminal),
        Command::Inspect(args) => commands::inspect::run(&args, terminal),
        Command::Audit(args) => commands::audit::run(&args, &args.compute, terminal),
        Command::Bank(args) => commands::bank::run(&args.command, terminal),
        Command::Devices => commands::devices::run(terminal),
        Command::Pretrain(args) => commands::pretrain::run(&args, &args.compute, terminal),
        Command::Completions(args) => commands::reference::completions(&args, terminal),
        Command::Reference(args) => commands::reference::run(&args, terminal),
        Command::Demo(args) => commands::demo::run(&args, &args.compute, terminal),
    }
}
