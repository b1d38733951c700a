//! Link faults, resets, commands and stuck storage in any order: the rig checks after each event,
//! and at the end everything works again and nothing has leaked.

use freewheel_ahci::registers::*;
use freewheel_block::fault::LinkFault;

use crate::support::*;

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ word >> 31) % limit
    }
}

fn event(rig: &mut Rig, random: &mut Random) {
    let slot = random.below(32) as u8;
    let lba = random.below(256);
    match random.below(20) {
        0 => rig.inject(LinkFault::Drop(random.below(SECOND))),
        1 => {
            let faults = [
                LinkFault::Crc,
                LinkFault::UnknownFis,
                LinkFault::BadFis,
                LinkFault::Retry,
                LinkFault::Stuck,
                LinkFault::Poison,
            ];
            rig.inject(faults[random.below(6) as usize]);
        }
        2 => rig.inject(LinkFault::NoSignature),
        3 => rig.hba.clear_link_faults(),
        4 => {
            rig.hba.release_link_faults(rig.now, &rig.memory);
        }
        5 => {
            rig.release_storage();
        }
        6 => rig.write(PX_SCTL, [DET_COMRESET, DET_OFFLINE][random.below(2) as usize]),
        7 => rig.write(PX_SCTL, 0),
        8 => rig.stop(),
        9 => rig.write(PX_CMD, (PxCmd::FRE | PxCmd::CLO).bits()),
        10 => rig.start(),
        11 => rig.write_global(GHC, (Ghc::HR | Ghc::AE).bits()),
        12 => rig.hba.reset_function(rig.now),
        13 => rig.pass(random.below(SECOND / 2)),
        14 => rig.issue(slot, command([0x25, 0x35, 0xea, 0xec][slot as usize % 4], lba, 4)),
        _ => {
            let opcode = 0x60 + random.below(2) as u8;
            rig.issue_queued(slot, opcode, lba, 1 + random.below(8) as u16);
        }
    }
}

#[test]
fn nothing_sticks_and_nothing_leaks_whatever_comes_in_whatever_order() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let mut rig = Rig::new(&["any/0.2:hang", "any/0.2:delay=100ms", "any/0.1:error=EIO"]);
        let slots = rig.storage().slots;
        for _ in 0..200 {
            event(&mut rig, &mut random);
        }
        rig.hba.clear_link_faults();
        rig.hba.release_link_faults(rig.now, &rig.memory);
        rig.release_storage();
        rig.stop();
        rig.comreset();
        rig.start();
        rig.pass(2 * SECOND);
        assert!(rig.can_read(0), "seed {seed}: {:?}", rig.status());
        let storage = rig.storage();
        assert_eq!((storage.free_slots, storage.counters.fences_now), (slots, 0), "seed {seed}");
    }
}
