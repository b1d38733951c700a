//! Command completion coalescing (11).

use freewheel_ahci::registers::*;
use freewheel_ahci::{Hba, HbaConfig};
use freewheel_block::Nanos;

use crate::support::*;

/// Its interrupt: that of the first port that is not there.
const INT: u32 = 3;
const ENABLED: u32 = 1;

/// Port 0 is coalesced, and says nothing by itself.
fn rig(timeout_ms: u32, completions: u32) -> Rig {
    let mut rig = Rig::new();
    rig.write(0, PX_IE, 0);
    rig.write_global(CCC_PORTS, 1);
    rig.write_global(CCC_CTL, timeout_ms << 16 | completions << 8 | ENABLED);
    rig
}

/// Whether its interrupt has come; clears it.
fn told(rig: &mut Rig) -> bool {
    let is = rig.read_global(IS);
    assert_eq!(is & !(1 << INT), 0);
    rig.write_global(IS, is);
    let level = rig.take_interrupt().level;
    assert!(!level);
    is != 0
}

#[test]
fn the_registers_say_what_there_is() {
    let mut rig = Rig::new();
    assert_ne!(rig.read_global(CAP) & Cap::CCCS.bits(), 0);
    assert_eq!(rig.read_global(CCC_CTL), 1 << 16 | 1 << 8 | INT << 3);
    assert_eq!(rig.read_global(PI) & 1 << INT, 0, "its interrupt is no port's");
    rig.write_global(CCC_PORTS, u32::MAX);
    assert_eq!(rig.read_global(CCC_PORTS), 0b111);
    rig.write_global(CCC_CTL, u32::MAX);
    assert_eq!(rig.read_global(CCC_CTL), 0xffff_0001 | 0xff00 | INT << 3);
    rig.write_global(CCC_CTL, 0x0005_0200 | ENABLED);
    assert_eq!(rig.read_global(CCC_CTL) >> 8, 0x00ff_ffff, "fixed while it is enabled");
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read_global(CCC_CTL), 1 << 16 | 1 << 8 | INT << 3);
    assert_eq!(rig.read_global(CCC_PORTS), 0);
}

#[test]
fn without_a_spare_interrupt_there_is_none() {
    let devices = (0..32).map(|_| None).collect();
    let mut hba = Hba::new(HbaConfig::default(), devices, Nanos(0));
    let mut read = |register: u32| {
        let mut bytes = [0; 4];
        hba.mmio_read(u64::from(register), &mut bytes);
        u32::from_le_bytes(bytes)
    };
    assert_eq!(read(CAP) & Cap::CCCS.bits(), 0);
    assert_eq!((read(CCC_CTL), read(CCC_PORTS), read(PI)), (0, 0, u32::MAX));
}

#[test]
fn so_many_completions_make_one_interrupt() {
    let mut rig = rig(100, 3);
    for _ in 0..4 {
        for _ in 0..2 {
            assert!(rig.works(0));
            assert!(!told(&mut rig));
        }
        assert!(rig.works(0));
        assert!(told(&mut rig));
    }
}

#[test]
fn queued_commands_count_when_they_end() {
    let mut rig = rig(100, 2);
    rig.issue_queued(0, 4);
    rig.issue_queued(0, 5);
    assert!(!told(&mut rig), "accepted only");
    rig.script(0).later = vec![(4, Act::Loose(set_device_bits(0b11_0000)))];
    rig.pass(1);
    assert!(told(&mut rig));
}

#[test]
fn the_timer_tells_what_is_left() {
    let mut rig = rig(5, 10);
    assert!(rig.works(0));
    assert_eq!(rig.hba.next_wakeup(), Some(rig.now.plus(5 * MILLISECOND)));
    rig.pass(5 * MILLISECOND - 1);
    assert!(!told(&mut rig));
    rig.pass(1);
    assert!(told(&mut rig));
    assert_eq!(rig.hba.next_wakeup(), None, "nothing is outstanding");
    rig.pass(100 * MILLISECOND);
    assert!(!told(&mut rig));
}

#[test]
fn the_timer_runs_only_while_commands_are_outstanding() {
    let mut rig = rig(5, 0);
    rig.pass(100 * MILLISECOND);
    assert!(!told(&mut rig));
    rig.issue_queued(0, 4);
    rig.pass(4 * MILLISECOND);
    assert!(!told(&mut rig));
    rig.pass(MILLISECOND);
    assert!(told(&mut rig));
    rig.pass(5 * MILLISECOND);
    assert!(told(&mut rig), "and again");
    // Without a count, completions alone make none.
    rig.script(0).later = vec![(4, Act::Loose(set_device_bits(1 << 4)))];
    rig.pass(1);
    assert!(!told(&mut rig));
}

#[test]
fn a_timeout_of_zero_is_no_timer() {
    let mut rig = rig(0, 2);
    assert!(rig.works(0));
    assert_eq!(rig.hba.next_wakeup(), None);
    rig.pass(MILLISECOND);
    assert!(!told(&mut rig));
    assert!(rig.works(0));
    assert!(told(&mut rig));
}

#[test]
fn ports_that_are_not_selected_do_not_count() {
    let mut rig = rig(5, 1);
    rig.start(1);
    rig.write(1, PX_IE, 0);
    assert!(rig.works(1));
    assert!(!told(&mut rig));
    rig.write_global(CCC_PORTS, 0b10);
    assert!(!told(&mut rig), "what was complete before does not count");
    assert!(rig.works(1));
    assert!(told(&mut rig));
}

#[test]
fn errors_are_told_by_their_port() {
    let mut rig = rig(100, 3);
    rig.write(0, PX_IE, PxIs::TFES.bits());
    let failed = register(freewheel_ata::fis::Status::ERR);
    rig.perform(0, 0, vec![Act::Fis(failed)]);
    assert_eq!(rig.read_global(IS), 1);
}

#[test]
fn it_has_a_message_of_its_own() {
    let mut rig = rig(100, 1);
    rig.hba.set_messages(4);
    assert!(rig.works(0));
    assert_eq!(rig.take_interrupt().messages, 1 << INT);
    assert!(rig.works(0));
    assert_eq!(rig.take_interrupt().messages, 1 << INT, "even if IS was not cleared");
    rig.hba.set_messages(1);
    rig.write_global(IS, u32::MAX);
    rig.take_interrupt();
    assert!(rig.works(0));
    assert_eq!(rig.take_interrupt().messages, 1);
}
