//! A state file in a folder that never answers: the guest, the device thread and the end go on.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::{Server, Vmm, image};
use crate::storage::Storage;

const DEADLINE: Duration = Duration::from_secs(1);
/// For a busy machine.
const GRACE: Duration = Duration::from_secs(2);

pub(crate) fn a_stuck_state_file_stops_neither_the_guest_nor_the_end(
    storage: &mut Storage,
    keys: &str,
) {
    let dir = tempfile::tempdir().expect("a directory");
    image(dir.path(), "disk.img");
    storage.fs.hang("create");
    let state = storage.fs.mountpoint().join("state").display().to_string();
    let disk = format!("path=disk.img,{keys},state={state}");
    let mut server = Server::start_on(dir, &disk, &["--deadline", "1", "--keep"]);
    storage.fs.wait_for_pending(1);
    let mut vmm = Vmm::connect(&server);
    for slot in 0..32 {
        vmm.fill(slot, 0x33);
        vmm.issue(slot, true, slot * 8);
    }
    for slot in 0..32 {
        assert!(vmm.wait(slot), "slot {slot}");
    }
    let status = server.status();
    assert!(status["disks"][0]["state_file"]["writing_ms"].is_u64(), "{status:#}");
    let turn_us = status["turn_us_max"].as_f64().expect("a number");
    assert!(turn_us < 500_000.0, "a turn of the device thread took {turn_us} µs");

    let mut output = BufReader::new(server.take_stdout());
    let start = Instant::now();
    drop(vmm);
    server.call("shutdown", &json!({}));
    let mut line = String::new();
    output.read_line(&mut line).expect("its output");
    let took = start.elapsed();
    assert!(took >= DEADLINE, "it did not wait: {took:?}");
    assert!(took < DEADLINE + GRACE, "the verdict took {took:?}");
    let expected = format!("in doubt: state file {state} is not up to date: its storage");
    assert!(line.starts_with(&expected), "{line}");
    assert_eq!(storage.fs.pending(), 1, "it still hangs");

    storage.fs.release();
    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(5), "{stderr}");
}
