//! BIOS/OS hand-off (10.6).

use freewheel_ahci::registers::*;

use crate::support::*;

const BOS: u32 = 1;
const OOS: u32 = 2;
const SOOE: u32 = 4;
const OOC: u32 = 8;

#[test]
fn the_operating_system_gets_the_hba_at_once() {
    let mut rig = Rig::new();
    assert_ne!(rig.read_global(CAP2) & Cap2::BOH.bits(), 0);
    assert_eq!(rig.read_global(BOHC), 0);
    rig.write_global(BOHC, BOS | SOOE);
    assert_eq!(rig.read_global(BOHC), BOS | SOOE, "firmware has it");
    rig.write_global(BOHC, OOS | BOS | SOOE);
    assert_eq!(rig.read_global(BOHC), OOS | OOC | SOOE, "BOS falls, BB is never set");
    rig.write_global(BOHC, OOS | OOC);
    assert_eq!(rig.read_global(BOHC), OOS);
    rig.write_global(BOHC, OOS);
    assert_eq!(rig.read_global(BOHC), OOS, "it had it already");
    rig.write_global(BOHC, 0);
    rig.write_global(BOHC, OOS);
    assert_eq!(rig.read_global(BOHC), OOS | OOC);
}

#[test]
fn reserved_bits_stay_clear_and_parts_can_be_written() {
    let mut rig = Rig::new();
    rig.write_global(BOHC, u32::MAX);
    assert_eq!(rig.read_global(BOHC), OOS | SOOE | OOC);
    rig.hba.mmio_write(u64::from(BOHC) + 1, &[0xff; 3], rig.now, &rig.memory);
    assert_eq!(rig.read_global(BOHC), OOS | SOOE | OOC, "OOC is cleared by its own bit only");
}

#[test]
fn an_hba_reset_leaves_the_owner_and_a_function_reset_does_not() {
    let mut rig = Rig::new();
    rig.write_global(BOHC, OOS);
    rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits());
    assert_eq!(rig.read_global(BOHC) & OOS, OOS);
    rig.hba.reset_function(rig.now);
    assert_eq!(rig.read_global(BOHC), 0);
}
