//! A disk on its cable: any commands with any data, in any slot, over storage that does anything,
//! with resets in between.
//!
//! Judged at once, within each call: every FIS ends something that has not ended (the [`Ledger`]),
//! and data moves for live commands only (C3). After each reset no command is live (C1), and after
//! each event the engine's tables agree. At the end the storage works again: then every command has
//! ended, but for those that a sleeping disk did not hear.

use freewheel_ata::fis::{DeviceFis, RegisterH2D};
use freewheel_ata::{CapacityControl, Device, Disk, DiskConfig, Link, LinkError, command_name};
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::MemoryDisk;

use crate::ledger::Ledger;
use crate::{Input, Writer, storage};

/// The most bytes of host memory behind a slot.
const MEMORY_MAX_BYTES: usize = 64 << 10;
/// Polls after which a disk on storage that works has come to rest.
const PATIENCE: usize = 20_000;

/// The controller's side of the cable.
#[derive(Default)]
struct Host {
    memory: Vec<Vec<u8>>,
    ledger: Ledger,
    fises: usize,
    /// How the next transfer fails.
    fault: Option<LinkError>,
}

impl Host {
    fn moves(&mut self, slot: u8) -> Result<&mut Vec<u8>, LinkError> {
        let bit = 1u32.checked_shl(slot.into()).unwrap_or(0);
        assert_ne!((self.ledger.unqueued | self.ledger.queued) & bit, 0, "data for the dead");
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => self.memory.get_mut(usize::from(slot)).ok_or(LinkError::HostBus),
        }
    }
}

fn span(memory: &mut [u8], offset: u64, len: usize) -> Result<&mut [u8], LinkError> {
    let start = usize::try_from(offset).map_err(|_| LinkError::Overflow)?;
    let end = start.checked_add(len).ok_or(LinkError::Overflow)?;
    memory.get_mut(start..end).ok_or(LinkError::Overflow)
}

impl Link for Host {
    fn data_in(&mut self, slot: u8, offset: u64, data: &[u8]) -> Result<(), LinkError> {
        span(self.moves(slot)?, offset, data.len())?.copy_from_slice(data);
        Ok(())
    }

    fn data_out(&mut self, slot: u8, offset: u64, data: &mut [u8]) -> Result<(), LinkError> {
        data.copy_from_slice(span(self.moves(slot)?, offset, data.len())?);
        Ok(())
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        self.fises += 1;
        self.ledger.take(slot, &fis);
    }
}

struct World {
    disk: Disk,
    host: Host,
    storage: MemoryDisk,
    now: Nanos,
    held: bool,
}

impl World {
    fn new(input: &mut Input) -> Self {
        let [bits, align, shape] = input.array();
        let sector_bytes = if shape & 1 != 0 { 4096 } else { 512 };
        let storage = storage::disk(bits, align, sector_bytes);
        let config = EngineConfig {
            slots: [2, 4, 16][usize::from(shape >> 1) % 3],
            buf_bytes: 8192,
            window: 2,
            ..EngineConfig::default()
        };
        let engine = Engine::new(Box::new(storage.clone()), config);
        let config = DiskConfig {
            logical_sector_bytes: sector_bytes,
            queue_depth: if shape & 8 != 0 { 31 } else { 32 },
            write_cache: shape & 16 == 0,
            capacity_control: match shape & 32 {
                0 => CapacityControl::HostProtectedArea,
                _ => CapacityControl::AccessibleMaxAddress,
            },
            wwn: Some(0x5000_c500_1234_5678),
            ..DiskConfig::default()
        };
        let disk = Disk::new(config, engine).expect("a good configuration");
        let host = Host { memory: vec![vec![0; 4096]; 32], ..Host::default() };
        Self { disk, host, storage, now: Nanos(1), held: false }
    }

