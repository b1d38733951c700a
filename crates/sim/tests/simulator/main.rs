//! The simulation on a few seeds; `cargo xtask sim` runs as many as wanted.

use freewheel_sim::simulator::{Campaign, ENOUGH, Run, run_campaign};

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
fn a_seed_tells_the_same_story_twice() {
    for seed in [1, 2, 77] {
        let (one, other) = (Run::of_seed(seed).trace(), Run::of_seed(seed).trace());
        assert_eq!(one, other, "seed {seed}");
        assert_eq!(one.violation, None, "every check after every event, seed {seed}");
        assert!(one.trace.len() > 1000);
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
