//! What comes late touches no memory, no register, and no newer data.

use freewheel_ahci::registers::*;
use freewheel_block::IoError;
use freewheel_sim::{Command, ResetWay};

use crate::support::*;

fn registers(rig: &mut Rig) -> Vec<u32> {
    let ports = [PX_IS, PX_CMD, PX_TFD, PX_SIG, PX_SERR, PX_SACT, PX_CI];
    let mut values: Vec<u32> =
        ports.iter().map(|register| rig.driver.read(&mut rig.machine, *register)).collect();
    values.push(rig.machine.read(IS));
    values
}

#[test]
fn completions_after_a_reset_touch_nothing() {
    for way in ResetWay::ALL {
        for outcome in 0..4 {
            let mut rig = Rig::new();
            rig.fill_and_hang(0x33);
            rig.driver.reset(&mut rig.machine, way);
            rig.driver.come_back(&mut rig.machine, way);
            let whole = 0..rig.machine.ram.len_bytes();
            rig.machine.ram.fill(whole.clone(), 0xc5);
            rig.machine.ram.revoke(0xff);
            rig.machine.ram.arm();
            let before = registers(&mut rig);
            let messages = rig.machine.messages_total();
            match outcome {
                0 => rig.disk.complete_all(),
                1 => rig.disk.complete_all_reversed(),
                2 => (0..32).for_each(|_| rig.disk.fail(0, IoError::Os(5))),
                _ => (0..32).for_each(|_| rig.disk.complete_twice(0)),
            }
            rig.machine.settle();
            rig.check();
            assert_eq!(rig.machine.ram.first_other_than(whole, 0xc5), None, "{way:?} {outcome}");
            assert_eq!(rig.machine.ram.take_breaches().1, 0, "{way:?} {outcome}");
            assert_eq!(registers(&mut rig), before, "{way:?} {outcome}");
            assert_eq!(rig.machine.messages_total(), messages, "{way:?} {outcome}");
            let status = rig.status();
            assert_eq!(status.free_slots, status.slots, "{way:?} {outcome}");
            assert_eq!(status.counters.orphans_now, 0, "{way:?} {outcome}");
            let spurious = if outcome == 3 { 32 } else { 0 };
            assert_eq!(status.counters.spurious_total, spurious, "{way:?} {outcome}");
        }
    }
}

#[test]
fn nothing_is_written_to_memory_that_was_unmapped() {
    let mut rig = Rig::new();
    rig.fill_and_hang(0x44);
    rig.machine.ram.unmap_all();
    rig.disk.complete_all();
    rig.machine.settle();
    rig.check();
    // Reads could not be delivered: a bus error, no data, and no way to report by FIS.
    let is = PxIs::from_bits_retain(rig.driver.read(&mut rig.machine, PX_IS));
    assert!(is.contains(PxIs::HBFS), "{is:?}");
    let outcome = rig.driver.reset(&mut rig.machine, ResetWay::Disconnect);
    assert!(outcome.ended);
    assert!(rig.driver.come_back(&mut rig.machine, ResetWay::Disconnect));
    rig.disk.hold(false);
    rig.write(0, &pattern(1, 8));
    assert_eq!(rig.read(0, 8), pattern(1, 8));
}

#[test]
fn the_fence_holds_what_overlaps_and_lets_the_rest_pass() {
    for way in ResetWay::ALL {
        let mut rig = Rig::new();
        rig.fill_and_hang(0x55);
        rig.driver.reset(&mut rig.machine, way);
        rig.driver.come_back(&mut rig.machine, way);
        // Tag 0 wrote sectors 0 to 7; tag 1 read 8 to 15.
        rig.driver.fill(&rig.machine, 0, &[0x66; 1024]);
        rig.driver.issue(&mut rig.machine, 0, &Command::write_queued(6, 2, SECTOR));
        rig.driver.issue(&mut rig.machine, 1, &Command::read_queued(0, 1, SECTOR));
        rig.driver.issue(&mut rig.machine, 2, &Command::read_queued(8, 8, SECTOR));
        rig.driver.issue(&mut rig.machine, 3, &Command::read_queued(9000, 8, SECTOR));
        rig.machine.poll();
        assert_eq!(rig.disk.pending().len(), 34, "{way:?}: two passed, two are held");
        assert_eq!(rig.status().counters.held_now, 2, "{way:?}");
        rig.disk.complete(33);
        rig.disk.complete(32);
        rig.wait(0b1100).expect("what does not overlap");
        rig.machine.run_for(A_WHILE_NS);
        assert_eq!(rig.driver.in_flight(), 0b0011, "{way:?}");

        // The orphan of tag 0 ends, last of all, and only then do they start.
        rig.disk.complete_all_reversed();
        rig.machine.poll();
        assert_eq!(rig.disk.content(sectors(0, 8)), [0x55; 4096], "{way:?}: the orphan's data");
        rig.disk.hold(false);
        rig.wait(0b0011).expect("what was held");
        let content = rig.disk.content(sectors(0, 8));
        assert_eq!(content[6 * 512..], [0x66; 1024], "{way:?}: newer data wins");
        assert_eq!(rig.driver.data(&rig.machine, 1, 512), [0x55; 512], "{way:?}");
    }
}

