//! Whatever a guest does to a port with a port multiplier: no panic, the engines' tables agree, and
//! afterwards every disk works.

use freewheel_ahci::pmp::*;
use freewheel_ahci::registers::*;
use freewheel_sim::{Command, Driver, ResetWay};
use proptest::prelude::*;

use crate::support::*;

#[derive(Clone, Debug)]
enum Event {
    Port(u32, u32),
    /// A command to any PM port; header, FIS and PxFBS.DEV may disagree.
    Issue {
        slot: u8,
        opcode: u8,
        pm_port: u8,
        header: Option<u8>,
        selected: Option<u8>,
        lba: u64,
        control: Option<u8>,
    },
    /// READ or WRITE PORT MULTIPLIER.
    Register {
        port: u8,
        register: u16,
        write: Option<u32>,
    },
    Enable,
    ErrorClear,
    Poll,
    Hold(u8, bool),
    Complete(u8, usize),
    Fail(u8),
    Reset(usize),
    BringUp,
    Unplug(u8),
    Plug(u8),
    Unmap(bool),
}

fn event() -> impl Strategy<Value = Event> {
    let registers =
        proptest::sample::select(vec![PX_FB, PX_CMD, PX_SCTL, PX_SACT, PX_CI, PX_SNTF, PX_FBS]);
    let value = prop_oneof![any::<u32>(), (0u32..32).prop_map(|bit| 1 << bit), Just(0u32)];
    let opcode = proptest::sample::select(vec![
        0x25u8, 0x35, 0x60, 0x61, 0x60, 0x61, 0xea, 0xec, 0x2f, 0xe4, 0xe8, 0x00,
    ]);
    let maybe_port = || proptest::option::weighted(0.1, 0u8..16);
    let control = proptest::option::weighted(0.15, prop_oneof![Just(4u8), Just(0u8), any::<u8>()]);
    let pm_port = prop_oneof![8 => 0u8..4, 2 => Just(CONTROL_PORT), 1 => 0u8..16];
    let issue = (0u8..32, opcode, pm_port, maybe_port(), maybe_port(), 0u64..300, control)
        .prop_map(|(slot, opcode, pm_port, header, selected, lba, control)| Event::Issue {
            slot,
            opcode,
            pm_port,
            header,
            selected,
            lba,
            control,
        });
    let register = prop_oneof![0u16..4, Just(32), Just(33), Just(64), Just(96), any::<u16>()];
    let det = prop_oneof![Just(0x300u32), Just(0x301), Just(0x304), any::<u32>()];
    let write = proptest::option::of(det);
    let port = prop_oneof![4 => 0u8..5, 1 => Just(CONTROL_PORT)];
    prop_oneof![
        2 => (registers, value).prop_map(|(at, value)| Event::Port(at, value)),
        10 => issue,
        4 => (port, register, write)
            .prop_map(|(port, register, write)| Event::Register { port, register, write }),
        2 => Just(Event::Enable),
        2 => Just(Event::ErrorClear),
        4 => Just(Event::Poll),
        1 => (0u8..4, any::<bool>()).prop_map(|(port, held)| Event::Hold(port, held)),
        3 => (0u8..4, any::<usize>()).prop_map(|(port, index)| Event::Complete(port, index)),
        1 => (0u8..4).prop_map(Event::Fail),
        1 => (0..ResetWay::ALL.len()).prop_map(Event::Reset),
        2 => Just(Event::BringUp),
        1 => (0u8..4).prop_map(Event::Unplug),
        1 => (0u8..4).prop_map(Event::Plug),
        1 => any::<bool>().prop_map(Event::Unmap),
    ]
}

fn issue(rig: &mut Rig, slot: u8, command: &Command, selected: Option<u8>) {
    rig.driver.prepare(&rig.machine, slot, command);
    rig.driver.select(&mut rig.machine, selected.unwrap_or(command.fis.pm_port));
    let queued = u32::from(command.queued) << slot;
    rig.driver.ring(&mut rig.machine, 1 << slot, queued);
}

