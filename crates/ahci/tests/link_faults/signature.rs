//! `link:no-signature`.

use freewheel_ahci::LinkState;
use freewheel_ahci::registers::*;
use freewheel_ata::fis::RegisterH2D;
use freewheel_block::fault::LinkFault;

use crate::support::*;

/// A rig whose device has just kept its signature to itself.
fn silent() -> Rig {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::NoSignature);
    assert!(rig.can_read(0), "nothing happens before a reset");
    rig.stop();
    rig.comreset();
    rig
}

#[test]
fn the_device_stays_busy_after_the_next_comreset_until_the_one_after() {
    let mut rig = silent();
    rig.pass(60 * SECOND);
    assert_eq!(rig.status().link, LinkState::Silent);
    assert_eq!(rig.read(PX_SSTS), SSTS_UP_GEN3, "the link is up");
    assert_eq!((rig.read(PX_TFD), rig.read(PX_SIG)), (0x80, 0xffff_ffff));
    rig.comreset();
    assert_eq!((rig.read(PX_TFD), rig.read(PX_SIG)), (0x150, 0x101));
    rig.start();
    assert!(rig.can_read(0));
}

#[test]
fn a_silent_device_answers_neither_commands_nor_a_software_reset() {
    let mut rig = silent();
    rig.write(PX_CMD, (PxCmd::FRE | PxCmd::CLO).bits());
    rig.start();
    rig.prepare(0, RegisterH2D { control: 4, ..RegisterH2D::default() }, 2);
    rig.prepare(1, RegisterH2D::default(), 2);
    rig.prepare(2, command(0x25, 0, 1), DATA_BYTES);
    let fetched = rig.status().counters.commands_total;
    rig.write(PX_CI, 0b111);
    rig.pass(SECOND);
    assert_eq!(rig.status().counters.commands_total, fetched);
    assert_eq!(rig.read(PX_CI), 0b111);
    assert_eq!(rig.read(PX_SIG), 0xffff_ffff);
    rig.stop();
    rig.comreset();
    rig.start();
    assert!(rig.can_read(0));
}

#[test]
fn it_is_reset_nevertheless() {
    let mut rig = Rig::new(&["write:hang"]);
    rig.inject(LinkFault::NoSignature);
    rig.issue_queued(0, 0x61, 0, 8);
    rig.comreset();
    let storage = rig.storage();
    assert!(storage.operations.is_empty());
    assert_eq!((storage.counters.orphans_now, storage.counters.fences_now), (1, 1));
}

#[test]
fn only_a_comreset_is_the_occasion() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::NoSignature);
    rig.inject(LinkFault::Drop(SECOND));
    rig.comreset();
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_TFD), 0x150, "nobody heard the one without a link");
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read(PX_TFD), 0x150);
    rig.hba.reset_function(rig.now);
    assert_eq!(rig.read(PX_TFD), 0x150);
    rig.comreset();
    assert_eq!(rig.read(PX_TFD), 0x80);
}

#[test]
fn whatever_brings_the_link_up_next_ends_the_silence() {
    let mut rig = silent();
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read(PX_TFD), 0x150);

    let mut rig = silent();
    rig.hba.reset_function(rig.now);
    assert_eq!(rig.read(PX_TFD), 0x150);

    let mut rig = silent();
    rig.inject(LinkFault::Drop(SECOND));
    assert_eq!(rig.read(PX_TFD), 0x7f);
    rig.pass(SECOND);
    assert_eq!((rig.read(PX_TFD), rig.status().link), (0x150, LinkState::Up));
}

#[test]
fn a_release_makes_the_device_speak() {
    let mut rig = silent();
    assert_eq!(rig.hba.release_link_faults(rig.now, &rig.memory), 1);
    assert_eq!((rig.read(PX_TFD), rig.read(PX_SIG)), (0x150, 0x101));
}

#[test]
fn what_has_not_happened_can_be_taken_back() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::NoSignature);
    rig.hba.clear_link_faults();
    rig.stop();
    rig.comreset();
    assert_eq!(rig.read(PX_TFD), 0x150);
}
