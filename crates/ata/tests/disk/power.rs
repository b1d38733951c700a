use freewheel_ata::Device;
use freewheel_ata::fis::Error;
use freewheel_block::{Nanos, OpKind};

use crate::support::*;

const SECOND: u64 = 1_000_000_000;

fn mode(rig: &mut Rig) -> u16 {
    rig.good(command(0xe5)).count
}

#[test]
fn the_power_mode_is_told() {
    let mut rig = Rig::default();
    assert_eq!(mode(&mut rig), 0xff);
    rig.good(command(0xe1));
    assert_eq!(mode(&mut rig), 0x80);
    rig.good(command(0xe0));
    assert_eq!(mode(&mut rig), 0x00);
    rig.good(at48(0x25, 0, 1));
    assert_eq!(mode(&mut rig), 0xff, "access wakes it");
}

#[test]
fn standby_and_sleep_flush_first() {
    for opcode in [0xe0, 0xe2, 0xe6] {
        let mut rig = Rig::default();
        rig.ram().hangs = true;
        rig.issue(0, command(opcode));
        rig.settle();
        assert!(rig.fises().is_empty());
        rig.ram().hangs = false;
        rig.settle();
        assert_eq!(rig.fises().len(), 1);
        assert_eq!(rig.ram().log[0].0, OpKind::Flush);
    }
}

#[test]
fn the_standby_timer_expires_and_an_access_restarts_it() {
    let mut rig = Rig::default();
    rig.good(at28(0xe3, 0, 2));
    rig.now = rig.now.plus(9 * SECOND);
    assert_eq!(mode(&mut rig), 0x80);
    rig.good(at48(0x25, 0, 1));
    rig.now = rig.now.plus(9 * SECOND);
    assert_eq!(mode(&mut rig), 0xff);
    rig.now = rig.now.plus(2 * SECOND);
    assert_eq!(mode(&mut rig), 0x00);
    rig.good(at28(0xe3, 0, 0));
    rig.now = Nanos(u64::MAX / 2);
    assert_eq!(mode(&mut rig), 0x80);
    rig.bad(at28(0xe2, 0, 254), Error::ABRT);
    rig.bad(at28(0xe3, 0, 254), Error::ABRT);
}

#[test]
fn only_a_reset_wakes_a_sleeping_disk() {
    for srst in [false, true] {
        let mut rig = Rig::default();
        rig.good(command(0xe6));
        for slot in 0..3 {
            rig.issue(slot, command(0xec));
        }
        rig.settle();
        assert!(rig.fises().is_empty());
        if srst {
            rig.disk.control(4, rig.now, &mut rig.host);
            rig.disk.control(0, rig.now, &mut rig.host);
        } else {
            assert_eq!(rig.disk.abort_all(rig.now), 3);
            rig.disk.comreset(rig.now, &mut rig.host);
        }
        assert_eq!(rig.fises().len(), 1);
        rig.identify();
        assert_eq!(mode(&mut rig), 0x00);
    }
}
