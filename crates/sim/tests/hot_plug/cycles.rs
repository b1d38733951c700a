//! A thousand times: attach, verify, and pull out with commands in flight.

use std::sync::atomic::Ordering;

use freewheel_ata::Device;
use freewheel_block::Nanos;
use freewheel_sim::simulator::Rng;
use freewheel_sim::{Command, MemoryDisk, MemoryDiskConfig};

use crate::support::*;

const CYCLES: u32 = 1000;
/// Where commands are in flight: 8 sectors for each of 32 tags.
const STORM: u64 = 0;
/// What guests' buffers hold that no read may reach any more.
const CANARY: u8 = 0xcc;

/// Bytes of this process that are in memory.
fn resident_bytes() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4096)
}

/// Lets a device that was pulled out come to rest; nothing may be left of it.
fn settle(device: &mut dyn Device, medium: &MemoryDisk, now: Nanos, rng: &mut Rng) {
    while !medium.pending().is_empty() {
        let index = rng.below(medium.pending().len() as u32) as usize;
        match rng.below(8) {
            0 => medium.complete_short(index, 512),
            1 => medium.complete_twice(index),
            _ => medium.complete(index),
        }
        device.poll(now, &mut LooseEnd);
    }
    device.poll(now, &mut LooseEnd);
    let engine = device.engine_mut().expect("an engine");
    engine.assert_consistent();
    let (counters, status) = (engine.counters(), engine.status(now));
    assert_eq!((counters.orphans_now, counters.fences_now), (0, 0));
    assert_eq!(status.free_slots, status.slots, "every slot is back");
    assert!(engine.ranges_in_doubt().is_empty());
    let ended = counters.completed_total + counters.failed_total + counters.cancelled_total;
    assert_eq!(counters.submitted_total, ended, "each operation has had one end");
}

#[test]
fn a_disk_is_pulled_out_in_mid_flight_and_comes_back_a_thousand_times() {
    let medium = MemoryDisk::new(&MemoryDiskConfig { size_bytes: 1 << 20, ..Default::default() });
    let mut rig = Rig::empty();
    let mut rng = Rng::new(6);
    let mut device = rig.disk(&medium);
    let (mut orphans, mut in_doubt, mut renewed) = (0, 0, 0);
    let mut early_bytes = None;
    for cycle in 0..CYCLES {
        medium.hold(false);
        rig.attach(device);
        // Over what the last cycle has left in doubt, too: the fence holds this until it is not.
        let value = cycle as u8;
        rig.verify(STORM, 256, value);
        rig.verify(1024, 64, !value);

        medium.hold(true);
        let mut commands = Vec::new();
        for slot in 0..32 {
            let lba = STORM + u64::from(slot) * 8;
            let is_write = rng.percent(50);
            rig.driver.fill(
                &rig.machine,
                slot,
                &[if is_write { value ^ 0x55 } else { CANARY }; 4096],
            );
            let command = if is_write { Command::write_queued } else { Command::read_queued };
            commands.push((slot, command(lba, 8, SECTOR)));
        }
        rig.driver.issue_all(&mut rig.machine, &commands);
        rig.machine.poll();
        // Some have ended at the storage, and some of those are known to the guest.
        for _ in 0..rng.below(24) {
            let pending = medium.pending().len() as u32;
            medium.complete(rng.below(pending) as usize);
            if rng.percent(30) {
                rig.machine.poll();
                rig.driver.collect(&mut rig.machine);
            }
        }
        let in_flight = rig.driver.in_flight();
        device = rig.detach();
        let counters = counters(device.as_mut());
        orphans += counters.orphans_now;
        let doubt = device.engine_mut().expect("an engine").ranges_in_doubt();
        in_doubt += u32::from(!doubt.is_empty());
        // Some come back with their orphans and fences; the others once they have settled, with
        // an engine of their own.
        if cycle % 3 > 0 {
            let now = rig.machine.now();
            settle(device.as_mut(), &medium, now, &mut rng);
            renewed += 1;
            drop(device);
            assert_eq!(rig.alive.load(Ordering::Relaxed), 0, "the engine is gone");
            device = rig.disk(&medium);
        }
        for (slot, command) in &commands {
            let reads = command.fis.command == 0x60;
            if reads && in_flight & 1 << slot != 0 {
                let data = rig.driver.data(&rig.machine, *slot, 4096);
                assert!(data.iter().all(|byte| *byte == CANARY), "late data in slot {slot}");
            }
        }
        rig.no_breach();
        assert_eq!(rig.alive.load(Ordering::Relaxed), 1, "one engine at a time");
        medium.take_log();
        if cycle == CYCLES / 10 {
            early_bytes = resident_bytes();
        }
    }
    assert!(orphans > 5_000 && in_doubt > 900, "{orphans} orphans, {in_doubt} times in doubt");
    assert_eq!(renewed, 666);
    if let (Some(early), Some(late)) = (early_bytes, resident_bytes()) {
        assert!(late < early + (2 << 20), "memory grows from {early} to {late} bytes");
    }
}
