//! Whatever a host sends, in whatever order, each command ends exactly once.

use freewheel_ata::Device;
use freewheel_ata::fis::RegisterH2D;
use freewheel_block::{EngineConfig, IoError, OpKind};
use proptest::prelude::*;

use crate::ledger::Ledger;
use crate::support::*;

#[derive(Clone, Debug)]
enum Event {
    Command(u8, RegisterH2D),
    Memory(u8, usize),
    Hang(bool),
    Fail(Option<OpKind>),
    Poll,
    Pass(u64),
    Control(u8),
    Comreset,
    AbortAll,
}

fn any_fis() -> impl Strategy<Value = RegisterH2D> {
    let opcode = prop_oneof![
        1 => any::<u8>(),
        3 => prop::sample::select((0..=255).filter(|it| freewheel_ata::command_name(*it).is_some()).collect::<Vec<u8>>()),
    ];
    let lba = prop_oneof![4 => 0u64..2100, 1 => 0u64..1 << 48];
    let small = || prop_oneof![4 => 0u16..20, 1 => any::<u16>()];
    (opcode, small(), lba, prop_oneof![3 => Just(0x40u8), 1 => any::<u8>()], small(), any::<u32>())
        .prop_map(|(command, features, lba, device, count, rest)| RegisterH2D {
            pm_port: rest as u8 & 15,
            is_command: true,
            command,
            features,
            lba,
            device,
            count,
            icc: (rest >> 8) as u8,
            control: (rest >> 16) as u8,
            auxiliary: rest,
        })
}

/// SMART and log commands that mostly make sense.
fn any_smart() -> impl Strategy<Value = RegisterH2D> {
    let log = prop_oneof![4 => prop::sample::select(vec![0u8, 1, 2, 3, 4, 6, 7, 9, 0x10, 0x11, 0x30, 0x80, 0x9f]), 1 => any::<u8>()];
    let test = prop::sample::select(vec![0u8, 1, 2, 3, 4, 0x7f, 0x81, 0x82, 0x84, 0xff]);
    let smart = |low: u8, features: u16, count: u16| {
        let lba = 0xc2_4f00 | u64::from(low);
        RegisterH2D { lba, features, count, ..command(0xb0) }
    };
    prop_oneof![
        2 => (test).prop_map(move |test| smart(test, 0xd4, 0)),
        2 => (log.clone(), 0xcfu16..0xdd, 0u16..8).prop_map(move |(log, features, count)| smart(log, features, count)),
        2 => (log, prop::sample::select(vec![0x2fu8, 0x47, 0x3f, 0x57]), 0u64..20, 0u16..20).prop_map(
            |(log, opcode, page, count)| at48(opcode, page << 8 | u64::from(log), count)
        ),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    let slot = || prop_oneof![8 => 0u8..32, 1 => any::<u8>()];
    prop_oneof![
        6 => (slot(), any_fis()).prop_map(|(slot, fis)| Event::Command(slot, fis)),
        10 => (0u8..32, any::<bool>(), 0u64..2060, 1u16..40).prop_map(|(tag, write, lba, count)| {
            Event::Command(tag, queued(if write { 0x61 } else { 0x60 }, tag, lba, count))
        }),
        3 => (0u8..32, 0x63u8..0x66, 0u16..4, any::<u16>(), 0u64..2060, 0u32..2).prop_map(
            |(tag, opcode, subcommand, features, lba, auxiliary)| {
                let features = if opcode == 0x63 { features & 0x33f7 } else { features % 9 };
                let count = subcommand << 8 | u16::from(tag) << 3;
                let fis = RegisterH2D { features, count, auxiliary, ..at48(opcode, lba, 0) };
                Event::Command(tag, fis)
            }
        ),
        2 => Just(Event::Command(0, at48(0x2f, 0x10, 1))),
        3 => (slot(), any_smart()).prop_map(|(slot, fis)| Event::Command(slot, fis)),
        1 => (1u64..200_000_000).prop_map(Event::Pass),
        1 => (0u8..32, 0usize..40_000).prop_map(|(slot, len)| Event::Memory(slot, len)),
        2 => any::<bool>().prop_map(Event::Hang),
        1 => prop::option::of(prop::sample::select(vec![OpKind::Read, OpKind::Write, OpKind::Flush, OpKind::Discard])).prop_map(Event::Fail),
        8 => Just(Event::Poll),
        1 => any::<u8>().prop_map(Event::Control),
        1 => Just(Event::Comreset),
        1 => Just(Event::AbortAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn each_command_ends_once_or_by_a_reset(events in prop::collection::vec(any_event(), 1..80)) {
        let engine = EngineConfig { slots: 4, buf_bytes: 8192, window: 2, ..EngineConfig::default() };
        let mut rig = Setup { engine, ..Setup::default() }.build();
        for memory in &mut rig.host.memory {
            memory.truncate(40_000);
        }
        let mut ledger = Ledger::default();
        let mut held = false;
        for event in events {
            rig.now = rig.now.plus(1_000);
            match event {
                Event::Command(slot, fis) => {
                    let bit = 1u32.checked_shl(slot.into()).unwrap_or(0);
                    let is_taken = !held && ledger.send(slot);
                    let was_queued = ledger.queued & bit;
                    let before = rig.host.fises.len();
                    rig.issue(slot, fis);
                    if !is_taken {
                        prop_assert_eq!(rig.host.fises.len(), before);
                    } else if was_queued != 0 {
                        // Refused, and the one that had the tag went with it.
                        prop_assert_eq!(rig.host.fises.len(), before + 1);
                    }
                }
                Event::Memory(slot, len) => rig.host.memory[usize::from(slot)].resize(len, 1),
                Event::Hang(hangs) => rig.ram().hangs = hangs,
                Event::Fail(kind) => {
                    rig.ram().fails = kind.map(|kind| (kind, 512 * 40, IoError::Os(5)));
                }
                Event::Pass(ns) => rig.now = rig.now.plus(ns),
                Event::Poll => rig.disk.poll(rig.now, &mut rig.host),
                Event::Control(control) => {
                    let was_held = std::mem::replace(&mut held, control & 4 != 0);
                    rig.disk.control(control, rig.now, &mut rig.host);
                    prop_assert_eq!(rig.host.fises.len(), usize::from(was_held && !held));
                    if held {
                        ledger = Ledger::default();
                    }
                }
                Event::Comreset => {
                    rig.disk.comreset(rig.now, &mut rig.host);
                    prop_assert_eq!(rig.host.fises.len(), 1);
                    held = false;
                    ledger = Ledger::default();
                }
                Event::AbortAll => {
                    let count = rig.disk.abort_all(rig.now);
                    prop_assert_eq!(count as u32, (ledger.unqueued | ledger.queued).count_ones());
                    ledger = Ledger::default();
                }
            }
            rig.disk.engine().assert_consistent();
            for (slot, fis) in rig.fises() {
                ledger.take(slot, &fis);
            }
        }
        // Once the storage works again, nothing is left but what a sleeping disk does not hear.
        rig.ram().hangs = false;
        rig.settle();
        for (slot, fis) in rig.fises() {
            ledger.take(slot, &fis);
        }
        prop_assert_eq!(ledger.queued, 0);
        let left = rig.disk.abort_all(rig.now) as u32;
        prop_assert_eq!(left, ledger.unqueued.count_ones());
        if left > 0 {
            rig.issue(0, command(0xec));
            prop_assert!(rig.fises().is_empty(), "only sleep leaves a command without an end");
        }
    }
}
