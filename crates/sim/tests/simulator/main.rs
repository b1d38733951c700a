//! The simulation on a few seeds; `cargo xtask sim` runs as many as wanted.

use freewheel_sim::simulator::{Campaign, ENOUGH, Run, Step, run_campaign};

#[test]
fn a_few_hundred_seeds_show_no_violation() {
    let summary = run_campaign(&Campaign {
        first: 0,
        seeds: 300,
        at_most: None,
        threads: 2,
        guest_only: false,
    });
    assert_eq!(summary.failure, None);
    assert_eq!(summary.seeds, 300);
    assert_eq!((summary.short, summary.without_reset), (0, 0), "commands and resets in each seed");
    assert!(summary.fewest_operations >= Some(ENOUGH));
    let stats = summary.stats;
    assert!(stats.orphans > 0 && stats.fences > 0 && stats.holds > 0 && stats.crashes > 0);
}

#[test]
fn a_quarter_of_the_seeds_has_faults_of_every_kind_and_they_happen() {
    let campaign = Campaign { first: 0, seeds: 200, at_most: None, threads: 2, guest_only: false };
    let summary = run_campaign(&campaign);
    assert_eq!(summary.failure, None);
    let faults = summary.stats.faults;
    assert!((30..=70).contains(&faults.runs), "{} of 200", faults.runs);
    assert_eq!(faults.injected().count(), 13);
    for (name, count) in faults.injected() {
        assert!(count > 0, "{name} was never injected");
    }
    let happened = [faults.parked, faults.released, faults.failed, faults.damaged];
    assert!(happened.iter().all(|count| *count > 0) && faults.link_causes > 0, "{faults:?}");
}

#[test]
fn a_run_without_faults_is_what_it_was_and_one_with_them_goes_on_without() {
    let with = (0..).map(Run::of_seed).find(|run| run.config.faults.is_some()).expect("a quarter");
    let mut without = with.clone();
    without.steps.retain(|step| !matches!(step, Step::Fault { .. }));
    assert!(without.steps.len() < with.steps.len());
    let outcome = without.execute();
    assert_eq!(outcome.violation, None);
    let faults = outcome.stats.faults;
    assert_eq!((faults.parked, faults.failed, faults.link_causes), (0, 0, 0));
}

#[test]
fn a_seed_tells_the_same_story_twice() {
    // Two of them with faults.
    for seed in [1, 2, 77, 3, 8] {
        let (one, other) = (Run::of_seed(seed).trace(), Run::of_seed(seed).trace());
        assert_eq!(one, other, "seed {seed}");
        assert_eq!(one.violation, None, "every check after every event, seed {seed}");
        assert!(one.trace.len() > 900);
        // What is checked more often must not change what happens.
        assert_eq!(one.stats.operations, Run::of_seed(seed).execute().stats.operations);
    }
}

#[test]
fn any_part_of_a_run_is_a_run() {
    let mut run = Run::of_seed(5);
    while run.steps.len() > 4 {
        let keep = run.steps.len() / 3;
        run.steps.drain(keep..keep * 2);
        assert_eq!(run.execute().violation, None, "{} steps", run.steps.len());
    }
}
