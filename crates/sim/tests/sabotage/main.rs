//! The simulation notices what is broken on purpose. With the feature `sabotage` only:
//! `cargo test -p freewheel-sim --features sabotage --test sabotage`. The whole table is
//! `cargo xtask sim --sabotage all`.
//!
//! One test, because the choice of a sabotage is one for the whole process.

#![cfg(feature = "sabotage")]

use freewheel_sim::simulator::sabotage::{self, Sabotage};
use freewheel_sim::simulator::{Campaign, Kind, Run, run_campaign, shrink};

#[test]
fn what_is_broken_is_found_and_the_story_is_short() {
    let cases = [
        (Sabotage::NoFence, Kind::Fence),
        (Sabotage::FuaIgnored, Kind::Durability),
        (Sabotage::StopKeepsActive, Kind::Register),
        (Sabotage::DoubtForgotten, Kind::Doubt),
        (Sabotage::DetachForgetsDevice, Kind::Reset),
        (Sabotage::AttachInDoubt, Kind::Data),
        (Sabotage::EjectKeepsReading, Kind::Reset),
        (Sabotage::EjectForgetsHost, Kind::Answer),
    ];
    let campaign = Campaign { first: 0, seeds: 500, at_most: None, threads: 1, guest_only: false };
    for (which, kind) in cases {
        sabotage::choose(Some(which));
        let (seed, violation) = run_campaign(&campaign).failure.expect("found");
        let run = Run::of_seed(seed);
        let short = shrink(&run, violation.kind);
        assert_eq!(violation.kind, kind, "{which:?}: {violation}");
        assert!(short.steps.len() * 10 < run.steps.len(), "{which:?}: {} steps", short.steps.len());
        let told = short.story();
        assert_eq!(told.violation.map(|it| it.kind), Some(kind));
        assert!(told.trace.last().is_some_and(|line| line.contains("VIOLATION")));
        sabotage::choose(None);
        assert_eq!(run.execute().violation, None, "mended again");
    }
}
