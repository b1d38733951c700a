//! The contract behind a port multiplier: what is reset ends at once, and nothing else ends.

use freewheel_ahci::ResetKind;
use freewheel_ahci::registers::*;
use freewheel_sim::{Command, ResetWay};

use crate::support::*;

/// All devices have eight commands each which never end: reads and writes in turn.
fn stuck(count: usize) -> Rig {
    let mut rig = Rig::switched(count);
    rig.disks.iter().flatten().for_each(|disk| disk.hold(true));
    for slot in 0..8 * count as u8 {
        let lba = u64::from(slot % 8) * 8;
        rig.driver.fill(&rig.machine, slot, &[0x33; 4096]);
        let command = if slot % 2 == 0 {
            Command::write_queued(lba, 8, SECTOR)
        } else {
            Command::read_queued(lba, 8, SECTOR)
        };
        rig.issue(slot, slot / 8, command);
    }
    rig.machine.run_for(A_WHILE_NS);
    rig
}

#[test]
fn every_reset_of_the_port_ends_on_every_device_while_all_storage_hangs() {
    for way in ResetWay::ALL {
        let mut rig = stuck(4);
        let outcome = rig.driver.reset(&mut rig.machine, way);
        // SRST into the running port is for one device, here device 0.
        assert_eq!(outcome.ended, way != ResetWay::SoftwareResetRunning, "{way:?}");
        rig.driver.stop(&mut rig.machine);
        for pm_port in 0..4 {
            let engine = rig.behind(pm_port).engine.expect("an engine");
            assert!(engine.operations.is_empty(), "{way:?}: nothing lives");
            assert_eq!(engine.counters.orphans_now, 8, "{way:?}");
            assert_eq!(rig.behind(pm_port).slots, 0, "{way:?}");
        }
        // Late, and to nobody.
        let whole = 0..rig.machine.ram.len_bytes();
        rig.machine.ram.map_all();
        rig.machine.ram.fill(whole.clone(), 0xc5);
        for disk in rig.disks.iter().flatten() {
            disk.hold(false);
            disk.complete_all_reversed();
        }
        rig.machine.settle();
        assert_eq!(rig.machine.ram.first_other_than(whole, 0xc5), None, "{way:?}");
        rig.driver.come_back(&mut rig.machine, way);
        rig.enumerate();
        assert!(rig.driver.enable_switching(&mut rig.machine));
        for pm_port in 0..4 {
            rig.verify(pm_port, pm_port, 0);
        }
    }
}

#[test]
fn a_software_reset_of_one_device_cancels_that_devices_commands_only() {
    let mut rig = stuck(3);
    // Not what software is to do (10.4.1), but what a port survives.
    rig.driver.select(&mut rig.machine, 1);
    for control in [4, 0] {
        let mut command = Command::control(control).to_port(1);
        command.clear_busy = control == 4;
        rig.driver.issue(&mut rig.machine, 31, &command);
    }
    assert_eq!(rig.px(PX_SACT), 0xff | 0xff << 16);
    assert_eq!(rig.behind(1).engine.expect("an engine").counters.orphans_now, 8);
    assert_eq!(rig.behind(0).engine.expect("an engine").counters.orphans_now, 0);
    for pm_port in [0, 2] {
        rig.disk(pm_port).hold(false);
        rig.disk(pm_port).complete_all();
    }
    rig.wait(0xff | 0xff << 16);
}

#[test]
fn a_reset_of_one_device_leaves_the_others_alone() {
    let mut rig = stuck(3);
    assert!(rig.driver.comreset_of(&mut rig.machine, 1).expect("an answer"));
    let engine = rig.behind(1).engine.expect("an engine");
    assert!(engine.operations.is_empty(), "cancelled at once");
    assert_eq!(engine.counters.orphans_now, 8);
    for pm_port in [0, 2] {
        let engine = rig.behind(pm_port).engine.expect("an engine");
        assert_eq!((engine.operations.len(), engine.counters.orphans_now), (8, 0));
    }
    let now = rig.machine.now();
    let status = rig.machine.hba.status(now).swap_remove(0);
    let last = status.resets.last().expect("it is remembered");
    assert_eq!((last.kind, last.cancelled), (ResetKind::DevicePort, 8));
    // Late completions of device 1 reach nobody.
    let before = rig.px(PX_SACT);
    assert_eq!(before & 0xff00, 0xff00, "the port does not know");
    rig.disk(1).hold(false);
    rig.disk(1).complete_all();
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_SACT), before);
    // The others, and new commands to device 1.
    for pm_port in [0, 2] {
        rig.disk(pm_port).hold(false);
        rig.disk(pm_port).complete_all();
    }
    rig.wait(0xff | 0xff << 16);
    rig.verify(30, 1, 512);
}

