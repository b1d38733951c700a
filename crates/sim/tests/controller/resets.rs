//! Every way to reset, with 32 commands that the storage sits on.

use freewheel_ahci::registers::*;
use freewheel_sim::{Command, ResetWay};

use crate::support::*;

#[test]
fn every_reset_ends_while_the_storage_hangs_and_the_next_command_works() {
    for way in ResetWay::ALL {
        let mut rig = Rig::new();
        rig.fill_and_hang(0x11);
        let outcome = rig.driver.reset(&mut rig.machine, way);
        rig.check();
        assert!(outcome.ended, "{way:?}");
        assert_eq!(rig.disk.pending().len(), 32, "{way:?}: the storage still has them all");
        let status = rig.status();
        assert_eq!(status.orphans.len(), 32, "{way:?}");
        assert_eq!(status.counters.fences_now, 16, "{way:?}");
        assert!(status.operations.is_empty(), "{way:?}");

        rig.disk.hold(false);
        assert!(rig.driver.come_back(&mut rig.machine, way), "{way:?}: the device is ready");
        let identity = rig.driver.identify(&mut rig.machine, AMPLE_NS);
        assert!(identity.is_ok(), "{way:?}: {identity:?}");
        rig.write(5000, &pattern(5000, 8));
        assert_eq!(rig.read(5000, 8), pattern(5000, 8), "{way:?}");
        assert_eq!(rig.status().orphans.len(), 0, "{way:?}");
    }
}

#[test]
fn every_reset_ends_a_stuck_trim_and_what_queues_behind_it() {
    for way in ResetWay::ALL {
        if way == ResetWay::SoftwareResetRunning {
            continue; // the device is busy, so the port sends it nothing
        }
        let mut rig = Rig::new();
        rig.disk.hold(true);
        let ranges: Vec<_> = (0..512).map(|index| (index * 16, 8)).collect();
        let (trim, payload) = Command::trim(&ranges);
        rig.driver.fill(&rig.machine, 4, &payload);
        rig.driver.issue(&mut rig.machine, 4, &trim);
        rig.driver.issue(&mut rig.machine, 5, &Command::flush());
        rig.driver.issue(&mut rig.machine, 6, &Command::read_dma(0, 8, SECTOR));
        rig.machine.poll();
        let stuck = rig.disk.pending().len();
        assert!(stuck > 0);
        assert_eq!(rig.driver.read(&mut rig.machine, PX_CI), 0x70);

        let outcome = rig.driver.reset(&mut rig.machine, way);
        rig.check();
        assert!(outcome.ended, "{way:?}");
        assert_eq!(rig.disk.pending().len(), stuck, "{way:?}");
        assert!(rig.driver.come_back(&mut rig.machine, way), "{way:?}");
        rig.machine.run_for(A_WHILE_NS);
        assert_eq!(rig.driver.read(&mut rig.machine, PX_CI), 0, "{way:?}: nothing comes back");
        // Behind the 512 ranges is free medium.
        rig.driver.issue(&mut rig.machine, 4, &Command::read_dma(10_000, 8, SECTOR));
        rig.machine.poll();
        let last = rig.disk.pending().len() - 1;
        assert_eq!(last, stuck, "{way:?}: the new command reached the storage");
        rig.disk.complete(last);
        rig.wait(1 << 4).expect("the next command");
        rig.disk.complete_all();
        rig.machine.settle();
        assert_eq!(rig.status().free_slots, rig.status().slots, "{way:?}");
    }
}

#[test]
fn registers_after_each_reset_are_what_the_specification_says() {
    for way in ResetWay::ALL {
        let mut rig = Rig::new();
        rig.fill_and_hang(0x22);
        rig.driver.reset(&mut rig.machine, way);
        let mut port = |register| rig.driver.read(&mut rig.machine, register);
        assert_eq!(port(PX_CI), 0, "{way:?}");
        assert_eq!(port(PX_SACT), 0, "{way:?}");
        let cmd = PxCmd::from_bits_truncate(port(PX_CMD));
        assert!(!cmd.intersects(PxCmd::ST | PxCmd::CR), "{way:?}");
        assert_eq!(port(PX_CMD) >> PX_CMD_CCS_SHIFT & 0x1f, 0, "{way:?}: CCS");
        assert_eq!(cmd.contains(PxCmd::FRE), !way.is_global(), "{way:?}: FRE");
        assert_eq!(port(PX_SIG), 0x101, "{way:?}");
        assert_eq!(port(PX_TFD) & 0x89, 0, "{way:?}: not busy, no error");
        let ie = port(PX_IE);
        let ghc = rig.machine.read(GHC);
        if way.is_global() {
            assert_eq!(ie, 0, "{way:?}");
            assert_eq!(ghc, Ghc::AE.bits(), "{way:?}");
            assert_eq!(rig.machine.read(IS), 0, "{way:?}");
        } else {
            assert_ne!(ie, 0, "{way:?}");
            assert_eq!(ghc, (Ghc::AE | Ghc::IE).bits(), "{way:?}");
        }
    }
}

#[test]
fn a_command_issued_right_after_the_doorbell_and_reset_is_not_sent_by_the_old_list() {
    // Doorbell and stop without a poll in between: nothing of it may run later.
    let mut rig = Rig::new();
    rig.driver.issue(&mut rig.machine, 0, &Command::read_dma(0, 8, SECTOR));
    rig.driver.issue(&mut rig.machine, 1, &Command::flush());
    rig.driver.reset(&mut rig.machine, ResetWay::Stop);
    rig.driver.come_back(&mut rig.machine, ResetWay::Stop);
    rig.machine.ram.fill(rig.driver.layout().bank(0), 0xee);
    rig.machine.run_for(A_WHILE_NS);
    assert_eq!(rig.machine.ram.first_other_than(rig.driver.layout().bank(0), 0xee), None);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_IS) & !0x0040_0040, 0);
}

#[test]
fn stuck_commands_of_one_port_stay_when_another_is_reset() {
    let other_disk = freewheel_sim::MemoryDisk::new(&Default::default());
    let disk = freewheel_sim::MemoryDisk::new(&Default::default());
    let mut rig = Rig {
        machine: machine(vec![Some(device(&disk)), Some(device(&other_disk))]),
        driver: freewheel_sim::Driver::new(0),
        disk,
    };
    rig.power_on();
    let mut other = freewheel_sim::Driver::new(1);
    other.bring_up(&mut rig.machine);
    rig.fill_and_hang(1);
    for way in [ResetWay::Stop, ResetWay::Comreset, ResetWay::SoftwareReset] {
        other_disk.hold(true);
        other.issue(&mut rig.machine, 3, &Command::read_dma(0, 8, SECTOR));
        rig.machine.poll();
        assert!(other.reset(&mut rig.machine, way).ended);
        other_disk.hold(false);
        assert!(other.come_back(&mut rig.machine, way));
        other
            .run(&mut rig.machine, 0, &Command::read_queued(0, 8, SECTOR), AMPLE_NS)
            .expect("the other port works");
        assert_eq!(rig.driver.read(&mut rig.machine, PX_SACT), u32::MAX);
    }
    rig.disk.hold(false);
    rig.wait(u32::MAX).expect("all of the first port end");
}
