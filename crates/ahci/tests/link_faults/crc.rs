//! `link:crc`.

use freewheel_ahci::registers::*;
use freewheel_block::fault::LinkFault;

use crate::support::*;

/// Status DRDY, DSC, ERR and error ICRC, ABRT, as PxTFD has them.
const ICRC_ABRT: u32 = 0x8451;

#[test]
fn a_read_ends_with_an_interface_error_and_works_when_it_is_tried_again() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::Crc);
    assert_eq!(rig.read(PX_IS), 0, "nothing happens before data moves");
    assert!(!rig.can_read(0));
    let is = PxIs::from_bits_truncate(rig.read(PX_IS));
    assert!(is.contains(PxIs::IFS | PxIs::TFES), "{is:?}");
    assert!(!is.contains(PxIs::INFS), "a data transfer that fails is fatal");
    assert_eq!(rig.read(PX_SERR), (PxSerr::ERR_T | PxSerr::DIAG_C).bits());
    assert_eq!(rig.read(PX_TFD), ICRC_ABRT);
    assert_eq!(rig.read(PX_CI), 1, "the command is not complete");
    assert!(rig.hba.take_interrupt().level);
    assert_eq!(rig.data(0)[..SECTOR], [0; SECTOR]);

    rig.restart();
    assert!(rig.can_read(0), "it happens once");
    assert_eq!(rig.data(0)[..SECTOR], [0x11; SECTOR]);
}

#[test]
fn data_of_the_device_itself_is_data_too() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::Crc);
    rig.issue(0, command(0xec, 0, 0));
    rig.pass(1);
    assert_eq!(rig.read(PX_TFD), ICRC_ABRT);
    assert_eq!(rig.read(PX_CI), 1);
}

#[test]
fn a_command_without_data_passes_and_the_fault_waits() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::Crc);
    rig.issue(0, command(0xea, 0, 0));
    rig.pass(1);
    assert_eq!((rig.read(PX_CI), rig.read(PX_SERR)), (0, 0));
    assert!(!rig.can_read(0));
}

#[test]
fn a_queued_write_does_not_reach_the_medium_and_the_log_says_why() {
    let mut rig = Rig::new(&[]);
    rig.fill_data(3, 0xaa);
    rig.inject(LinkFault::Crc);
    rig.issue_queued(3, 0x61, 8, 8);
    rig.pass(1);
    assert_eq!(rig.read(PX_SERR), (PxSerr::ERR_T | PxSerr::DIAG_H).bits());
    let is = PxIs::from_bits_truncate(rig.read(PX_IS));
    assert!(is.contains(PxIs::IFS | PxIs::TFES), "{is:?}");
    assert_eq!(rig.read(PX_SACT), 1 << 3, "the command is not complete");
    assert_eq!(rig.on_medium(8), [0x11; SECTOR]);

    rig.restart();
    rig.issue(0, command(0x2f, 0x10, 1));
    rig.pass(1);
    assert_eq!(rig.read(PX_CI), 0);
    assert_eq!(rig.data(0)[..4], [3, 0, 0x51, 0x84], "tag, status, error");
    rig.issue_queued(3, 0x61, 8, 8);
    rig.pass(1);
    assert_eq!(rig.read(PX_SACT), 0);
    assert_eq!(rig.on_medium(8), [0xaa; SECTOR]);
}

#[test]
fn what_has_not_happened_can_be_taken_back() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::Crc);
    rig.hba.clear_link_faults();
    assert!(rig.can_read(0));
}
