//! READ BUFFER, WRITE BUFFER and WRITE VERIFY.

use freewheel_ata::Device;
use freewheel_ata::fis::{DeviceFis, Error, Status};
use freewheel_block::{IoError, OpKind};

use crate::support::*;

fn read(rig: &mut Rig, opcode: u8) -> Vec<u8> {
    rig.host.memory[0][..512].fill(0xee);
    if opcode == 0xe4 {
        assert_eq!(rig.pio_in(command(opcode)), [512]);
    } else {
        rig.good(command(opcode));
    }
    rig.host.memory[0][..512].to_vec()
}

#[test]
fn what_is_written_to_the_buffer_is_read_from_it() {
    let mut rig = Rig::default();
    assert_eq!(read(&mut rig, 0xe4), [0; 512]);
    for (value, write_opcode) in [(1u8, 0xe8), (2, 0xeb)] {
        let data: Vec<u8> = (0..512).map(|at| at as u8 ^ value).collect();
        rig.host.memory[0][..512].copy_from_slice(&data);
        rig.good(command(write_opcode));
        rig.disk.comreset(rig.now, &mut rig.host);
        assert_eq!(read(&mut rig, 0xe4), data);
        assert_eq!(read(&mut rig, 0xe9), data);
    }
    assert!(rig.ram().log.is_empty(), "the medium has nothing to do with it");
}

#[test]
fn a_pio_write_to_the_buffer_is_asked_for_by_one_pio_setup() {
    let mut rig = Rig::default();
    let fises = rig.run_all(command(0xe8));
    let [
        DeviceFis::PioSetup { interrupt: false, to_host: false, transfer_count_bytes: 512, .. },
        DeviceFis::RegisterD2H { interrupt: true, .. },
    ] = fises[..]
    else {
        panic!("{fises:?}");
    };
    assert_eq!(rig.run_all(command(0xeb)).len(), 1);
}

#[test]
fn data_that_does_not_arrive_leaves_the_buffer_as_it_was() {
    let mut rig = Rig::default();
    rig.host.memory[0][..512].fill(7);
    rig.good(command(0xeb));
    for opcode in [0xe8, 0xeb] {
        rig.host.memory[0][..512].fill(9);
        rig.host.crc = true;
        rig.bad(command(opcode), Error::ICRC | Error::ABRT);
        rig.host.memory[0].truncate(100);
        rig.bad(command(opcode), Error::ABRT);
        rig.host.memory[0].resize(512, 0);
    }
    assert_eq!(read(&mut rig, 0xe9), [7; 512]);
}

#[test]
fn a_write_that_verifies_reads_what_it_wrote() {
    let mut rig = Rig::default();
    rig.host.memory[0][..1024].fill(0x3c);
    let fises = rig.run_all(at28(0x3c, 40, 2));
    assert_eq!(fises.len(), 3, "two blocks, and one end: {fises:?}");
    let kinds: Vec<_> = rig.ram().log.iter().map(|(kind, range, _)| (*kind, *range)).collect();
    assert_eq!(kinds.len(), 2);
    assert_eq!((kinds[0].0, kinds[1].0), (OpKind::Write, OpKind::Read));
    assert_eq!(kinds[0].1, kinds[1].1);
    assert!(rig.ram().data[40 * 512..42 * 512].iter().all(|byte| *byte == 0x3c));
    assert_eq!(rig.host.in_bytes, 0, "nothing is read to the host");
}

#[test]
fn a_sector_that_cannot_be_verified_is_uncorrectable() {
    let mut rig = Rig::default();
    rig.ram().fails = Some((OpKind::Read, 41 * 512, IoError::Os(5)));
    let registers = rig.bad(at28(0x3c, 40, 2), Error::UNC);
    assert_eq!(registers.lba, 41);
    rig.ram().fails = Some((OpKind::Write, 41 * 512, IoError::Os(5)));
    rig.bad(at28(0x3c, 40, 2), Error::ABRT);
    let log_before = rig.ram().log.len();
    rig.ram().hangs = true;
    rig.issue(0, at28(0x3c, 40, 2));
    assert_eq!(rig.disk.abort_all(rig.now), 1);
    rig.ram().hangs = false;
    rig.fises();
    rig.settle();
    assert!(rig.fises().is_empty());
    let verified = rig.ram().log[log_before..].iter().any(|it| it.0 == OpKind::Read);
    assert!(!verified, "what was cancelled does not go on");
    assert_eq!(rig.good(command(0xe5)).status, Status::DRDY | Status::DSC);
}
