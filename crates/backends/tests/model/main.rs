//! Model checking of what is truly concurrent in the file backend: the pool's queue and its
//! workers, the list of what has finished, the eventfd, and the end.
//!
//! The modules under test are compiled from `src/file` as they are, against primitives whose
//! interleavings a checker decides: [`exhaustive`] takes all of them (`loom`), [`random`] some of
//! many (`shuttle`). [`plan`] says how far.
//!
//! ```text
//!   cases            queue_cases, backend_cases: little programs, with what must hold
//!   oracle           device: each request comes back once, with its buffer; C5; the end
//!   from src/file    backend, pool, queue, sync_group, policy
//!   replaced         sync, wake, medium, ring
//! ```
//!
//! That a search finds nothing says little unless it could: `sabotage` (see `sabotages`) makes
//! mistakes on purpose, and each has to be found.
//!
//! Left out: the memory that the real ring lends to the kernel, the real system calls (the
//! conformance suite and `hanging_storage` make them), and weak memory orders (all that is shared
//! lies behind a mutex).
//!
//! # Running it
//! * `cargo test -p freewheel-backends --features model-check --test model`: what every test run
//!   does, in about two minutes. `FREEWHEEL_MODEL_SEED=N` picks other schedules.
//! * `FREEWHEEL_MODEL_MINUTES=N` before it: as far as one gets in N minutes; seed from the clock.
//! * `-- --search "case=… …"` after it: one search, in the words that a failure prints. With
//!   `replay=SCHEDULE` instead of a seed: the one schedule that it prints.

// Once for each checker.
#![allow(clippy::duplicate_mod)]

mod exhaustive;
mod plan;
mod random;
mod report;
mod search;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use libtest_mimic::{Arguments, Failed, Trial};
use plan::Planned;
use report::{Report, Row};
use search::{SEARCH, Search};

const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() == Some(SEARCH) {
        return match words.collect::<Vec<_>>().join(" ").parse::<Search>() {
            Ok(search) => {
                search.run_here();
                ExitCode::SUCCESS
            }
            Err(error) => usage(&format!("{error}; copy the words from the failure")),
        };
    }
    let (minutes, seed) = match (number("FREEWHEEL_MODEL_MINUTES"), number("FREEWHEEL_MODEL_SEED"))
    {
        (Ok(minutes), Ok(seed)) => (minutes, seed),
        (Err(error), _) | (_, Err(error)) => return usage(&error),
    };
    let mut args = Arguments::from_args();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = *args.test_threads.get_or_insert(processors);
    let plan = match minutes {
        None => plan::test_run(seed.unwrap_or(1)),
        Some(minutes) => {
            let seed = seed.unwrap_or_else(clock);
            println!("FREEWHEEL_MODEL_SEED={seed}");
            plan::long_search(seed, minutes, threads as u64)
        }
    };
    let report = Arc::new(Report::default());
    let trials = plan.into_iter().map(|planned| {
        let report = Arc::clone(&report);
        Trial::test(planned.name.clone(), move || run(&planned, &report).map_err(Failed::from))
    });
    let conclusion = libtest_mimic::run(&args, trials.collect());
    report.print();
    conclusion.exit_code()
}

fn run(planned: &Planned, report: &Report) -> Result<(), String> {
    let start = Instant::now();
    let outcome = planned.search.run()?;
    report.add(Row {
        name: planned.name.clone(),
        sabotage: planned.findings.is_some(),
        schedules: outcome.schedules,
        complete: outcome.complete,
        took: start.elapsed(),
        failure: outcome.failure.clone(),
    });
    match (planned.findings, &outcome.failure) {
        (Some(findings), Some(failure)) if findings.iter().any(|one| failure.contains(one)) => {
            Ok(())
        }
        (Some(findings), found) => {
            Err(format!("was to find {findings:?}, but found {found:?}: {}", planned.search))
        }
        (None, Some(failure)) => Err(format!(
            "{failure}\nafter {} schedules of\n    cargo test -p freewheel-backends --features \
             model-check --test model -- {SEARCH} \"{}\"\n{}",
            outcome.schedules, planned.search, outcome.details
        )),
        (None, None) if planned.must_end && !outcome.complete => {
            Err(format!("stopped after {} schedules; lower its bound", outcome.schedules))
        }
        (None, None) => Ok(()),
    }
}

fn usage(error: &str) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(USAGE_ERROR)
}

fn number(name: &str) -> Result<Option<u64>, String> {
    let Some(value) = std::env::var_os(name) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|value| value.parse().ok());
    number.map(Some).ok_or(format!("{name} is {value:?}; give it a number"))
}

fn clock() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}
