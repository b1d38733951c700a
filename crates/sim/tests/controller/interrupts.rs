//! The interrupt: level and message (AHCI 10.7).

use freewheel_ahci::registers::*;
use freewheel_sim::Command;

use crate::support::*;

fn level(rig: &mut Rig) -> bool {
    rig.machine.hba.take_interrupt().level
}

fn issue_eight(rig: &mut Rig) {
    let commands: Vec<_> =
        (0..8u8).map(|slot| (slot, Command::read_queued(u64::from(slot) * 8, 8, SECTOR))).collect();
    rig.driver.issue_all(&mut rig.machine, &commands);
}

#[test]
fn a_batch_makes_one_message() {
    let mut rig = Rig::new();
    let before = rig.machine.messages_total();
    issue_eight(&mut rig);
    assert_eq!(rig.machine.messages_total(), before, "nothing has ended");
    rig.machine.settle();
    assert_eq!(rig.machine.messages_total(), before + 1);
    assert!(level(&mut rig));
    let port_is = rig.driver.read(&mut rig.machine, PX_IS);
    assert_eq!(PxIs::from_bits_retain(port_is), PxIs::SDBS);
    assert_eq!(rig.machine.read(IS), 1);
    assert_eq!(rig.driver.collect(&mut rig.machine).ended, 0xff);
    assert!(!level(&mut rig));
    assert_eq!(rig.machine.messages_total(), before + 1);
}

#[test]
fn is_comes_back_while_the_port_has_something_to_say() {
    let mut rig = Rig::new();
    issue_eight(&mut rig);
    rig.machine.settle();
    let before = rig.machine.messages_total();
    // The wrong order: IS before PxIS. It may not be lost.
    rig.machine.write(IS, 1);
    assert_eq!(rig.machine.read(IS), 1);
    assert!(level(&mut rig));
    assert_eq!(rig.machine.messages_total(), before + 1, "said again");
    let is = rig.driver.read(&mut rig.machine, PX_IS);
    rig.driver.write(&mut rig.machine, PX_IS, is);
    assert_eq!(rig.machine.read(IS), 1, "IS is cleared by its own write only");
    rig.machine.write(IS, 1);
    assert!(!level(&mut rig));
    assert_eq!(rig.machine.messages_total(), before + 1);
}

#[test]
fn disabled_interrupts_are_told_when_enabled() {
    let mut rig = Rig::new();
    rig.machine.write(GHC, Ghc::AE.bits());
    let before = rig.machine.messages_total();
    issue_eight(&mut rig);
    rig.machine.settle();
    assert_eq!(rig.machine.messages_total(), before);
    assert!(!level(&mut rig));
    assert_eq!(rig.machine.read(IS), 1);
    rig.machine.write(GHC, (Ghc::AE | Ghc::IE).bits());
    assert!(level(&mut rig));
    assert_eq!(rig.machine.messages_total(), before + 1);
}

#[test]
fn pxie_decides_what_reaches_is() {
    let mut rig = Rig::new();
    rig.driver.write(&mut rig.machine, PX_IE, PxIs::DHRS.bits());
    issue_eight(&mut rig);
    rig.machine.settle();
    assert_eq!(rig.machine.read(IS), 0);
    assert_eq!(rig.driver.read(&mut rig.machine, PX_IS), PxIs::SDBS.bits());
    rig.driver.write(&mut rig.machine, PX_IE, PxIs::SDBS.bits());
    assert_eq!(rig.machine.read(IS), 1);
    assert!(level(&mut rig));
}

#[test]
fn completions_between_two_reads_of_the_handler_are_not_lost() {
    let mut rig = Rig::new();
    rig.disk.hold(true);
    issue_eight(&mut rig);
    rig.machine.settle();
    rig.disk.complete(0);
    rig.machine.settle();
    // The handler has read PxIS; before it clears it, another command ends.
    let is = rig.driver.read(&mut rig.machine, PX_IS);
    rig.disk.complete(0);
    rig.machine.settle();
    rig.driver.write(&mut rig.machine, PX_IS, is);
    rig.machine.write(IS, 1);
    // It looks at PxSACT after clearing, and so sees both.
    assert_eq!(rig.driver.read(&mut rig.machine, PX_SACT).count_ones(), 6);
    let before = rig.machine.messages_total();
    rig.disk.complete(0);
    rig.machine.settle();
    assert_eq!(rig.machine.messages_total(), before + 1);
}
