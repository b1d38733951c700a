//! `cargo xtask sim`: builds the simulation in release mode and runs it. What it does and prints is
//! `crates/sim`'s business; this file only passes the options on, and builds with the feature
//! `sabotage` where one is asked for.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, FromArgMatches};

use crate::children::Running;
use crate::{run, say, workspace};

/// Longer than any simulation; a run by time ends by itself.
const AT_MOST: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask sim --seeds 1000000\n  \
    cargo xtask sim --seed 4711 --trace\n  \
    cargo xtask sim --sabotage all\n\n\
    Exit codes: 0 no violation (or every sabotage found); 1 a violation, a hole in the coverage, or \
    a sabotage that was not found; 2 wrong arguments.")]
pub(crate) struct SimArgs {
    /// Run this many seeds.
    #[arg(long, value_name = "N", default_value_t = 20_000, conflicts_with_all = ["minutes", "seed"])]
    seeds: u64,
    /// Run for this long instead.
    #[arg(long, value_name = "M", conflicts_with = "seed")]
    minutes: Option<f64>,
    /// Start at this seed.
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    first: Option<u64>,
    /// Run one seed; if it fails, show the shortest run that does.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// With --seed: tell the whole story.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run the seed of a trace again (FILE is what --trace printed) and compare line by line.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seeds", "minutes", "first", "seed", "coverage", "sabotage"])]
    check_trace: Option<String>,
    /// Show what was visited; a reachable cell at zero is a failure.
    #[arg(long, conflicts_with = "seed")]
    coverage: bool,
    /// Break one thing on purpose and look how soon it is found; `all` for a table.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["seeds", "minutes", "first", "seed", "coverage"])]
    sabotage: Option<String>,
    /// Use this many threads.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl SimArgs {
    /// From words as on the command line, for other tasks that simulate.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let command = SimArgs::augment_args(clap::Command::new("sim").no_binary_name(true));
        Ok(SimArgs::from_arg_matches(&command.try_get_matches_from(words)?)?)
    }

    fn to_program(&self) -> Vec<String> {
        let mut args = Vec::new();
        let mut pass = |option: &str, value: Option<String>| {
            if let Some(value) = value {
                args.extend([option.to_owned(), value]);
            }
        };
        pass("--seed", self.seed.map(|seed| seed.to_string()));
        pass("--sabotage", self.sabotage.clone());
        pass("--check-trace", self.check_trace.clone());
        pass("--threads", self.threads.map(|threads| threads.to_string()));
        pass("--first", self.first.map(|first| first.to_string()));
        pass("--minutes", self.minutes.map(|minutes| minutes.to_string()));
        let one = self.seed.is_some() || self.sabotage.is_some() || self.check_trace.is_some();
        if self.minutes.is_none() && !one {
            pass("--seeds", Some(self.seeds.to_string()));
        }
        args.extend(self.trace.then(|| "--trace".to_owned()));
        args.extend(self.coverage.then(|| "--coverage".to_owned()));
        args
    }
}

/// `cargo xtask sim`.
pub(crate) fn main(args: &SimArgs) -> Result<bool> {
    // A build of its own for each: what is broken on purpose never ends up beside what is not.
    let mut target = workspace::target_dir()?;
    let mut build = workspace::cargo();
    build.args(["build", "--release", "--package", "freewheel-sim", "--bin", "freewheel-sim"]);
    if args.sabotage.is_some() {
        target = target.join("sabotage");
        build.args(["--features", "sabotage", "--target-dir"]).arg(&target);
    }
    say::step("building the simulation (release)");
    run::output(&mut build).context("the simulation does not build")?;
    run_program(&target.join("release/freewheel-sim"), args)
}

fn run_program(program: &Path, args: &SimArgs) -> Result<bool> {
    let mut cmd = std::process::Command::new(program);
    cmd.args(args.to_program()).stdin(Stdio::null());
    let status = Running::spawn("freewheel-sim", &mut cmd)?.wait(AT_MOST)?;
    if status.code() == Some(2) {
        // It has said what was wrong with the arguments.
        std::process::exit(2);
    }
    Ok(status.success())
}
