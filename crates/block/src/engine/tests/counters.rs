//! The totals (contract C9) tell the truth, each of them, from a value where plus and times differ.

use std::vec;

use super::*;
use crate::{Counters, OpState};

#[test]
fn every_counter_counts_what_its_name_says() {
    let config = EngineConfig { slots: 4, buf_bytes: 4096, window: 4, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(1024, 1), config);
    for round in 0..2 {
        let tag = round * 10;
        // One write and one read that end well.
        rig.write(tag, 100, 4, 1);
        rig.read(tag + 1, 200, 8);
        rig.disk.finish_all();
        rig.poll();
        // A read that falls short once, and one that fails.
        rig.read(tag + 2, 304, 8);
        rig.disk.finish_with(0, Some(Ok(1024)));
        rig.poll();
        rig.disk.finish(0);
        rig.read(tag + 3, 400, 1);
        rig.disk.finish_with(0, Some(Err(IoError::Os(5))));
        rig.poll();
        // An orphaned write, and one that is held behind its fence until it ends.
        let orphan = rig.write(tag + 4, 504, 8, 1);
        rig.cancel(orphan);
        rig.write(tag + 5, 504, 8, 2);
        rig.disk.finish(0);
        rig.poll();
        rig.disk.finish_all();
        rig.poll();
        // A completion that nobody is waiting for.
        let stray = Io {
            id: IoId { slot: 3, generation: 9999 },
            kind: OpKind::Read,
            range: sector_range(0, 1),
            fua: false,
            buf: None,
            buf_offset_bytes: 0,
        };
        rig.disk.medium.lock().expect("medium").done.push(stray.done(Ok(0)));
        rig.poll();
    }
    let each_round = |count: u64| 2 * count;
    assert_eq!(
        rig.engine.counters(),
        Counters {
            submitted_total: each_round(6),
            completed_total: each_round(4),
            failed_total: each_round(1),
            cancelled_total: each_round(1),
            orphans_total: each_round(1),
            fences_total: each_round(1),
            held_total: each_round(1),
            released_total: each_round(1),
            spurious_total: each_round(1),
            short_total: each_round(1),
            read_bytes_total: each_round(2 * 8 * SECTOR),
            written_bytes_total: each_round(12 * SECTOR),
            ..Counters::default()
        }
    );
}

#[test]
fn what_is_now_is_counted_now() {
    let config = EngineConfig { slots: 4, buf_bytes: 4096, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(1024, 1), config);
    for tag in 0..2 {
        let orphan = rig.write(tag, u64::from(tag) * 8, 8, 1);
        rig.cancel(orphan);
    }
    rig.write(2, 0, 8, 2); // held
    rig.read(3, 96, 8);
    rig.read(4, 200, 8);
    rig.read(5, 304, 8); // no slot is left
    let counters = rig.engine.counters();
    assert_eq!((counters.orphans_now, counters.fences_now), (2, 2));
    assert_eq!((counters.held_now, counters.running_now, counters.queued_now), (1, 2, 1));
}

#[test]
fn the_status_shows_each_operation_and_orphan_with_its_age_and_place() {
    let config = EngineConfig { slots: 3, buf_bytes: 4096, ..EngineConfig::default() };
    let mut rig = Rig::new(Disk::new(1024, 1), config);
    rig.now = Nanos(100);
    let write = rig.write(1, 8, 8, 1);
    let read = rig.read(2, 64, 8);
    rig.now = Nanos(300);
    rig.cancel(write);
    rig.cancel(read);
    rig.read(3, 10, 1); // held
    rig.read(4, 100, 1); // running
    rig.read(5, 101, 1); // queued
    let status = rig.engine.status(Nanos(1000));
    assert_eq!((status.slots, status.free_slots), (3, 0));
    assert_eq!((status.backend.as_str(), status.size_bytes), ("test", 1024 * SECTOR));
    let orphans: Vec<_> = status
        .orphans
        .iter()
        .map(|orphan| (orphan.kind, orphan.fenced, orphan.range, orphan.age_ns, orphan.orphaned_ns))
        .collect();
    assert_eq!(
        orphans,
        vec![
            (OpKind::Write, true, sector_range(8, 8), 900, 700),
            (OpKind::Read, false, sector_range(64, 8), 900, 700),
        ]
    );
    let mut operations: Vec<_> =
        status.operations.iter().map(|op| (op.tag, op.state, op.range, op.age_ns)).collect();
    operations.sort_by_key(|(tag, ..)| *tag);
    assert_eq!(
        operations,
        vec![
            (3, OpState::Held, sector_range(10, 1), 700),
            (4, OpState::Running, sector_range(100, 1), 700),
            (5, OpState::Queued, sector_range(101, 1), 700),
        ]
    );
    assert_eq!(rig.engine.ranges_in_doubt(), vec![sector_range(8, 8)]);
}

#[test]
fn ranges_in_doubt_that_touch_or_overlap_are_one() {
    let mut rig = Rig::small();
    for (tag, lba, sectors) in [(1, 8, 8), (2, 0, 8), (3, 12, 2), (4, 100, 1), (5, 200, 0)] {
        let token = rig.write(tag, lba, sectors, 1);
        rig.cancel(token);
    }
    let expected = vec![sector_range(0, 16), sector_range(100, 1)];
    assert_eq!(rig.engine.ranges_in_doubt(), expected);
}
