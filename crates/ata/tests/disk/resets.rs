use freewheel_ata::Device;
use freewheel_ata::fis::DeviceFis;

use crate::support::*;

#[derive(Clone, Copy, PartialEq)]
enum How {
    Comreset,
    Srst,
    PortStop,
}

fn reset(rig: &mut Rig, how: How) {
    match how {
        How::Comreset => rig.disk.comreset(rig.now, &mut rig.host),
        How::Srst => {
            rig.disk.control(0x04, rig.now, &mut rig.host);
            assert!(rig.host.fises.is_empty(), "no signature while SRST is set");
            rig.disk.control(0x00, rig.now, &mut rig.host);
        }
        How::PortStop => drop(rig.disk.abort_all(rig.now)),
    }
    rig.disk.engine().assert_consistent();
    let fises = rig.fises();
    if how == How::PortStop {
        return assert!(fises.is_empty());
    }
    let [(None, DeviceFis::RegisterD2H { registers, .. })] = fises[..] else {
        panic!("{fises:?}");
    };
    assert_eq!((registers.status.bits(), registers.error.bits()), (0x50, 0x01));
    assert_eq!((registers.lba, registers.count, registers.device), (1, 1, 0));
}

#[test]
fn nothing_of_what_was_in_flight_surfaces_after_a_reset() {
    for how in [How::Comreset, How::Srst, How::PortStop] {
        let mut rig = Rig::default();
        rig.ram().hangs = true;
        for tag in 0..32 {
            let opcode = if tag % 2 == 0 { 0x60 } else { 0x61 };
            rig.issue(tag, queued(opcode, tag, 64 * u64::from(tag), 64));
        }
        rig.settle();
        rig.fises();
        reset(&mut rig, how);
        assert!(rig.disk.engine_status(rig.now).unwrap().operations.is_empty());
        let (before_in, before_out) = (rig.host.in_bytes, rig.host.out_bytes);
        rig.ram().hangs = false;
        rig.settle();
        assert!(rig.fises().is_empty());
        assert_eq!((rig.host.in_bytes, rig.host.out_bytes), (before_in, before_out));
        rig.good(at48(0x25, 0, 64));
    }
}

#[test]
fn every_kind_of_command_can_be_cut_short() {
    let commands = [
        at48(0x25, 0, 8),
        at48(0x24, 0, 8),
        at48(0x35, 0, 8),
        at48(0x34, 0, 8),
        at48(0x42, 0, 8),
        command(0xe7),
        command(0xe0),
        command(0xe6),
    ];
    for how in [How::Comreset, How::Srst, How::PortStop] {
        for fis in commands {
            let mut rig = Rig::default();
            rig.ram().hangs = true;
            rig.issue(3, fis);
            rig.settle();
            rig.fises();
            reset(&mut rig, how);
            rig.ram().hangs = false;
            rig.settle();
            assert!(rig.fises().is_empty(), "{fis:x?}");
            rig.identify();
        }
    }
}

#[test]
fn abort_all_counts_what_it_forgets() {
    let mut rig = Rig::default();
    rig.ram().hangs = true;
    for tag in 0..5 {
        rig.issue(tag, queued(0x60, tag, 0, 1));
    }
    assert_eq!(rig.disk.abort_all(rig.now), 5);
    assert_eq!(rig.disk.abort_all(rig.now), 0);
}

#[test]
fn while_srst_is_set_no_command_is_taken() {
    let mut rig = Rig::default();
    rig.disk.control(0x04, rig.now, &mut rig.host);
    rig.disk.control(0x04, rig.now, &mut rig.host);
    rig.issue(0, command(0xec));
    rig.issue(1, queued(0x60, 1, 0, 1));
    rig.settle();
    assert!(rig.fises().is_empty());
    rig.disk.control(0x00, rig.now, &mut rig.host);
    assert_eq!(rig.fises().len(), 1);
    rig.identify();
    rig.disk.control(0x00, rig.now, &mut rig.host);
    rig.disk.control(0x02, rig.now, &mut rig.host);
    assert!(rig.fises().is_empty(), "no second signature");
}

#[test]
fn a_reset_ends_the_error_state_of_the_queue() {
    for how in [How::Comreset, How::Srst] {
        let mut rig = Rig::default();
        rig.issue(0, queued(0x60, 0, 1 << 40, 1));
        rig.fises();
        reset(&mut rig, how);
        rig.identify();
    }
}

#[test]
fn a_comreset_takes_the_disk_out_of_a_soft_reset() {
    let mut rig = Rig::default();
    rig.disk.control(0x04, rig.now, &mut rig.host);
    reset(&mut rig, How::Comreset);
    rig.identify();
}
