//! Which searches there are: those that every test run makes, and a longer one.

use super::exhaustive;
use super::random;
use super::search::{How, Search};

/// What may go wrong in a search: waits that time out, waits that end for no reason, threads that
/// can't be started. The first says what would otherwise be hidden by a time-out: a lost wake-up.
const SCENARIOS: [(u8, u8, u8); 6] =
    [(0, 0, 0), (1, 0, 0), (0, 1, 0), (2, 1, 0), (0, 0, 1), (0, 0, 2)];

/// Preemptions in each schedule of a test run; `None` is all schedules there are. Each bound is as
/// high as some seconds allow.
const REACH: &[(&str, Option<usize>)] = &[
    ("queue::one_worker", None),
    ("queue::two_workers", Some(3)),
    ("queue::idle_worker", Some(4)),
    ("queue::two_idle_workers", Some(2)),
    ("queue::others_go_on", Some(3)),
    ("queue::others_go_on_after_idling", Some(3)),
    ("queue::withdraw", None),
    ("queue::close", Some(4)),
    ("backend::one", None),
    ("backend::one_after_the_other", Some(4)),
    ("backend::two", Some(3)),
    ("backend::others_go_on", Some(3)),
    ("backend::drop_with_requests", Some(3)),
    ("backend::drop_with_a_hang", Some(3)),
    ("backend::withdraw", Some(3)),
    ("backend::flush", Some(4)),
    ("backend::late_flush", Some(2)),
    ("backend::failed_flush", Some(4)),
    ("backend::withdrawn_flush", Some(3)),
    ("backend::write_through", Some(2)),
    ("backend::ring_and_pool", Some(3)),
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

fn search(case: &str, how: How, (time_outs, spurious, refusals): (u8, u8, u8)) -> Search {
    Search {
        case: case.into(),
        how,
        time_outs,
        spurious,
        refusals,
        sabotage: None,
        milliseconds: Some(SAFETY_MS),
    }
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
    let Search { time_outs, spurious, refusals, .. } = search;
    let name = format!(
        "{}::{}::{time_outs}-time-outs-{spurious}-spurious-{refusals}-refusals",
        search.case,
        label(&search.how)
    );
    Planned { name, search, findings: None, must_end: true }
}

/// The queue's cases start their own workers; and how they are started has nothing to do with
/// durability.
fn fits(case: &str, (_, _, refusals): (u8, u8, u8)) -> bool {
    let about_sync = case.contains("flush") || case.contains("write_through");
    refusals == 0 || (case.starts_with("backend::") && !about_sync)
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
        for scenario in SCENARIOS.into_iter().filter(|scenario| fits(case, *scenario)) {
            let mut preemptions = *preemptions;
            if scenario.2 > 0 {
                // Looking again for a thread starts more of them: many more schedules.
                preemptions = Some(1);
            }
            plan.push(planned(search(case, How::Exhaustive { preemptions }, scenario)));
        }
    }
    for case in random::case::all() {
        let large = exhaustive::case::is_large(case.name);
        let iterations = if large { LARGE_ITERATIONS } else { RANDOM_ITERATIONS };
        let all_at_once = if fits(case.name, (0, 0, 2)) { (2, 1, 2) } else { (2, 1, 0) };
        for scenario in [(0, 0, 0), all_at_once] {
            for how in random_hows(seed, iterations) {
                plan.push(planned(search(case.name, how, scenario)));
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
            let scenario = (hunt.time_outs, hunt.spurious, hunt.refusals);
            let sabotage = Some(hunt.name());
            let search = Search { sabotage, ..search(hunt.case, how, scenario) };
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
        for scenario in SCENARIOS.into_iter().filter(|scenario| fits(case.name, *scenario)) {
            let mut hows = random_hows(seed, usize::MAX).to_vec();
            if let Some((_, preemptions)) = REACH.iter().find(|(name, _)| *name == case.name) {
                hows.push(How::Exhaustive { preemptions: preemptions.map(|bound| bound + 1) });
            }
            plan.extend(hows.into_iter().map(|how| planned(search(case.name, how, scenario))));
        }
    }
    let limit = minutes * 60_000 * processors / plan.len() as u64;
    for planned in &mut plan {
        planned.search.milliseconds = Some(limit);
        planned.must_end = false;
    }
    plan
}
