//! Again and again: nothing is left behind.

use std::path::PathBuf;

use super::*;

const CYCLES: u64 = 200;
/// Cycles until allocators and caches are warm.
const WARM: u64 = 40;

/// Open descriptors, threads, and resident memory in KiB.
fn footprint(server: &Server) -> (usize, usize, u64) {
    let proc = PathBuf::from(format!("/proc/{}", server.id().as_raw_nonzero()));
    let count = |dir| std::fs::read_dir(proc.join(dir)).expect("a process").count();
    let status = std::fs::read_to_string(proc.join("status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let rss = line.split_whitespace().next().expect("a number").parse().expect("a number");
    (count("fd"), count("task"), rss)
}

fn settled_footprint(server: &Server) -> (usize, usize, u64) {
    wait_for_custody(server, 0);
    // Threads that close images end soon after.
    std::thread::sleep(std::time::Duration::from_millis(200));
    footprint(server)
}

fn cycles(keys: &str) {
    let server = empty_ports(&[], &["a.img"]);
    let disk = format!("path=a.img,port=0{keys}");
    let mut vmm = Vmm::connect(&server);
    let mut warm = None;
    for cycle in 0..CYCLES {
        if cycle == WARM {
            warm = Some(settled_footprint(&server));
        }
        attach_when_settled(&server, &disk);
        vmm.restart();
        let value = cycle as u8;
        vmm.fill(0, value);
        vmm.issue(0, true, 1000);
        assert!(vmm.wait(0), "cycle {cycle}");
        vmm.issue(1, false, 1000);
        assert!(vmm.wait(1), "cycle {cycle}");
        assert_eq!(vmm.data(1), vec![value; 4096], "cycle {cycle}");
        for slot in 0..32 {
            vmm.issue(slot, slot % 2 == 0, slot * 8);
        }
        pull(&server);
        // No late memory (C3).
        vmm.fill(3, 0xee);
        assert_eq!(vmm.read(0x128) & 0xf, 0, "cycle {cycle}");
        assert_eq!(vmm.data(3), vec![0xee; 4096], "cycle {cycle}");
    }
    let (before, after) = (warm.expect("warm"), settled_footprint(&server));
    println!("{keys}: descriptors, threads, KiB: {before:?}, after {CYCLES} cycles {after:?}");
    assert_eq!((before.0, before.1), (after.0, after.1), "descriptors and threads");
    assert!(after.2 <= before.2 + 4096, "memory: {before:?} became {after:?}");
    let stop_us = server.status()["hba"]["stop_us_max"].as_f64().expect("a number");
    assert!(stop_us < 100_000.0, "something took {stop_us} µs to go");
}

/// An image whose storage is still busy is refused; that is soon over.
fn attach_when_settled(server: &Server, disk: &str) {
    wait_for_custody(server, 0);
    attach(server, disk);
}

#[test]
fn two_hundred_disks_pulled_out_in_flight_leave_nothing_behind_with_io_uring() {
    cycles(",engine=io_uring");
}

#[test]
fn two_hundred_disks_pulled_out_in_flight_leave_nothing_behind_with_threads() {
    cycles(",engine=threads,state=on");
}