#[test]
fn a_stuck_disk_takes_nothing_from_another() {
    let mut rig = Rig::switched(4);
    rig.disk(2).hold(true);
    for slot in 0..8 {
        rig.issue(slot, 2, Command::write_queued(u64::from(slot) * 8, 8, SECTOR));
    }
    rig.machine.run_for(A_WHILE_NS);
    for round in 0..10u64 {
        for pm_port in [0u8, 1, 3] {
            rig.verify(8 + pm_port, pm_port, round * 8);
        }
    }
    assert_eq!(rig.behind(2).slots, 0xff);
    // The stuck one is reset, many times over, and is still only itself.
    for _ in 0..40 {
        rig.driver.comreset_of(&mut rig.machine, 2).expect("an answer");
        rig.verify(20, 0, 0);
    }
    let engine = rig.behind(2).engine.expect("an engine");
    assert_eq!(engine.counters.orphans_now, 8, "as many as there were");
    // What its orphans may still change is fenced (C4).
    rig.issue(21, 2, Command::read_queued(0, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.behind(2).engine.expect("an engine").counters.held_now, 1);
    rig.disk(2).hold(false);
    rig.disk(2).complete_all();
    rig.wait(1 << 21);
}

#[test]
fn without_switching_a_stuck_device_is_recovered_as_libata_does_it() {
    let mut rig = Rig::enumerated(3);
    rig.disk(1).hold(true);
    rig.issue(0, 1, Command::write_dma(0, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    // Stop, override, reset the device by its port, then by SRST.
    assert!(rig.driver.stop(&mut rig.machine));
    rig.driver.forget(&rig.machine);
    rig.driver.start(&mut rig.machine);
    assert!(rig.driver.comreset_of(&mut rig.machine, 1).expect("an answer"));
    assert_eq!(rig.driver.software_reset_of(&mut rig.machine, 1), 0x101);
    rig.verify(0, 0, 0);
    rig.verify(0, 2, 0);
    assert_eq!(rig.behind(1).engine.expect("an engine").counters.fences_now, 1);
    rig.disk(1).hold(false);
    rig.verify(0, 1, 0);
}

#[test]
fn a_tag_that_one_device_has_in_use_is_of_no_use_to_another() {
    for (switched, queued) in [(true, true), (false, true), (true, false), (false, false)] {
        let mut rig = if switched { Rig::switched(2) } else { Rig::enumerated(2) };
        rig.disk(0).overwrite(0, &pattern(0, 5));
        rig.disk(1).overwrite(0, &pattern(1, 5));
        rig.disks.iter().flatten().for_each(|disk| disk.hold(true));
        let mut command = Command::read_queued(0, 8, SECTOR);
        // Worse: the driver forgets to say that the tag is in use.
        command.queued = queued;
        command.fis.count = 5 << 3;
        rig.issue(5, 0, command.clone());
        rig.machine.run_for(A_WHILE_NS);
        rig.take_is();
        // The same tag, other memory.
        rig.driver.use_bank(1);
        command.queued = true;
        rig.issue(5, 1, command);
        rig.machine.run_for(A_WHILE_NS);
        rig.driver.fill(&rig.machine, 5, &[0xc5; 4096]);
        rig.disk(0).hold(false);
        rig.disk(0).complete_all();
        rig.machine.run_for(A_WHILE_NS);
        let theirs = rig.driver.data(&rig.machine, 5, 4096);
        assert!(theirs.iter().all(|byte| *byte == 0xc5), "switched {switched}, queued {queued}");
        assert!(rig.take_is().contains(PxIs::IPMS));
        rig.disk(1).hold(false);
        rig.disk(1).complete_all();
        rig.machine.run_for(A_WHILE_NS);
        let theirs = rig.driver.data(&rig.machine, 5, 4096);
        let expected = if queued { vec![0xc5; 4096] } else { pattern(1, 5) };
        assert!(theirs == expected, "switched {switched}, queued {queued}");
        rig.check();
        rig.driver.use_bank(0);
        rig.driver.reset(&mut rig.machine, ResetWay::Comreset);
        rig.driver.bring_up(&mut rig.machine);
        rig.enumerate();
        rig.verify(5, 0, 0);
        rig.verify(5, 1, 0);
    }
}
