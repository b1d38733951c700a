//! Whatever a guest writes to registers and memory: no panic, and the engine's tables agree.

use freewheel_ahci::registers::*;
use freewheel_sim::{Command, Driver, Layout, ResetWay};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Event {
    /// Bytes anywhere in register space.
    Write(u64, Vec<u8>),
    /// A whole register of the port.
    Port(u32, u32),
    Read(u64, usize),
    Poll,
    /// A command, with some of its header and FIS replaced by noise.
    Issue {
        slot: u8,
        opcode: u8,
        count: u16,
        features: u16,
        lba: u64,
        flags: u32,
        prd: u64,
    },
    /// Bytes anywhere in the driver's structures.
    Poke(u64, u64),
    Hold(bool),
    Complete(usize),
    Twice(usize),
    Reset(usize),
    BringUp,
    Unmap(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..9);
    let port_registers = proptest::sample::select(vec![
        PX_CLB, PX_CLBU, PX_FB, PX_FBU, PX_IS, PX_IE, PX_CMD, PX_TFD, PX_SCTL, PX_SERR, PX_SACT,
        PX_CI, PX_SNTF, PX_FBS,
    ]);
    let value = prop_oneof![any::<u32>(), (0u32..32).prop_map(|bit| 1 << bit), Just(0u32)];
    let opcode = prop_oneof![
        any::<u8>(),
        proptest::sample::select(vec![
            0x06u8, 0x25, 0x35, 0x60, 0x61, 0x24, 0x34, 0xea, 0xec, 0x2f, 0xe6, 0xef
        ])
    ];
    let lba = prop_oneof![0u64..200, any::<u64>().prop_map(|lba| lba >> 16), Just(0x10u64)];
    let issue = (0u8..32, opcode, 0u16..300, 0u16..64, lba, any::<u32>(), any::<u64>()).prop_map(
        |(slot, opcode, count, features, lba, flags, prd)| Event::Issue {
            slot,
            opcode,
            count,
            features,
            lba,
            flags,
            prd,
        },
    );
    prop_oneof![
        2 => (0u64..0x1200, bytes).prop_map(|(at, bytes)| Event::Write(at, bytes)),
        3 => (port_registers, value).prop_map(|(at, value)| Event::Port(at, value)),
        1 => (any::<u64>(), 0usize..16).prop_map(|(at, len)| Event::Read(at, len)),
        1 => (0u64..0x400, 0usize..16).prop_map(|(at, len)| Event::Read(at, len)),
        3 => Just(Event::Poll),
        8 => issue,
        2 => (0u64..0x2_0000, any::<u64>()).prop_map(|(at, value)| Event::Poke(at, value)),
        1 => any::<bool>().prop_map(Event::Hold),
        3 => any::<usize>().prop_map(Event::Complete),
        1 => any::<usize>().prop_map(Event::Twice),
        1 => (0..ResetWay::ALL.len()).prop_map(Event::Reset),
        3 => Just(Event::BringUp),
        1 => any::<bool>().prop_map(Event::Unmap),
    ]
}

fn apply(rig: &mut Rig, event: Event) {
    match event {
        Event::Write(at, bytes) => rig.machine.write_bytes(at, &bytes),
        Event::Port(register, value) => rig.driver.write(&mut rig.machine, register, value),
        Event::Read(at, len) => rig.machine.read_bytes(at, &mut vec![0; len]),
        Event::Poll => rig.machine.poll(),
        Event::Issue { slot, opcode, count, features, lba, flags, prd } => {
            let mut command = Command::write_dma(lba, count, SECTOR);
            command.fis.command = opcode;
            command.fis.features = features;
            command.queued = matches!(opcode, 0x60 | 0x61) && flags & 0xf != 0;
            command.fis.is_command = flags & 0xf0 != 0;
            command.fis.control = (flags >> 8) as u8;
            command.clear_busy = flags & 1 << 16 != 0;
            if flags & 0xe0000 == 0 {
                command.fis_dwords = (flags >> 24) as u8;
            }
            if flags & 0x70_0000 == 0 {
                let address = prd >> (prd % 64);
                let len_bytes = (prd as u32 & 0xfff) + 1;
                command.prdt = Some(vec![freewheel_sim::PrdtEntry { address, len_bytes }; 5]);
            }
            // Slot buffers have 64 KiB; longer transfers run on into those behind, all in memory.
            command.data_bytes = command.data_bytes.clamp(512, 128 << 10);
            let address_fits = command
                .prdt
                .iter()
                .flatten()
                .all(|entry| entry.address.checked_add(u64::from(entry.len_bytes)).is_some());
            if address_fits {
                rig.driver.issue(&mut rig.machine, slot, &command);
            }
        }
        Event::Poke(at, value) => {
            let base = Layout::of_port(0).list();
            rig.machine.ram.poke(base + at, &value.to_le_bytes());
        }
        Event::Hold(held) => rig.disk.hold(held),
        Event::Complete(index) => {
            let count = rig.disk.pending().len();
            if count > 0 {
                rig.disk.complete(index % count);
            }
        }
        Event::Twice(index) => {
            let count = rig.disk.pending().len();
            if count > 0 {
                rig.disk.complete_twice(index % count);
            }
        }
        Event::Reset(index) => {
            let way = ResetWay::ALL[index];
            let outcome = rig.driver.reset(&mut rig.machine, way);
            assert!(outcome.ended || !way.is_global(), "{way:?} ended");
            rig.driver.come_back(&mut rig.machine, way);
        }
        Event::BringUp => {
            rig.driver.bring_up(&mut rig.machine);
        }
        Event::Unmap(unmap) => {
            if unmap {
                rig.machine.ram.unmap_all()
            } else {
                rig.machine.ram.map_all()
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_guest_is_survived(
        events in proptest::collection::vec(event(), 1..80),
        noise in any::<u64>(),
    ) {
        let mut rig = Rig::new();
        // Structures full of noise, so that a pointer to anywhere finds something.
        let base = Layout::of_port(0).scratch().start;
        let mut word = noise | 1;
        for at in (0..0x4000).step_by(8) {
            word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(17) ^ noise;
            rig.machine.ram.poke(base + at, &word.to_le_bytes());
        }
        for event in events {
            apply(&mut rig, event);
            rig.check();
            let ci = rig.driver.read(&mut rig.machine, PX_CI);
            let cmd = PxCmd::from_bits_truncate(rig.driver.read(&mut rig.machine, PX_CMD));
            prop_assert!(ci == 0 || cmd.contains(PxCmd::ST), "commands in a list that stands");
        }
        // And afterwards it is a disk again.
        rig.machine.ram.map_all();
        rig.disk.hold(false);
        let mut driver = Driver::new(0);
        driver.power_on(&mut rig.machine, AMPLE_NS).expect("it identifies itself");
        rig.driver = driver;
        rig.disk.complete_all();
        rig.write(100_000, &pattern(100_000, 8));
        prop_assert_eq!(rig.read(100_000, 8), pattern(100_000, 8));
        let status = rig.status();
        prop_assert_eq!(status.free_slots, status.slots);
    }
}
