//! Traces as files: what `--seed N --trace` prints, compared with the same seed's run of now.
//!
//! A trace begins with a line that names the version of this program and the seed. Another version
//! may have another plan for the same seed, so its traces are refused instead of being called
//! different. Within a version, a difference says that the code has changed, or that a run depends
//! on something else than its seed.

use freewheel_sim::simulator::{Outcome, Run};

/// What every trace begins with.
const MARK: &str = "freewheel-sim trace";
/// Raised whenever a seed comes to mean another run, or a trace looks different.
const FORMAT: u32 = 3;
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn first_line(seed: u64) -> String {
    format!("{MARK} {FORMAT} of version {VERSION}, seed {seed}")
}

/// The trace of a run, as it is printed.
pub(crate) fn lines(seed: u64, run: &Run, outcome: &Outcome) -> Vec<String> {
    let config = format!("seed {seed}: {:?}, {} steps", run.config, run.steps.len());
    let head = [first_line(seed), config];
    head.into_iter().chain(outcome.trace.iter().cloned()).collect()
}

/// The seed of a trace of this version, by its first line.
fn seed_of(line: &str) -> Result<u64, String> {
    let no_trace = || format!("it does not begin with \"{MARK}\": it is no trace");
    let rest = line.strip_prefix(MARK).ok_or_else(no_trace)?.trim_start();
    let (version, seed) = rest.split_once(", seed ").ok_or_else(no_trace)?;
    let ours = format!("{FORMAT} of version {VERSION}");
    if version != ours {
        return Err(format!(
            "it is a trace {version}, and this program makes {ours}: a seed may mean another run there"
        ));
    }
    seed.trim().parse().map_err(|_| format!("its seed {seed:?} is no whole number"))
}

/// Runs the seed of the trace in `file` again. Says whether the story is the same.
pub(crate) fn check(file: &str) -> Result<bool, String> {
    let remedy = "freewheel-sim --seed N --trace > FILE makes one";
    let bad = |what: String| format!("{file}: {what}\n  remedy: {remedy}");
    let text = std::fs::read_to_string(file).map_err(|error| bad(error.to_string()))?;
    let mut told = text.lines();
    let seed = seed_of(told.next().unwrap_or_default()).map_err(bad)?;
    let run = Run::of_seed(seed);
    match difference(&lines(seed, &run, &run.trace()), &text) {
        None => {
            println!("seed {seed} tells the same story");
            Ok(true)
        }
        Some(difference) => {
            println!("seed {seed} tells another story: {difference}");
            Ok(false)
        }
    }
}

/// The first line in which `file` is another trace than `now`. What follows the trace (the verdict)
/// doesn't count.
fn difference(now: &[String], file: &str) -> Option<String> {
    let mut told = file.lines();
    for (index, line) in now.iter().enumerate() {
        let told = told.next();
        if told != Some(line) {
            let told = told.unwrap_or("(the end of the file)");
            return Some(format!("line {}\n  then: {told}\n  now:  {line}", index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_the_same_again_and_a_changed_one_is_not() {
        let run = Run::of_seed(5);
        let trace = lines(5, &run, &run.trace());
        assert_eq!(seed_of(&trace[0]), Ok(5));
        let file = trace.join("\n") + "\nno violation: and so on\n";
        let again = lines(5, &run, &run.trace());
        assert_eq!(difference(&again, &file), None);
        let changed = file.replacen("Issue", "Retry", 1);
        assert!(difference(&again, &changed).is_some_and(|it| it.contains("now:")));
        let cut = &file[..file.len() / 2];
        assert!(difference(&again, cut).is_some());
    }

    #[test]
    fn what_is_no_trace_of_this_version_is_refused_in_words() {
        for (line, word) in [
            ("", "no trace"),
            ("seed 5: WorldConfig", "no trace"),
            ("freewheel-sim trace", "no trace"),
            ("freewheel-sim trace 0 of version 0.0.1, seed 5", "0 of version 0.0.1"),
            (&first_line(5).replace("seed 5", "seed five"), "no whole number"),
        ] {
            let refusal = seed_of(line).expect_err(line);
            assert!(refusal.contains(word), "{line}: {refusal}");
        }
    }
}
