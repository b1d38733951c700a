//! Interrupt messages (10.7.2): one for everything, or one for each port.

use freewheel_ahci::registers::*;
use freewheel_ahci::{Hba, HbaConfig};
use freewheel_block::Nanos;

use crate::support::*;

/// Both ports started, with so many messages allocated.
fn rig(messages: u32) -> Rig {
    let mut rig = Rig::new();
    rig.start(1);
    rig.hba.set_messages(messages);
    rig.take_interrupt();
    rig
}

fn messages(rig: &mut Rig) -> u32 {
    rig.take_interrupt().messages
}

fn reverted(rig: &mut Rig) -> bool {
    rig.read_global(GHC) & Ghc::MRSM.bits() != 0
}

#[test]
fn the_hba_asks_for_a_message_a_port_and_one_for_coalescing() {
    for (ports, wanted) in [(1, 2), (2, 4), (3, 4), (4, 8), (6, 8), (16, 32), (31, 32), (32, 32)] {
        let devices = (0..ports).map(|_| None).collect();
        let hba = Hba::new(HbaConfig::default(), devices, Nanos(0));
        assert_eq!(hba.messages_requested(), wanted, "{ports} ports");
    }
}

#[test]
fn each_port_has_its_own_message() {
    let mut rig = rig(4);
    assert!(!reverted(&mut rig));
    rig.issue(1, 0);
    assert_eq!(messages(&mut rig), 0b10);
    rig.issue(0, 0);
    assert_eq!(messages(&mut rig), 0b01);
    rig.issue(0, 1);
    assert_eq!(messages(&mut rig), 0, "said already");
}

#[test]
fn a_driver_of_many_messages_need_not_clear_is() {
    // Linux's does not.
    let mut rig = rig(4);
    for _ in 0..3 {
        rig.issue(1, 0);
        assert_eq!(messages(&mut rig), 0b10);
        let is = rig.read(1, PX_IS);
        rig.write(1, PX_IS, is);
        assert_eq!(messages(&mut rig), 0);
    }
    assert_eq!(rig.read_global(IS), 0b10);
}

#[test]
fn what_a_write_to_pxis_leaves_is_said_again() {
    let mut rig = rig(4);
    rig.perform(1, 0, vec![Act::Unknown(vec![0xc7; 4]), Act::Fis(good())]);
    assert_eq!(messages(&mut rig), 0b10);
    rig.write(1, PX_IS, u32::MAX);
    assert_eq!((messages(&mut rig), rig.is(1)), (0b10, PxIs::UFS));
    rig.write(1, PX_SERR, u32::MAX);
    assert_eq!(messages(&mut rig), 0);
}

#[test]
fn is_in_the_wrong_order_is_said_again() {
    let mut rig = rig(4);
    rig.issue(0, 0);
    rig.issue(1, 0);
    messages(&mut rig);
    rig.write_global(IS, 0b10);
    assert_eq!((messages(&mut rig), rig.read_global(IS)), (0b10, 0b11));
}

#[test]
fn with_fewer_messages_than_asked_for_the_first_is_for_all_and_mrsm_says_so() {
    let mut rig = rig(2);
    assert!(reverted(&mut rig));
    rig.issue(1, 0);
    assert_eq!(messages(&mut rig), 1);
    rig.issue(0, 0);
    assert_eq!(messages(&mut rig), 0, "IS is not clear");
    rig.write(1, PX_IS, u32::MAX);
    rig.write_global(IS, 0b10);
    assert_eq!(messages(&mut rig), 1, "port 0 is left");
    rig.write_global(GHC, (Ghc::AE | Ghc::IE | Ghc::MRSM).bits());
    rig.hba.set_messages(4);
    assert!(!reverted(&mut rig));
}

#[test]
fn one_message_or_none_is_no_reversion() {
    for allocated in [0, 1, 4] {
        assert!(!reverted(&mut rig(allocated)), "{allocated}");
    }
    let mut rig = rig(1);
    rig.issue(1, 0);
    assert_eq!(messages(&mut rig), 1);
}

#[test]
fn enabling_interrupts_or_messages_says_everything_again() {
    let mut rig = rig(4);
    rig.write_global(GHC, Ghc::AE.bits());
    rig.issue(0, 0);
    rig.issue(1, 0);
    assert_eq!(messages(&mut rig), 0);
    rig.write_global(GHC, (Ghc::AE | Ghc::IE).bits());
    assert_eq!(messages(&mut rig), 0b11);
    rig.hba.set_messages(1);
    assert_eq!(messages(&mut rig), 1);
    rig.hba.set_messages(4);
    assert_eq!(messages(&mut rig), 0b11);
    rig.hba.set_messages(4);
    assert_eq!(messages(&mut rig), 0);
}

#[test]
fn an_hba_reset_keeps_the_messages_and_a_function_reset_does_not() {
    let mut rig = rig(2);
    rig.write_global(GHC, (Ghc::AE | Ghc::HR).bits());
    assert!(reverted(&mut rig));
    rig.hba.reset_function(rig.now);
    assert!(!reverted(&mut rig));
}