    fn event(&mut self, input: &mut Input) {
        self.now = self.now.plus(1_000);
        match input.u8() % 16 {
            0 => {
                let slot = input.u8();
                self.command(slot, any_command(input));
            }
            1..=4 => {
                let slot = input.u8() % 32;
                self.command(slot, likely_command(input));
            }
            5 | 6 => {
                let tag = input.u8();
                self.command(tag % 32, queued(tag, input));
            }
            7 => {
                let [slot, offset, len] = input.array();
                let data = input.slice(len.into());
                if let Some(memory) = self.host.memory.get_mut(usize::from(slot) % 32)
                    && let Ok(place) = span(memory, u64::from(offset) * 4, data.len())
                {
                    place.copy_from_slice(data);
                }
            }
            8 => {
                let slot = usize::from(input.u8()) % 32;
                let len = usize::from(input.u16()).min(MEMORY_MAX_BYTES);
                self.host.memory[slot].resize(len, 0xa5);
            }
            9 => {
                let faults = [LinkError::Overflow, LinkError::HostBus, LinkError::Crc];
                self.host.fault = faults.get(usize::from(input.u8() % 4)).copied();
            }
            10 => storage::event(&self.storage, input),
            11 | 12 => self.disk.poll(self.now, &mut self.host),
            13 => {
                let [value, shift] = input.array();
                self.now = self.now.plus(u64::from(value) << (shift % 48));
            }
            14 => self.control(input.u8()),
            _ => self.reset(input.u8()),
        }
        self.disk.engine().assert_consistent();
    }

    fn command(&mut self, slot: u8, fis: RegisterH2D) {
        let packet = [fis.features as u8; 16];
        let is_taken = !self.held && self.host.ledger.send(slot);
        let before = self.host.fises;
        self.disk.execute(slot, &fis, &packet, self.now, &mut self.host);
        assert!(is_taken || self.host.fises == before, "an answer to what was not taken");
    }

    fn control(&mut self, control: u8) {
        let was_held = std::mem::replace(&mut self.held, control & 4 != 0);
        let before = self.host.fises;
        if self.held {
            self.host.ledger = Ledger::default();
        }
        self.disk.control(control, self.now, &mut self.host);
        let signatures = usize::from(was_held && !self.held);
        assert_eq!(self.host.fises - before, signatures, "a signature once SRST is clear");
        if self.held {
            self.assert_nothing_live();
        }
    }

    fn reset(&mut self, how: u8) {
        let live = self.host.ledger.unqueued | self.host.ledger.queued;
        self.host.ledger = Ledger::default();
        let before = self.host.fises;
        if how & 1 != 0 {
            self.held = false;
            self.disk.comreset(self.now, &mut self.host);
            assert_eq!(self.host.fises - before, 1, "a signature");
        } else {
            let count = self.disk.abort_all(self.now);
            assert_eq!(count as u32, live.count_ones(), "every command was aborted");
            assert_eq!(self.host.fises, before, "none was answered");
        }
        self.assert_nothing_live();
    }

    /// C1: a reset leaves no command that could still be answered. What the disk does for itself
    /// has other tags than the slots.
    fn assert_nothing_live(&self) {
        let status = self.disk.engine().status(self.now);
        let live = status.operations.iter().find(|operation| operation.tag < 32);
        assert_eq!(live, None, "an operation outlived a reset");
    }

    /// The storage works from now on.
    fn finish(mut self) {
        self.storage.hold(false);
        self.storage.complete_all();
        self.host.fault = None;
        let at_rest = (0..PATIENCE).any(|_| {
            self.disk.poll(self.now, &mut self.host);
            let due = self.disk.next_wakeup();
            self.now = due.unwrap_or_default().max(self.now.plus(1_000));
            due.is_none()
        });
        assert!(at_rest, "the disk never comes to rest");
        self.disk.engine().assert_consistent();
        let ledger = std::mem::take(&mut self.host.ledger);
        assert_eq!(ledger.queued, 0, "a queued command never ends");
        if ledger.unqueued != 0 && !self.held {
            let slot = (!ledger.unqueued).trailing_zeros() as u8;
            let before = self.host.fises;
            self.command(slot % 32, likely(0xec));
            assert_eq!(self.host.fises, before, "only sleep leaves a command without an end");
        }
        self.host.ledger = Ledger::default();
        let left = self.disk.abort_all(self.now);
        assert!(left <= 32);
        self.assert_nothing_live();
        let status = self.disk.engine().status(self.now);
        assert_eq!(status.free_slots, status.slots, "every slot came back");
    }
}

fn likely(opcode: u8) -> RegisterH2D {
    RegisterH2D { is_command: true, command: opcode, device: 0x40, ..RegisterH2D::default() }
}

fn any_command(input: &mut Input) -> RegisterH2D {
    let [command, device, icc, control, lba @ ..] = input.array::<12>();
    RegisterH2D {
        features: input.u16(),
        lba: u64::from_le_bytes(lba) & 0xffff_ffff_ffff,
        device,
        count: input.u16(),
        icc,
        control,
        auxiliary: input.u32(),
        ..likely(command)
    }
}

