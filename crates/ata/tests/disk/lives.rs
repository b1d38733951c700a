//! Whatever a host does to a disk in one life, the disk can take it up in the next.

use freewheel_ata::fis::RegisterH2D;
use freewheel_ata::{CapacityControl, Device, DiskConfig};
use freewheel_block::{IoError, OpKind};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Event {
    Command(u8, RegisterH2D, u8),
    /// READ NATIVE MAX ADDRESS, then SET MAX ADDRESS, in either form.
    SetMax(bool, u64, u16),
    Hang(bool),
    Fail(bool),
    Comreset,
    PowerCycle,
}

/// Commands with states that outlive power, with what they need to do something.
fn any_command() -> impl Strategy<Value = RegisterH2D> {
    let sanitize = prop::sample::select(vec![
        (0x00, 0, 1),
        (0x12, 0x426b_4572, 0x10),
        (0x12, 0x426b_4572, 0),
        (0x14, 0x4f57_1234_5678, 0x82),
        (0x20, 0x4672_4c6b, 0),
        (0x40, 0x416e_7469, 0),
    ])
    .prop_map(|(features, lba, count)| RegisterH2D { features, ..at48(0xb4, lba, count) });
    let mark = (prop::bool::ANY, 0u64..2048, 1u16..9).prop_map(|(is_flagged, lba, count)| {
        RegisterH2D { features: if is_flagged { 0xaa } else { 0x55 }, ..at48(0x45, lba, count) }
    });
    let accessible = (0u16..3, 0u64..2050)
        .prop_map(|(features, lba)| RegisterH2D { features, ..at48(0x78, lba, 0) });
    let transfer =
        (prop::sample::select(vec![0x25, 0x35, 0x24, 0x34, 0x42, 0x44]), 0u64..2040, 1u16..9)
            .prop_map(|(opcode, lba, count)| at48(opcode, lba, count));
    prop_oneof![
        4 => (0xf1u8..0xf7).prop_map(command),
        2 => sanitize,
        4 => mark,
        1 => accessible,
        4 => transfer,
        1 => any::<u8>().prop_map(command),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        20 => (0u8..32, any_command(), 0u8..4).prop_map(|(slot, fis, word)| Event::Command(slot, fis, word)),
        2 => (any::<bool>(), 0u64..2050, 0u16..2).prop_map(|(ext, lba, keep)| Event::SetMax(ext, lba, keep)),
        1 => any::<bool>().prop_map(Event::Hang),
        1 => any::<bool>().prop_map(Event::Fail),
        1 => Just(Event::Comreset),
        2 => Just(Event::PowerCycle),
    ]
}

fn power_on(capacity_control: CapacityControl) -> Rig {
    let config =
        DiskConfig { capacity_control, physical_sector_bytes: 4096, ..DiskConfig::default() };
    Setup { config, ..Setup::default() }.build()
}

/// What a host sees of the state that outlives power, right after power-on.
fn sight(rig: &mut Rig) -> Vec<u16> {
    let words = rig.identify();
    [60, 61, 82, 83, 85, 92, 100, 101, 119, 128].map(|word| words[word]).to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_state_can_be_taken_up_again_and_means_the_same(
        is_successor in any::<bool>(),
        events in prop::collection::vec(any_event(), 1..80),
    ) {
        let control = match is_successor {
            true => CapacityControl::AccessibleMaxAddress,
            false => CapacityControl::HostProtectedArea,
        };
        let mut rig = power_on(control);
        for event in events {
            rig.now = rig.now.plus(1_000);
            match event {
                Event::Command(slot, fis, word) => {
                    let memory = &mut rig.host.memory[usize::from(slot)];
                    memory[..512].fill(0);
                    memory[0] = word & 1;
                    memory[1] = word >> 1;
                    rig.issue(slot, fis);
                }
                Event::SetMax(is_ext, lba, keep) => {
                    rig.issue(0, if is_ext { at48(0x27, 0, 0) } else { command(0xf8) });
                    rig.issue(0, if is_ext { at48(0x37, lba, keep) } else { at28(0xf9, lba, keep) });
                }
                Event::Hang(hangs) => rig.ram().hangs = hangs,
                Event::Fail(fails) => {
                    rig.ram().fails = fails.then_some((OpKind::WriteZeroes, 0, IoError::Os(5)));
                }
                Event::Comreset => rig.disk.comreset(rig.now, &mut rig.host),
                Event::PowerCycle => {
                    let state = rig.disk.saved_state(rig.now).expect("a state");
                    let data = rig.ram().data.clone();
                    rig = power_on(control);
                    rig.ram().data = data;
                    rig.disk.restore(&state).expect("restored");
                    let seen = sight(&mut rig);
                    let again = rig.disk.saved_state(rig.now).expect("a state");
                    let mut other = power_on(control);
                    other.disk.restore(&again).expect("restored");
                    prop_assert_eq!(sight(&mut other), seen);
                }
            }
            rig.settle();
        }
    }
}
