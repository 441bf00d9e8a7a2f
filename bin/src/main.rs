//! `seqlora`: parse, call the library, print.

mod allocator;
mod args;
mod commands;
mod device;
mod failure;
mod hints;
mod hub;
mod images;
mod interrupt;
mod settings;
mod terminal;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};
use terminal::Terminal;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let args = Args::parse();
    let terminal = Terminal::new(args.verbosity(), args.json);
    interrupt::install();
    let result = match args.command {
        Command::Learn(learn) => commands::learn::run(&learn, &args.global, &terminal),
        Command::Generate(generate) => commands::generate::run(&generate, &args.global, &terminal),
        Command::Inspect(inspect) => commands::inspect::run(&inspect, &terminal),
        Command::Devices => commands::devices::run(&terminal),
        Command::Pretrain(pretrain) => commands::pretrain::run(&pretrain, &args.global, &terminal),
        Command::Demo(demo) => commands::demo::run(&demo, &args.global, &terminal),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal.error(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
