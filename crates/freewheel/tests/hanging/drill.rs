//! `freewheel drill --stall-with`: the drill on the disk that stalls.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::storage::Storage;

/// What is asked of the device thread (issue 4): reset and turn, in microseconds of its own time.
const RESET_US: f64 = 1_000.0;
const TURN_US: f64 = 5_000.0;

/// Every verdict, and the device thread's times. The drill mounts a file system of its own.
pub(crate) fn the_drill_is_good(storage: &mut Storage, keys: &str) {
    storage.fs.end();
    let program = std::env::current_exe().expect("this program");
    let mountpoint = storage.fs.mountpoint().display();
    let stall = format!("exec {} {} {mountpoint} --life-s 40", program.display(), super::SERVE);
    let output = Command::new(env!("CARGO_BIN_EXE_freewheel"))
        .args(["drill", "--json", "--rounds", "3", "--destroy-data"])
        .args(["--disk", &format!("path={mountpoint}/disk,{keys}"), "--stall-with", &stall])
        .stdin(Stdio::null())
        .output()
        .expect("freewheel starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let report: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["ok"], true);
    assert_eq!(report["real_stall"], true);
    assert_eq!(report["commands_hung"], 32);
    let us = |value: &Value| value.as_f64().expect("a number");
    let (reset, call) = (us(&report["reset_cpu_us"]["max"]), us(&report["longest_call_cpu_us"]));
    println!(
        "{keys}: resets {:.0} us ({reset:.0} of its own), longest call {:.0} us ({call:.0} of its \
         own), {} of {} calls waited for a lock, {:.0} us at most",
        us(&report["reset_us"]["max"]),
        us(&report["longest_call_us"]),
        report["blocked_calls"],
        report["calls"],
        us(&report["longest_blocked_call_us"]),
    );
    assert!(reset < RESET_US, "a reset computed for {reset} us");
    let blocked = us(&report["longest_blocked_call_us"]);
    assert!(blocked < TURN_US, "a call into the controller waited for {blocked} us");
    assert!(call < TURN_US, "a call into the controller computed for {call} us");
}
