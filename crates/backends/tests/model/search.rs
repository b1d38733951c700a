//! One search, in a process of its own.
//!
//! Neither checker survives every failure that it finds: unwinding runs destructors, which use
//! primitives of a model that no longer runs. So a failure ends the process, and whoever started it
//! reads what it has found. The same words on a command line repeat the search.

use std::any::Any;
use std::fmt;
use std::process::Command;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{exhaustive, random};

/// The argument before the words that name a search.
pub(crate) const SEARCH: &str = "--search";

const EXIT_FOUND: i32 = 9;

static SCHEDULES: AtomicU64 = AtomicU64::new(0);

/// How schedules are chosen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum How {
    /// All, or all with at most so many preemptions.
    Exhaustive { preemptions: Option<usize> },
    /// So many at random; few priority changes with `pct`.
    Random { pct: Option<usize>, seed: u64, iterations: usize },
    /// One.
    Replay { schedule: String },
}

/// One search.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Search {
    pub(crate) case: String,
    pub(crate) how: How,
    pub(crate) spurious: u8,
    pub(crate) sabotage: Option<String>,
    pub(crate) milliseconds: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) schedules: u64,
    /// Whether it saw everything it was to see.
    pub(crate) complete: bool,
    /// What went wrong, in one line.
    pub(crate) failure: Option<String>,
    /// What the checker printed: with [`How::Random`], the schedule.
    pub(crate) details: String,
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case={}", self.case)?;
        match &self.how {
            How::Exhaustive { preemptions: None } => write!(f, " preemptions=any")?,
            How::Exhaustive { preemptions: Some(bound) } => write!(f, " preemptions={bound}")?,
            How::Random { pct, seed, iterations } => {
                write!(f, " seed={seed} iterations={iterations}")?;
                if let Some(depth) = pct {
                    write!(f, " pct={depth}")?;
                }
            }
            How::Replay { schedule } => write!(f, " replay={schedule}")?,
        }
        if self.spurious > 0 {
            write!(f, " spurious={}", self.spurious)?;
        }
        if let Some(sabotage) = &self.sabotage {
            write!(f, " sabotage={sabotage}")?;
        }
        self.milliseconds.map_or(Ok(()), |limit| write!(f, " milliseconds={limit}"))
    }
}

impl FromStr for Search {
    type Err = String;

    fn from_str(words: &str) -> Result<Self, String> {
        let mut search = Self {
            case: String::new(),
            how: How::Exhaustive { preemptions: None },
            spurious: 0,
            sabotage: None,
            milliseconds: None,
        };
        let (mut seed, mut iterations, mut pct) = (None, 10_000, None);
        for word in words.split_whitespace() {
            let (key, value) = word.split_once('=').ok_or(format!("{word}: not KEY=VALUE"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{word}: {error}"));
            match key {
                "case" => search.case = value.into(),
                "preemptions" if value == "any" => {}
                "preemptions" => {
                    search.how = How::Exhaustive { preemptions: Some(number()? as usize) };
                }
                "seed" => seed = Some(number()?),
                "iterations" => iterations = number()? as usize,
                "pct" => pct = Some(number()? as usize),
                "replay" => search.how = How::Replay { schedule: value.into() },
                "spurious" => search.spurious = number()? as u8,
                "sabotage" => search.sabotage = Some(value.into()),
                "milliseconds" => search.milliseconds = Some(number()?),
                _ => return Err(format!("{word}: no such key")),
            }
        }
        if let Some(seed) = seed {
            search.how = How::Random { pct, seed, iterations };
        }
        Ok(search)
    }
}

impl Search {
    /// Runs it in a process of its own.
    pub(crate) fn run(&self) -> Result<Outcome, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let output = Command::new(program)
            .args([SEARCH, &self.to_string()])
            .env("RUST_BACKTRACE", "0")
            .output()
            .map_err(|error| error.to_string())?;
        let details = String::from_utf8_lossy(&output.stderr).into_owned();
        let stdout = String::from_utf8_lossy(&output.stdout);
        let mut words = stdout.trim().splitn(3, '\t');
        let mut word = || words.next().unwrap_or_default();
        let (verdict, schedules, message) = (word(), word(), word());
        let schedules =
            schedules.parse().map_err(|_| format!("{}: {stdout}{details}", output.status))?;
        let failure = (verdict == "failed").then(|| message.to_owned());
        Ok(Outcome { schedules, complete: verdict == "complete", failure, details })
    }

    /// Runs it here; ends the process at the first failure.
    pub(crate) fn run_here(&self) {
        std::panic::set_hook(Box::new(|info| {
            let message = said(info.payload()).lines().next().unwrap_or_default();
            println!("failed\t{}\t{message}", SCHEDULES.load(Ordering::Relaxed));
            eprintln!("{info}");
            std::process::exit(EXIT_FOUND);
        }));
        let seen = || {
            SCHEDULES.fetch_add(1, Ordering::Relaxed);
        };
        let limit = self.milliseconds.map(Duration::from_millis);
        let complete = match &self.how {
            How::Exhaustive { preemptions } => {
                let mut scenario = exhaustive::sync::Scenario::new(self.spurious);
                if let Some(name) = &self.sabotage {
                    scenario = scenario.with_sabotage(name);
                }
                let case = exhaustive::case::Case::named(&self.case);
                exhaustive::explore(case, scenario, *preemptions, limit, seen)
            }
            how => {
                let mut scenario = random::sync::Scenario::new(self.spurious);
                if let Some(name) = &self.sabotage {
                    scenario = scenario.with_sabotage(name);
                }
                let case = random::case::Case::named(&self.case);
                match how {
                    How::Random { pct, seed, iterations } => {
                        random::explore(case, scenario, *pct, *seed, *iterations, limit, seen);
                    }
                    How::Replay { schedule } => random::replay(case, scenario, schedule),
                    How::Exhaustive { .. } => unreachable!("see above"),
                }
                true
            }
        };
        let verdict = if complete { "complete" } else { "incomplete" };
        println!("{verdict}\t{}", SCHEDULES.load(Ordering::Relaxed));
    }
}

fn said(payload: &dyn Any) -> &str {
    match payload.downcast_ref::<&str>() {
        Some(text) => text,
        None => payload.downcast_ref::<String>().map_or("?", String::as_str),
    }
}
