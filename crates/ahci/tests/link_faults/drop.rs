//! `link:drop=TIME`.

use freewheel_ahci::registers::*;
use freewheel_ahci::{LinkState, ResetKind};
use freewheel_block::fault::LinkFault;

use crate::support::*;

const TWO_SECONDS: LinkFault = LinkFault::Drop(2 * SECOND);

#[test]
fn thirty_two_commands_are_cancelled_at_once_and_the_next_one_works_when_the_link_is_back() {
    let mut rig = Rig::new(&["write:hang"]);
    for tag in 0..32 {
        rig.fill_data(tag, 0xa0 + tag);
        rig.issue_queued(tag, 0x61, u64::from(tag) * 8, 8);
    }
    rig.pass(1);
    assert_eq!(rig.storage().operations.len(), 32);

    rig.inject(TWO_SECONDS);
    let storage = rig.storage();
    assert!(storage.operations.is_empty(), "cancelled at once, though the storage hangs");
    assert_eq!((storage.counters.orphans_now, storage.counters.fences_now), (32, 32));
    let last = *rig.status().resets.last().expect("noted");
    assert_eq!((last.kind, last.cancelled), (ResetKind::LinkDrop, 32));
    assert_eq!(rig.read(PX_SSTS), 0);
    assert_eq!(rig.read(PX_TFD), 0x7f);
    assert_eq!(rig.read(PX_SERR), PxSerr::DIAG_N.bits());
    assert_eq!(rig.read(PX_IS) & PxIs::PRCS.bits(), PxIs::PRCS.bits());
    assert!(rig.hba.take_interrupt().level, "the driver hears of it");
    assert_eq!(rig.read(PX_SACT), u32::MAX, "no bit falls: none of them is complete");

    rig.pass(2 * SECOND - 1);
    assert_eq!(rig.read(PX_SSTS), 0, "down for its time");
    assert_eq!(rig.hba.next_wakeup(), Some(rig.now.plus(1)));
    rig.pass(1);
    assert_eq!(rig.status().link, LinkState::Up);
    assert_eq!(rig.read(PX_SSTS), SSTS_UP_GEN3);
    assert_eq!((rig.read(PX_TFD), rig.read(PX_SIG)), (0x150, 0x101), "the signature");
    assert_eq!(rig.read(PX_SERR), (PxSerr::DIAG_N | PxSerr::DIAG_X).bits());
    assert_eq!(rig.read(PX_SACT), u32::MAX, "lost is lost");
    assert!(rig.status().halted, "until software stops the port");

    rig.restart();
    assert!(rig.can_read(300));
    rig.issue(0, command(0x25, 0, 1));
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_CI), 1, "held behind the fence of what was lost");
    assert_eq!(rig.release_storage(), 32);
    rig.pass(1);
    assert_eq!(rig.read(PX_CI), 0);
    assert_eq!(rig.data(0)[..SECTOR], [0xa0; SECTOR]);
    assert_eq!(rig.storage().counters.orphans_now, 0);
}

#[test]
fn what_the_storage_finishes_while_the_link_is_down_reaches_no_memory() {
    let mut rig = Rig::new(&["read:hang"]);
    for tag in 0..8 {
        rig.issue_queued(tag, 0x60, u64::from(tag) * 8, 8);
    }
    rig.pass(1);
    rig.inject(TWO_SECONDS);
    let before = rig.whole_memory();
    rig.release_storage();
    rig.pass(SECOND);
    assert_eq!(rig.storage().counters.orphans_now, 0);
    assert!(rig.whole_memory() == before, "C3: no byte moves for what is cancelled");
}

#[test]
fn a_command_that_is_not_queued_is_lost_too() {
    let mut rig = Rig::new(&["flush:hang"]);
    rig.issue(5, command(0xea, 0, 0));
    rig.inject(TWO_SECONDS);
    rig.pass(2 * SECOND);
    assert_eq!(rig.read(PX_CI), 1 << 5);
    assert!(rig.status().halted);
    rig.restart();
    assert!(rig.can_read(0));
}

#[test]
fn an_idle_port_goes_on_by_itself_and_commands_wait_for_the_link() {
    let mut rig = Rig::new(&[]);
    rig.inject(TWO_SECONDS);
    rig.issue(0, command(0x25, 0, 1));
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_CI), 1, "not fetched without a link");
    rig.pass(SECOND);
    assert_eq!((rig.read(PX_CI), rig.read(PX_TFD)), (0, 0x50));
    assert_eq!(rig.data(0)[..SECTOR], [0x11; SECTOR]);
}

