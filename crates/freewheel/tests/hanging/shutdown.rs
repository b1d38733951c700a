//! The end of the process with writes stuck in the kernel (C7).

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use crate::common::Vmm;
use crate::storage::Storage;

const DEADLINE: Duration = Duration::from_secs(1);
/// For a busy machine.
const GRACE: Duration = Duration::from_secs(2);
/// What is printed if the last flush could not be done.
const FLUSH: &str = "writes since the last flush may not be durable";

/// The ranges are printed by the deadline. The process itself can only go once its threads can
/// leave the kernel, so the storage is released then.
pub(crate) fn the_end_comes_by_its_deadline(storage: &mut Storage, keys: &str) {
    let mut server = storage.serve(keys, &["--deadline", "1"]);
    let mut output = BufReader::new(server.take_stdout());
    let mut vmm = Vmm::connect(&server);
    storage.hang();
    for slot in 0..32 {
        vmm.fill(slot, 0x11);
        vmm.issue(slot, slot % 2 == 0, slot * 16);
    }
    storage.fs.wait_for_pending(32);
    let start = Instant::now();
    drop(vmm);
    let mut lines = Vec::new();
    while lines.len() < 17 {
        let mut line = String::new();
        let count = output.read_line(&mut line).expect("its output");
        assert!(count > 0, "it ended after {lines:?}");
        lines.push(line.trim().to_owned());
    }
    let took = start.elapsed();
    assert!(took >= DEADLINE, "it did not wait: {took:?}");
    assert!(took < DEADLINE + GRACE, "the verdict took {took:?}");
    assert!(storage.fs.pending() >= 32, "the storage still hangs");
    println!("{keys}: the ranges were printed after {:.3} s", took.as_secs_f64());

    let path = storage.fs.image().display().to_string();
    for slot in (0..32).step_by(2) {
        let (first, last) = (slot * 16, slot * 16 + 7);
        let line = format!("in doubt: {path} LBA {first} to {last}");
        assert!(lines.contains(&line), "{line:?} is not in {lines:#?}");
    }
    assert!(lines.iter().any(|line| line.ends_with(FLUSH)), "{lines:#?}");

    storage.fs.release();
    let (code, _, stderr) = server.end();
    assert_eq!(code, Some(5), "{stderr}");
}