#[test]
fn held_trims_and_reads_can_be_cancelled_at_once() {
    let mut rig = Rig::new();
    rig.fill_and_hang(0x77);
    rig.driver.reset(&mut rig.machine, ResetWay::Comreset);
    rig.driver.come_back(&mut rig.machine, ResetWay::Comreset);
    let (trim, payload) = Command::trim(&[(0, 8), (20_000, 8)]);
    rig.driver.fill(&rig.machine, 0, &payload);
    rig.driver.issue(&mut rig.machine, 0, &trim);
    rig.machine.poll();
    assert_eq!(rig.status().counters.held_now, 1);
    assert!(rig.driver.reset(&mut rig.machine, ResetWay::Stop).ended);
    let status = rig.status();
    assert_eq!((status.counters.held_now, status.operations.len()), (0, 0));
    assert_eq!(status.orphans.len(), 32, "the held one never reached the storage");
}

#[test]
fn tags_are_used_again_while_their_orphans_end() {
    let mut rig = Rig::new();
    rig.disk.overwrite(9000 * 512, &[0x99; 32 * 512]);
    rig.fill_and_hang(0x88);
    rig.driver.reset(&mut rig.machine, ResetWay::Stop);
    rig.driver.come_back(&mut rig.machine, ResetWay::Stop);
    rig.driver.use_bank(1);
    let commands: Vec<_> = (0..32u8)
        .map(|slot| (slot, Command::read_queued(9000 + u64::from(slot), 1, SECTOR)))
        .collect();
    rig.driver.issue_all(&mut rig.machine, &commands);
    rig.machine.poll();
    for _ in 0..32 {
        rig.disk.complete(0); // an orphan
        rig.machine.settle();
        assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0, "no new command has ended");
    }
    rig.disk.complete_all();
    rig.wait(u32::MAX).expect("the new commands");
    for slot in 0..32 {
        assert_eq!(rig.driver.data(&rig.machine, slot, 512), [0x99; 512]);
    }
}

#[test]
fn a_full_budget_queues_and_a_reset_takes_it_back() {
    let mut rig = Rig::new();
    let slots = rig.status().slots;
    for round in 1..=slots / 32 {
        rig.disk.hold(true);
        let commands: Vec<_> = (0..32u8)
            .map(|slot| (slot, Command::read_queued(u64::from(slot) * 8, 8, SECTOR)))
            .collect();
        rig.driver.issue_all(&mut rig.machine, &commands);
        rig.machine.poll();
        assert_eq!(rig.disk.pending().len(), round * 32);
        assert!(rig.driver.reset(&mut rig.machine, ResetWay::Comreset).ended);
        rig.driver.come_back(&mut rig.machine, ResetWay::Comreset);
    }
    assert_eq!(rig.status().free_slots, 0);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(0, 8, SECTOR));
    rig.driver.issue(&mut rig.machine, 1, &Command::write_queued(8000, 8, SECTOR));
    rig.machine.poll();
    assert_eq!(rig.status().counters.queued_now, 2);
    assert!(rig.driver.reset(&mut rig.machine, ResetWay::Comreset).ended);
    assert_eq!(rig.status().counters.queued_now, 0);
    rig.driver.come_back(&mut rig.machine, ResetWay::Comreset);
    rig.driver.issue(&mut rig.machine, 0, &Command::read_queued(0, 8, SECTOR));
    rig.disk.hold(false);
    rig.wait(1).expect("the command that was queued");
    assert_eq!(rig.status().free_slots, slots);
}

#[test]
fn a_completion_that_comes_again_ends_nobody_elses_command() {
    let mut rig = Rig::new();
    rig.fill_and_hang(0x12);
    let old = rig.disk.pending();
    rig.driver.reset(&mut rig.machine, ResetWay::Stop);
    rig.disk.complete_all();
    rig.machine.settle();
    rig.driver.come_back(&mut rig.machine, ResetWay::Stop);
    // The same slots of the engine, the same tags, the same places.
    rig.fill_and_hang(0x34);
    let slots = |list: &[freewheel_sim::PendingIo]| -> std::collections::BTreeSet<u16> {
        list.iter().map(|io| io.id.slot).collect()
    };
    assert_eq!(slots(&old), slots(&rig.disk.pending()), "the slots are used again");
    for io in old {
        rig.disk.repeat(io);
    }
    rig.machine.settle();
    rig.check();
    assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0);
    assert_eq!(rig.status().counters.spurious_total, 32);
    rig.disk.complete_all();
    rig.wait(u32::MAX).expect("the new commands");
    assert_eq!(rig.disk.content(sectors(0, 8)), [0x34; 4096]);
}
