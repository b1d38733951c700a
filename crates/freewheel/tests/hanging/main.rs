//! `freewheel serve` on a disk that stalls in the kernel: a file on a FUSE file system that hangs
//! on command (`crates/hangfs`). Injected faults never block a kernel; this does.
//!
//! Needs root and FUSE. What this machine can't run is listed as *ignored*, and said once more at
//! the end; with `FREEWHEEL_REQUIRE_ALL=1` it fails instead.

mod attach;
#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod common;
mod drill;
mod pulled;
mod resets;
mod shutdown;
mod state;
mod storage;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use storage::Storage;

/// The first argument of the process that serves the file system.
const SERVE: &str = "--serve-hanging-file-system";

type TestFn = fn(&mut Storage, &str);

const TESTS: [(&str, TestFn); 7] = [
    ("every_way_to_reset_ends_at_once", resets::every_way_to_reset_ends_at_once),
    ("the_end_comes_by_its_deadline", shutdown::the_end_comes_by_its_deadline),
    ("the_drill_is_good", drill::the_drill_is_good),
    (
        "an_image_that_cannot_be_opened_stops_nothing",
        attach::an_image_that_cannot_be_opened_stops_nothing,
    ),
    ("only_so_many_images_are_opened_at_a_time", attach::only_so_many_images_are_opened_at_a_time),
    ("a_disk_is_pulled_out_at_once", pulled::a_disk_is_pulled_out_at_once),
    (
        "a_stuck_state_file_stops_neither_the_guest_nor_the_end",
        state::a_stuck_state_file_stops_neither_the_guest_nor_the_end,
    ),
];

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == SERVE) {
        return freewheel_hangfs::Options::parse(words).expect("options").serve();
    }
    let mut args = Arguments::from_args();
    // One at a time: they time things.
    args.test_threads = Some(1);
    let require_all = std::env::var_os("FREEWHEEL_REQUIRE_ALL").is_some_and(|value| value == "1");
    let obstacle = Storage::new().err();
    let mut trials = Vec::new();
    for engine in ["io_uring", "threads"] {
        for cache in ["writeback", "none"] {
            for (name, test) in TESTS {
                let keys = format!("engine={engine},cache={cache}");
                let trial = Trial::test(format!("{engine}::{cache}::{name}"), move || {
                    test(&mut Storage::new().map_err(Failed::from)?, &keys);
                    Ok(())
                });
                trials.push(trial.with_ignored_flag(obstacle.is_some() && !require_all));
            }
        }
    }
    let conclusion = libtest_mimic::run(&args, trials);
    if let Some(reason) = obstacle {
        eprintln!("NOT RUN: {reason}");
    }
    conclusion.exit_code()
}