/// A command that the disk knows, with small numbers.
fn likely_command(input: &mut Input) -> RegisterH2D {
    let [command, features, count] = input.array();
    let command = (0..=u8::MAX)
        .map(|skip| command.wrapping_add(skip))
        .find(|opcode| command_name(*opcode).is_some())
        .unwrap_or(command);
    let lba = input.u16().into();
    RegisterH2D { features: features.into(), count: count.into(), lba, ..likely(command) }
}

fn queued(tag: u8, input: &mut Input) -> RegisterH2D {
    let [opcode, sectors, device] = input.array();
    let lba = input.u16().into();
    RegisterH2D {
        // 60h to 65h: the queued commands, those that this disk lacks among them.
        command: 0x60 + opcode % 6,
        features: sectors.into(),
        count: u16::from(tag) << 3,
        lba,
        device: 0x40 | device & 0x80,
        auxiliary: device.into(),
        ..likely(0)
    }
}

/// One input: what the disk is like, then events.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.event(&mut input);
    }
    world.finish();
}

const SHAPE: [u8; 3] = [4, 1, 0];
const POLL: u8 = 11;

/// A command in slot 0, and its end.
fn one(opcode: u8, features: u8, count: u8, lba: u8) -> Vec<u8> {
    one_after(&[], opcode, features, count, lba)
}

/// The same, with `events` first.
fn one_after(events: &[u8], opcode: u8, features: u8, count: u8, lba: u8) -> Vec<u8> {
    Writer::default()
        .bytes(&SHAPE)
        .bytes(events)
        .bytes(&[1, 0, opcode, features, count, lba, 0, POLL, POLL])
        .finish()
}

/// Each command on its own, and the stories that a mutation would take long to find.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const NAMES: [&str; 16] = [
        "0x", "1x", "2x", "3x", "4x", "5x", "6x", "7x", "8x", "9x", "ax", "bx", "cx", "dx", "ex",
        "fx",
    ];
    let hold = [10, 1];
    let let_go = [10, 0];
    let queue: Vec<u8> = (0..8).flat_map(|tag| [5, tag, tag % 2, 8, 0, tag * 8, 0]).collect();
    let story = |parts: &[&[u8]]| {
        parts.iter().fold(Writer::default().bytes(&SHAPE), |all, part| all.bytes(part)).finish()
    };
    let mut seeds: Vec<(&str, Vec<u8>)> = Vec::new();
    // All commands with the same upper half, one after the other.
    for (high, name) in (0..16u8).zip(NAMES) {
        let opcodes = (0..16).map(|low| high << 4 | low);
        let known = opcodes.filter(|opcode| command_name(*opcode).is_some());
        let events: Vec<u8> = known.flat_map(|it| [1, 0, it, 0, 1, 5, 0, POLL, POLL]).collect();
        if !events.is_empty() {
            seeds.push((name, story(&[&events])));
        }
    }
    // A range of 8 sectors at LBA 16, for DATA SET MANAGEMENT.
    let range = [7, 0, 0, 8, 16, 0, 0, 0, 0, 0, 8, 0];
    seeds.extend([
        ("trim", one_after(&range, 0x06, 1, 1, 0)),
        ("log", one(0x2f, 0, 1, 0x30)),
        ("no-cache", one(0xef, 0x82, 0, 0)),
        ("queue", story(&[&queue, &[POLL, POLL]])),
        ("late", story(&[&hold, &queue, &[POLL, 15, 1], &queue, &let_go, &[POLL, POLL]])),
        ("twice", story(&[&hold, &queue, &[10, 36, 0, POLL, 10, 35, 1, POLL], &let_go, &[POLL]])),
        ("wrong", story(&[&hold, &queue, &[10, 37, 0, POLL, 1, 0, 0x2f, 0, 1, 0x10, 0, POLL]])),
        ("soft-reset", story(&[&hold, &queue, &[14, 4, POLL, 14, 0], &let_go, &[POLL]])),
        ("stop", story(&[&hold, &queue, &[15, 0], &queue, &[15, 0], &let_go, &[POLL]])),
        ("sleep", story(&[&[1, 0, 0xe6, 0, 0, 0, 0, POLL, 1, 0, 0xec, 0, 0, 0, 0, 15, 1]])),
        ("link", story(&[&[9, 2], &queue, &[POLL, 9, 0, 1, 0, 0xec, 0, 0, 0, 0]])),
    ]);
    seeds
}
