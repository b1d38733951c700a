//! Whatever a host sends, each command ends once, and the drive goes on.

use std::sync::Arc;

use freewheel_ata::Device;
use freewheel_ata::fis::{DeviceFis, RegisterH2D};
use proptest::prelude::*;

use crate::support::{Rig, content, packet, packet_fis, read_10};

#[derive(Clone, Debug)]
enum Step {
    Packet { limit: Option<u16>, bytes: [u8; 12] },
    Ata { opcode: u8, features: u16, count: u16, lba: u64 },
    Hang(bool),
    Eject { force: bool },
    Insert { blocks: u16 },
    Reset,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let known = prop::sample::select(
        (0..=255u8)
            .filter(|opcode| freewheel_ata::packet_command_name(*opcode).is_some())
            .collect::<Vec<_>>(),
    );
    let small = prop_oneof![Just(0u8), Just(1), Just(0xff), 0..16u8, any::<u8>()];
    let body = prop::array::uniform11(small);
    let bytes = (prop_oneof![9 => known, 1 => any::<u8>()], body).prop_map(|(opcode, body)| {
        let mut bytes = [opcode; 12];
        bytes[1..].copy_from_slice(&body);
        bytes
    });
    let limit = prop_oneof![3 => Just(None), 1 => any::<u16>().prop_map(Some)];
    prop_oneof![
        20 => (limit, bytes).prop_map(|(limit, bytes)| Step::Packet { limit, bytes }),
        2 => (any::<u8>(), any::<u16>(), any::<u16>(), any::<u64>()).prop_map(
            |(opcode, features, count, lba)| Step::Ata { opcode, features, count, lba }
        ),
        1 => any::<bool>().prop_map(Step::Hang),
        1 => any::<bool>().prop_map(|force| Step::Eject { force }),
        2 => (0..2000u16).prop_map(|blocks| Step::Insert { blocks }),
        1 => Just(Step::Reset),
        6 => Just(Step::Settle),
    ]
}

/// Whether a FIS ends the command.
fn ends(fis: &DeviceFis) -> bool {
    match fis {
        DeviceFis::RegisterD2H { .. } => true,
        DeviceFis::PioSetup { ending_status, .. } => {
            !ending_status.contains(freewheel_ata::fis::Status::BSY)
        }
        _ => false,
    }
}

proptest! {
    #[test]
    fn each_command_ends_at_most_once_and_the_drive_works_afterwards(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        let mut rig = Rig::loaded();
        let mut busy = false;
        for step in steps {
            rig.now = rig.now.plus(1_000);
            match step {
                // A controller sends nothing to a drive that is busy.
                Step::Packet { limit, bytes } if !busy => {
                    rig.issue(packet_fis(limit), packet(&bytes));
                    busy = true;
                }
                Step::Ata { opcode, features, count, lba } if !busy && opcode != 0xa0 => {
                    let fis = RegisterH2D {
                        is_command: true,
                        command: opcode,
                        features,
                        count,
                        lba: lba & 0xffff_ffff_ffff,
                        ..RegisterH2D::default()
                    };
                    rig.issue(fis, packet(&[]));
                    busy = true;
                }
                Step::Packet { .. } | Step::Ata { .. } => {}
                Step::Hang(hangs) => rig.hang(hangs),
                Step::Eject { force } => {
                    let _ = rig.drive.eject(force, rig.now);
                }
                Step::Insert { blocks } => {
                    let storage = Arc::default();
                    let engine = crate::support::image("B", u64::from(blocks) * 2048, &storage);
                    if rig.drive.insert(engine).is_ok() {
                        rig.storage = storage;
                    }
                }
                Step::Reset => {
                    rig.drive.comreset(rig.now, &mut rig.host);
                    busy = false;
                    rig.fises();
                }
                Step::Settle => rig.settle(),
            }
            for (slot, fis) in rig.fises() {
                if slot.is_some() && ends(&fis) {
                    prop_assert!(busy, "a command ended twice");
                    busy = false;
                }
            }
        }
        rig.hang(false);
        rig.drive.comreset(rig.now, &mut rig.host);
        rig.settle();
        rig.drive.eject(true, rig.now).unwrap();
        rig.insert("Z", 2048 * 8);
        rig.fises();
        rig.good(&[3, 0, 0, 0, 18], 18);
        rig.good(&[3, 0, 0, 0, 18], 18);
        prop_assert_eq!(rig.good(&read_10(7, 1), 2048), content("Z", 7, 1));
    }
}
