//! `freewheel`: serves virtual SATA controllers, and shows that they keep their promises.
//!
//! This crate holds what a process needs and the libraries leave out: the command line, the poll
//! loop of the device thread, the control socket, the end of the process. What a controller or a
//! disk *does* is in the crates below.

mod cdrom;
mod cli;
mod clock;
mod ctl;
mod disk;
mod drill;
mod exit;
mod log;
mod place;
mod serve;
mod usage;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let outcome = match cli.command {
        cli::Command::Serve(args) => serve::run(&args),
        cli::Command::Ctl(args) => ctl::run(&args),
        cli::Command::Drill(args) => drill::run(&args),
    };
    outcome.unwrap_or_else(|error| exit::report(&error))
}
