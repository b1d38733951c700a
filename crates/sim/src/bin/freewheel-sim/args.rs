//! The command line, by hand: few options, no dependency.

use std::time::Duration;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Simulates guests, controllers and faulty disks, and judges what a guest may observe.

Usage: freewheel-sim [OPTIONS]

  --seeds N          run this many seeds (default 20000)
  --minutes M        run for this long instead
  --first N          start at this seed (default 0)
  --seed N           run one seed; if it fails, show the shortest run that does
  --trace            with --seed: tell the whole story
  --check-trace FILE run the seed of a trace again (FILE is what --trace printed) and compare line
                     by line
  --coverage         show what was visited; a reachable cell at zero is a failure
  --sabotage NAME    break one thing on purpose and look how soon it is found; `all` for a table
                     (needs the feature `sabotage`)
  --threads N        use this many threads (default: one a core)

Example: freewheel-sim --minutes 10 --coverage

Exit codes: 0 no violation (or every sabotage found, or the same trace); 1 a violation, a hole in the
coverage, a sabotage that was not found, or another trace; 2 wrong arguments, or a file that is no
trace of this version.
";

/// What is to be done.
pub(crate) enum Task {
    Seeds,
    One(u64),
    /// The trace in this file, again.
    CheckTrace(String),
    /// One sabotage, or all.
    Sabotage(Option<String>),
}

/// The command line.
pub(crate) struct Args {
    pub(crate) task: Task,
    pub(crate) seeds: u64,
    pub(crate) first: u64,
    pub(crate) at_most: Option<Duration>,
    pub(crate) trace: bool,
    pub(crate) coverage: bool,
    pub(crate) threads: Option<usize>,
}

fn number(option: &str, text: Option<String>) -> Result<u64, String> {
    let text = text.ok_or(format!("{option} needs a number"))?;
    let digits = text.replace('_', "");
    digits
        .parse()
        .map_err(|_| format!("{option} {text}: not a whole number from 0 to {}", u64::MAX))
}

impl Args {
    /// `None` if help is wanted.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut parsed = Self {
            task: Task::Seeds,
            seeds: 20_000,
            first: 0,
            at_most: None,
            trace: false,
            coverage: false,
            threads: None,
        };
        while let Some(arg) = args.next() {
            let option = arg.as_str();
            match option {
                "--help" | "-h" => return Ok(None),
                "--seeds" => parsed.seeds = number(option, args.next())?,
                "--first" => parsed.first = number(option, args.next())?,
                "--minutes" => {
                    let text = args.next().ok_or("--minutes needs a number")?;
                    let minutes: f64 =
                        text.parse().map_err(|_| format!("--minutes {text}: not a number"))?;
                    if !(0.0..=100_000.0).contains(&minutes) {
                        return Err(format!("--minutes {text}: from 0 to 100000"));
                    }
                    parsed.at_most = Some(Duration::from_secs_f64(minutes * 60.0));
                    parsed.seeds = u64::MAX;
                }
                "--seed" => parsed.task = Task::One(number(option, args.next())?),
                "--trace" => parsed.trace = true,
                "--check-trace" => {
                    let file = args.next().ok_or("--check-trace needs a file")?;
                    parsed.task = Task::CheckTrace(file);
                }
                "--coverage" => parsed.coverage = true,
                "--sabotage" => {
                    let name = args.next().ok_or("--sabotage needs a name, or `all`")?;
                    parsed.task = Task::Sabotage((name != "all").then_some(name));
                }
                "--threads" => match number(option, args.next())? {
                    count @ 1..=1024 => parsed.threads = Some(count as usize),
                    count => return Err(format!("--threads {count}: from 1 to 1024")),
                },
                other => return Err(format!("there is no option {other}")),
            }
        }
        if parsed.trace && !matches!(parsed.task, Task::One(_)) {
            return Err("--trace needs --seed".into());
        }
        if parsed.coverage && !matches!(parsed.task, Task::Seeds) {
            return Err("--coverage is about many seeds, not about one or a sabotage".into());
        }
        Ok(Some(parsed))
    }
}
