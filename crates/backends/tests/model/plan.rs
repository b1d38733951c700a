//! Which searches there are: those that every test run makes, and a longer one.

use super::exhaustive;
use super::random;
use super::search::{How, Search};

/// How many waits may end for no reason. The first says what would otherwise be hidden: a lost
/// wake-up.
const SCENARIOS: [u8; 2] = [0, 1];

/// Preemptions in each schedule of a test run; `None` is all schedules there are. Each bound is as
/// high as some seconds allow.
const REACH: &[(&str, Option<usize>)] = &[
    ("queue::one_worker", Some(4)),
    ("queue::two_workers", Some(2)),
    ("queue::batch", Some(2)),
    ("queue::others_go_on", Some(2)),
    ("queue::others_of_a_batch_go_on", Some(2)),
    ("queue::withdraw", Some(3)),
    ("queue::close", Some(2)),
    ("backend::one", Some(2)),
    ("backend::one_after_the_other", Some(4)),
    ("backend::two", Some(2)),
    ("backend::others_go_on", Some(2)),
    ("backend::drop_with_requests", Some(2)),
    ("backend::drop_with_a_hang", Some(2)),
    ("backend::withdraw", Some(2)),
    ("backend::flush", Some(4)),
    ("backend::late_flush", Some(2)),
    ("backend::failed_flush", Some(4)),
    ("backend::withdrawn_flush", Some(3)),
    ("backend::write_through", Some(2)),
    ("backend::ring_and_pool", Some(2)),
];

const PCT_DEPTH: usize = 4;
/// Of each case, in a test run.
const RANDOM_ITERATIONS: usize = 3_000;
/// Of the cases that only random searches can look at.
const LARGE_ITERATIONS: usize = 20_000;
/// A test run's searches end by themselves; past this, something is wrong with the plan.
const SAFETY_MS: u64 = 300_000;

/// A search with a name, and what it must find.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) name: String,
    pub(crate) search: Search,
    /// What the failure has to say (one of these), for a mistake made on purpose.
    pub(crate) findings: Option<&'static [&'static str]>,
    /// A search that doesn't get to its end is a failure.
    pub(crate) must_end: bool,
}

fn search(case: &str, how: How, spurious: u8) -> Search {
    Search { case: case.into(), how, spurious, sabotage: None, milliseconds: Some(SAFETY_MS) }
}

fn label(how: &How) -> String {
    match how {
        How::Exhaustive { preemptions: None } => "all".into(),
        How::Exhaustive { preemptions: Some(bound) } => format!("preemptions-{bound}"),
        How::Random { pct: None, .. } => "random".into(),
        How::Random { pct: Some(depth), .. } => format!("pct-{depth}"),
        How::Replay { .. } => "replay".into(),
    }
}

fn planned(search: Search) -> Planned {
    let spurious = search.spurious;
    let name = format!("{}::{}::{spurious}-spurious", search.case, label(&search.how));
    Planned { name, search, findings: None, must_end: true }
}

fn random_hows(seed: u64, iterations: usize) -> [How; 2] {
    [None, Some(PCT_DEPTH)].map(|pct| How::Random { pct, seed, iterations })
}

/// What every test run searches: ends by itself.
pub(crate) fn test_run(seed: u64) -> Vec<Planned> {
    let mut plan = Vec::new();
    for case in exhaustive::case::all().filter(|case| !exhaustive::case::is_large(case.name)) {
        let planned = REACH.iter().any(|(name, _)| *name == case.name);
        assert!(planned, "{} has no bound", case.name);
    }
    for (case, preemptions) in REACH {
        for spurious in SCENARIOS {
            let how = How::Exhaustive { preemptions: *preemptions };
            plan.push(planned(search(case, how, spurious)));
        }
    }
    for case in random::case::all() {
        let large = exhaustive::case::is_large(case.name);
        let iterations = if large { LARGE_ITERATIONS } else { RANDOM_ITERATIONS };
        for spurious in [0, 2] {
            for how in random_hows(seed, iterations) {
                plan.push(planned(search(case.name, how, spurious)));
            }
        }
    }
    plan.extend(sabotages(seed));
    plan
}

/// Each mistake, to be found in both ways.
fn sabotages(seed: u64) -> Vec<Planned> {
    let mut plan = Vec::new();
    for hunt in exhaustive::sabotages::HUNTS {
        let [_, pct] = random_hows(seed, LARGE_ITERATIONS);
        for how in [How::Exhaustive { preemptions: Some(2) }, pct] {
            let sabotage = Some(hunt.name());
            let search = Search { sabotage, ..search(hunt.case, how, hunt.spurious) };
            let name = format!("sabotage::{}::{}", hunt.name(), label(&search.how));
            plan.push(Planned { name, search, findings: Some(hunt.findings), must_end: true });
        }
    }
    plan
}

/// As far as one gets in so many minutes on so many processors: one more preemption than in a test
/// run, and other schedules at random, for all cases in all scenarios.
pub(crate) fn long_search(seed: u64, minutes: u64, processors: u64) -> Vec<Planned> {
    let mut plan = Vec::new();
    for case in random::case::all() {
        for spurious in SCENARIOS {
            let mut hows = random_hows(seed, usize::MAX).to_vec();
            if let Some((_, preemptions)) = REACH.iter().find(|(name, _)| *name == case.name) {
                hows.push(How::Exhaustive { preemptions: preemptions.map(|bound| bound + 1) });
            }
            plan.extend(hows.into_iter().map(|how| planned(search(case.name, how, spurious))));
        }
    }
    let limit = minutes * 60_000 * processors / plan.len() as u64;
    for planned in &mut plan {
        planned.search.milliseconds = Some(limit);
        planned.must_end = false;
    }
    plan
}
