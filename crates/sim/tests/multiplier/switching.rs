//! Many devices at once, with FIS-based switching and without.

use freewheel_ahci::registers::*;
use freewheel_sim::Command;

use crate::support::*;

/// Writes to, then reads from, every device at once: slot n is for device n % count.
fn all_at_once(rig: &mut Rig) {
    let count = rig.disks.len() as u8;
    for read in [false, true] {
        for slot in 0..32u8 {
            let (pm_port, lba) = (slot % count, u64::from(slot) * 8);
            let (fill, command) = if read {
                (vec![0; 4096], Command::read_queued(lba, 8, SECTOR))
            } else {
                (pattern(pm_port, slot), Command::write_queued(lba, 8, SECTOR))
            };
            rig.driver.fill(&rig.machine, slot, &fill);
            rig.issue(slot, pm_port, command);
        }
        rig.wait(u32::MAX);
    }
    for slot in 0..32u8 {
        let data = rig.driver.data(&rig.machine, slot, 4096);
        assert_eq!(data, pattern(slot % count, slot), "slot {slot}");
    }
}

#[test]
fn queued_commands_run_on_all_devices_at_once() {
    let mut rig = Rig::switched(5);
    rig.machine.ram.arm();
    all_at_once(&mut rig);
    assert_eq!(rig.machine.ram.take_breaches().1, 0);
    assert_eq!(rig.px(PX_SACT), 0);
    assert!(!rig.take_is().contains(PxIs::IPMS));
}

#[test]
fn by_commands_one_device_runs_after_the_other() {
    let mut rig = Rig::enumerated(5);
    for pm_port in 0..5u8 {
        for slot in 0..32u8 {
            rig.driver.fill(&rig.machine, slot, &pattern(pm_port, slot));
            rig.issue(slot, pm_port, Command::write_queued(u64::from(slot) * 8, 8, SECTOR));
        }
        rig.wait(u32::MAX);
    }
    for pm_port in 0..5u8 {
        for slot in 0..32u8 {
            let range = freewheel_block::ByteRange::new(u64::from(slot) * 4096, 4096);
            assert_eq!(rig.disk(pm_port).content(range), pattern(pm_port, slot));
        }
    }
}

#[test]
fn a_device_that_is_busy_keeps_only_its_own_commands_waiting() {
    let mut rig = Rig::switched(3);
    rig.disk(0).hold(true);
    // Not queued: device 0 is busy, and the second command for it has to wait.
    rig.issue(0, 0, Command::read_dma(0, 8, SECTOR));
    rig.issue(1, 0, Command::read_dma(8, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.disk(0).pending().len(), 1);
    assert_eq!(rig.behind(0).task_file_data & 0x80, 0x80);
    for slot in 2..20 {
        rig.verify(slot, 1, 0);
        rig.verify(slot, 2, 0);
    }
    assert_eq!(rig.px(PX_CI), 0b11);
    rig.disk(0).hold(false);
    rig.disk(0).complete_all();
    rig.wait(0b11);
}

#[test]
fn queued_and_other_commands_mix_across_devices() {
    let mut rig = Rig::switched(3);
    rig.disks.iter().flatten().for_each(|disk| disk.hold(true));
    for slot in 0..8u8 {
        rig.issue(slot, 0, Command::read_queued(u64::from(slot), 1, SECTOR));
    }
    rig.issue(8, 1, Command::write_dma(0, 8, SECTOR));
    rig.issue(9, 2, Command::read_pio(0, 8, SECTOR));
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.px(PX_SACT), 0xff);
    assert_eq!(rig.px(PX_CI), 0x300);
    assert_eq!((rig.behind(0).slots, rig.behind(1).slots), (0xff, 0x100));
    // In an order of their own.
    for pm_port in [2u8, 0, 1] {
        rig.disk(pm_port).hold(false);
        rig.disk(pm_port).complete_all();
        rig.machine.run_for(A_WHILE_NS);
        assert_eq!(rig.behind(pm_port).slots, 0);
    }
    rig.wait(0x3ff);
}