fn apply(rig: &mut Rig, event: Event) {
    match event {
        Event::Port(register, value) => rig.driver.write(&mut rig.machine, register, value),
        Event::Issue { slot, opcode, pm_port, header, selected, lba, control } => {
            let mut command = match opcode {
                0x60 | 0x61 => Command::read_queued(lba, 4, SECTOR),
                _ => Command::read_dma(lba, 4, SECTOR),
            };
            command.fis.command = opcode;
            command = command.to_port(pm_port);
            command.pm_port = header.unwrap_or(pm_port);
            if let Some(control) = control {
                command.fis.is_command = false;
                command.fis.control = control;
                command.clear_busy = control & 4 != 0;
                command.queued = false;
            }
            issue(rig, slot, &command, selected);
        }
        Event::Register { port, register, write } => {
            let opcode = if write.is_some() { WRITE_PORT_MULTIPLIER } else { READ_PORT_MULTIPLIER };
            let mut command = Command::without_data(opcode).to_port(CONTROL_PORT);
            let value = write.unwrap_or(0);
            (command.fis.device, command.fis.features) = (port, register);
            (command.fis.count, command.fis.lba) = ((value & 0xff) as u16, u64::from(value >> 8));
            issue(rig, 31, &command, None);
        }
        Event::Enable => {
            rig.driver.enable_switching(&mut rig.machine);
        }
        Event::ErrorClear => {
            rig.driver.clear_device_error(&mut rig.machine);
        }
        Event::Poll => rig.machine.poll(),
        Event::Hold(port, held) => {
            if let Some(disk) = &rig.disks[usize::from(port)] {
                disk.hold(held);
            }
        }
        Event::Complete(port, index) => {
            if let Some(disk) = &rig.disks[usize::from(port)] {
                let count = disk.pending().len();
                if count > 0 {
                    disk.complete(index % count);
                }
            }
        }
        Event::Fail(port) => {
            if let Some(disk) = &rig.disks[usize::from(port)]
                && !disk.pending().is_empty()
            {
                disk.fail(0, freewheel_block::IoError::Os(5));
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
        Event::Unplug(port) => {
            let now = rig.machine.now();
            if rig.machine.hba.unplug_behind(0, port, now, &rig.machine.ram).is_some() {
                rig.disks[usize::from(port)] = None;
            }
        }
        Event::Plug(port) => {
            let disk = memory_disk();
            let now = rig.machine.now();
            let device = new_device(&disk);
            if rig.machine.hba.plug_behind(0, port, device, now, &rig.machine.ram).is_ok() {
                rig.disks[usize::from(port)] = Some(disk);
            }
        }
        Event::Unmap(true) => rig.machine.ram.unmap_all(),
        Event::Unmap(false) => rig.machine.ram.map_all(),
    }
}

/// What holds of the port after any event. `bare`: software has written PxCI or PxSACT by itself, so that
/// a queued command may have been issued without its bit in PxSACT (against 3.3.13). Nothing in the
/// port's registers then says that the device has it, until all that is there has ended.
fn check(rig: &mut Rig, bare: &mut bool) {
    rig.check();
    let (ci, sact, cmd) = (rig.px(PX_CI), rig.px(PX_SACT), rig.px(PX_CMD));
    assert!(ci == 0 || cmd & 1 != 0, "commands in a list that stands");
    let owned = (0..rig.disks.len() as u8).map(|port| rig.behind(port).slots);
    let shared = owned.fold((0, 0), |(seen, twice), slots| (seen | slots, twice | seen & slots));
    assert_eq!(shared.1, 0, "a slot belongs to one device");
    assert_eq!(shared.0 & !(ci | sact), 0);
    // Nothing lives in a device that the port has forgotten.
    let mut working = None;
    for port in 0..rig.disks.len() as u8 {
        let engine = rig.behind(port).engine;
        let live = engine.is_some_and(|engine| !engine.operations.is_empty());
        working = working.or(live.then_some(port));
    }
    *bare &= working.is_some();
    if let Some(port) = working {
        assert!(ci | sact != 0 || *bare, "device {port} works for nobody");
    }
    let (fbs, dev) = (rig.px(PX_FBS), rig.driver.device_with_error(&mut rig.machine));
    assert!(dev.is_none() || fbs & 1 != 0, "an error of a device without switching");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn any_guest_of_a_port_multiplier_is_survived(
        events in proptest::collection::vec(event(), 1..120),
        switched in any::<bool>(),
    ) {
        let mut rig = if switched { Rig::switched(4) } else { Rig::enumerated(4) };
        let mut bare = false;
        for event in events {
            bare |= matches!(event, Event::Port(PX_CI | PX_SACT, _));
            apply(&mut rig, event);
            check(&mut rig, &mut bare);
        }
        // And afterwards all of them are disks again.
        rig.machine.ram.map_all();
        for disk in rig.disks.iter().flatten() {
            disk.hold(false);
            disk.complete_all();
        }
        freewheel_sim::reset_hba(&mut rig.machine);
        rig.driver = Driver::new(0);
        rig.driver.bring_up(&mut rig.machine);
        rig.enumerate();
        prop_assert!(rig.driver.enable_switching(&mut rig.machine));
        for port in 0..4u8 {
            if rig.disks[usize::from(port)].is_none() {
                continue;
            }
            rig.verify(port, port, 128);
            let engine = rig.behind(port).engine.expect("an engine");
            prop_assert_eq!(engine.free_slots, engine.slots);
        }
        let mut neighbour = Driver::new(1);
        prop_assert!(neighbour.bring_up(&mut rig.machine));
        prop_assert!(neighbour.identify(&mut rig.machine, AMPLE_NS).is_ok());
    }
}