#[test]
fn not_even_a_command_list_override_gets_a_command_through_a_link_that_is_down() {
    let mut rig = Rig::new(&[]);
    rig.inject(TWO_SECONDS);
    rig.stop();
    rig.write(PX_CMD, (PxCmd::FRE | PxCmd::CLO).bits());
    rig.start();
    rig.issue(0, command(0x25, 0, 1));
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_CI), 1);
    assert_eq!(rig.data(0)[..SECTOR], [0; SECTOR]);
}

#[test]
fn a_reset_while_the_link_is_down_ends_at_once_and_is_answered_when_it_is_back() {
    let mut rig = Rig::new(&[]);
    rig.inject(TWO_SECONDS);
    rig.stop();
    rig.write(PX_SERR, u32::MAX);
    rig.comreset();
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (0, 0x7f));
    assert_eq!(rig.read(PX_SERR), 0, "nobody answers");
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (0, 0x7f));
    rig.hba.reset_function(rig.now);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_SERR)), (0, 0));
    rig.pass(2 * SECOND);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (SSTS_UP_GEN3, 0x150));
    rig.start();
    assert!(rig.can_read(0));
}

#[test]
fn the_drop_ends_while_software_holds_the_reset() {
    let mut rig = Rig::new(&[]);
    rig.inject(TWO_SECONDS);
    rig.stop();
    rig.write(PX_SCTL, DET_COMRESET);
    rig.pass(3 * SECOND);
    assert_eq!((rig.read(PX_SSTS), rig.status().link), (0, LinkState::Off));
    rig.write(PX_SCTL, 0);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (SSTS_UP_GEN3, 0x150));
}

#[test]
fn a_second_drop_prolongs_the_first_and_never_shortens_it() {
    let mut rig = Rig::new(&[]);
    rig.inject(TWO_SECONDS);
    rig.inject(LinkFault::Drop(1));
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_SSTS), 0);
    rig.inject(TWO_SECONDS);
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_SSTS), 0);
    rig.pass(SECOND);
    assert_eq!(rig.read(PX_SSTS), SSTS_UP_GEN3);
    assert_eq!(rig.status().resets.iter().filter(|it| it.kind == ResetKind::LinkDrop).count(), 1);
}

#[test]
fn a_release_ends_a_drop_however_long_it_was_to_be() {
    let mut rig = Rig::new(&[]);
    rig.inject(LinkFault::Drop(u64::MAX));
    rig.pass(1 << 60);
    assert_eq!(rig.read(PX_SSTS), 0);
    rig.hba.clear_link_faults();
    assert_eq!(rig.read(PX_SSTS), 0, "clearing changes nothing that is happening");
    assert_eq!(rig.hba.release_link_faults(rig.now, &rig.memory), 1);
    assert_eq!(rig.hba.release_link_faults(rig.now, &rig.memory), 0);
    assert_eq!(rig.read(PX_SSTS), SSTS_UP_GEN3);
    assert!(rig.can_read(0));
}

#[test]
fn a_link_that_software_has_switched_off_stays_off_whatever_ends() {
    let mut rig = Rig::new(&[]);
    rig.stop();
    rig.write(PX_SCTL, DET_OFFLINE);
    rig.write(PX_SERR, u32::MAX);
    rig.inject(TWO_SECONDS);
    rig.pass(3 * SECOND);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (DET_OFFLINE, 0x7f));
    rig.inject(TWO_SECONDS);
    assert_eq!(rig.hba.release_link_faults(rig.now, &rig.memory), 1);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (DET_OFFLINE, 0x7f));
    assert_eq!(rig.read(PX_SERR), 0, "nothing has changed on a link that is off");
    rig.write(PX_SCTL, 0);
    assert_eq!((rig.read(PX_SSTS), rig.read(PX_TFD)), (SSTS_UP_GEN3, 0x150));
}

#[test]
fn commands_that_waited_for_the_link_start_when_it_is_released() {
    let mut rig = Rig::new(&["any:hang"]);
    rig.inject(TWO_SECONDS);
    rig.issue(0, command(0x25, 0, 1));
    rig.hba.release_link_faults(rig.now, &rig.memory);
    assert_eq!(rig.storage().operations.len(), 1);
}