#[test]
fn each_device_has_its_own_place_for_fises() {
    let mut rig = Rig::switched(15);
    let area = rig.driver.layout().switched_fis_area();
    rig.machine.ram.fill(area..area + 0x1000, 0);
    for pm_port in 0..15u8 {
        rig.issue(pm_port, pm_port, Command::read_dma(0, 1, SECTOR));
        rig.wait(1 << pm_port);
        let at = area + u64::from(pm_port) * 0x100 + FIS_AREA_RFIS;
        assert_eq!(rig.machine.ram.peek(at, 2), [0x34, 0x40 | pm_port]);
        rig.issue(pm_port, pm_port, Command::read_queued(0, 1, SECTOR));
        rig.wait(1 << pm_port);
        let at = area + u64::from(pm_port) * 0x100 + FIS_AREA_SDBFIS;
        assert_eq!(rig.machine.ram.peek(at, 2), [0xa1, 0x40 | pm_port]);
        assert_eq!(rig.machine.ram.peek(at + 4, 4), (1u32 << pm_port).to_le_bytes());
    }
}

#[test]
fn the_places_for_fises_may_stand_where_linux_puts_them() {
    let mut rig = Rig::switched(3);
    // 1 KiB past the start of a page: behind the command list.
    let area = rig.driver.layout().scratch().start + 0x400;
    rig.driver.stop(&mut rig.machine);
    let cmd = rig.px(PX_CMD);
    rig.driver.write(&mut rig.machine, PX_CMD, cmd & !PxCmd::FRE.bits());
    rig.driver.write(&mut rig.machine, PX_FB, area as u32);
    rig.driver.write(&mut rig.machine, PX_CMD, cmd);
    rig.driver.start(&mut rig.machine);
    rig.issue(0, 2, Command::read_dma(0, 1, SECTOR));
    rig.wait(1);
    assert_eq!(rig.machine.ram.peek(area + 0x200 + FIS_AREA_RFIS, 2), [0x34, 0x42]);
}

#[test]
fn switching_is_enabled_and_disabled_only_while_the_list_stands() {
    let mut rig = Rig::enumerated(2);
    rig.driver.write(&mut rig.machine, PX_FBS, PxFbs::EN.bits());
    assert_eq!(rig.px(PX_FBS) & PxFbs::EN.bits(), 0);
    assert!(rig.driver.enable_switching(&mut rig.machine));
    rig.driver.write(&mut rig.machine, PX_FBS, 0);
    assert_eq!(rig.px(PX_FBS) & PxFbs::EN.bits(), 1);
    rig.verify(0, 1, 0);
}

#[test]
fn a_command_for_another_device_than_the_selected_reaches_nobody() {
    let mut rig = Rig::switched(3);
    rig.driver.select(&mut rig.machine, 2);
    rig.driver.issue(&mut rig.machine, 4, &Command::identify().to_port(1));
    rig.machine.run_for(A_WHILE_NS);
    assert!(rig.take_is().contains(PxIs::IPMS));
    assert_eq!(rig.px(PX_CI), 1 << 4);
    // Device 2 is the one that software named; the others go on.
    rig.verify(0, 0, 0);
    rig.verify(1, 1, 0);
}

#[test]
fn the_port_next_to_it_notices_nothing() {
    let mut rig = Rig::switched(4);
    let mut driver = freewheel_sim::Driver::new(1);
    assert!(driver.bring_up(&mut rig.machine));
    for slot in 0..32u8 {
        rig.issue(slot, slot % 4, Command::read_queued(0, 8, SECTOR));
        driver.issue(&mut rig.machine, slot, &Command::write_queued(u64::from(slot), 1, SECTOR));
    }
    rig.wait(u32::MAX);
    driver.wait_for(&mut rig.machine, u32::MAX, AMPLE_NS).expect("they end");
}
