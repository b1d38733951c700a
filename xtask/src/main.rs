//! Project tasks: `cargo xtask lab | vm | sim | fuzz | conformance | test`.
//!
//! This file is the command line only. What real guests need is in `lab`, running them in `vm`,
//! the simulation in `sim`, fuzzing in `fuzz`, the table of what is there in `conformance`, and
//! everything that must pass before a change lands in `test`.

mod children;
mod conformance;
mod deny;
mod fuzz;
mod lab;
mod run;
mod say;
mod sim;
mod test;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Project tasks of Freewheel",
    after_help = "Example: cargo xtask vm --drill\n\n\
        Exit codes: 0 everything asked for passed; 1 something failed; 2 wrong arguments; \
        130 interrupted."
)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Install what real guests need: QEMU, kernels, an initramfs, nbdkit. A second run is instant.
    Lab(lab::LabArgs),
    /// Boot a Linux guest on a Freewheel disk and run the main job, or a drill.
    Vm(vm::VmArgs),
    /// Simulate guests, controllers and faulty disks, and judge what a guest may observe.
    Sim(sim::SimArgs),
    /// Fuzz the layers that a guest or a VMM feeds.
    Fuzz(fuzz::FuzzArgs),
    /// Check docs/conformance.md against the code.
    Conformance(conformance::ConformanceArgs),
    /// Everything that must pass: format, lints, tests, the drill, and real guests.
    Test(test::TestArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Err(err) = children::kill_on_signals() {
        say::failure(&err);
        return ExitCode::FAILURE;
    }
    let done = match cli.task {
        Task::Lab(args) => lab::main(&args),
        Task::Vm(args) => vm::main(&args),
        Task::Sim(args) => sim::main(&args),
        Task::Fuzz(args) => fuzz::main(&args),
        Task::Conformance(args) => conformance::main(&args),
        Task::Test(args) => test::main(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(err) => {
            say::failure(&err);
            ExitCode::FAILURE
        }
    }
}
