//! A controller with a disk, another disk and an empty port: any register accesses, any memory, any
//! storage, link faults and resets.
//!
//! After each event, as the simulation's oracle does: the engines' tables agree; PxCMD.CR follows
//! ST; a port that is stopped has no command in its registers, and none in its disk (C1); PxCI and
//! PxSACT only gain bits that were written; IS shows every port that has something to say; and
//! while no port runs, a poll writes no memory outside the received-FIS areas (C3). At the end the
//! storage works and software starts over: the disk identifies itself.

use std::cell::RefCell;

use freewheel_ahci::registers::*;
use freewheel_ahci::{BusError, GuestMemory, Hba, HbaConfig};
use freewheel_ata::fis::{RegisterH2D, TYPE_REGISTER_H2D};
use freewheel_ata::{Device, Disk, DiskConfig};
use freewheel_block::fault::LinkFault;
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::MemoryDisk;

use crate::{Input, Writer, storage};

/// Guest memory, from address 0.
const MEMORY_BYTES: usize = 64 << 10;
/// What software that behaves uses of it, per port: list, FIS area, then tables of 256 bytes.
const LIST: u64 = 0x1000;
const PORT_BYTES: u64 = 0x4000;
const FIS_AREA: u64 = 0x400;
const TABLES: u64 = 0x800;
/// Data of all, which overlaps at will.
const DATA: u64 = 0xa000;
const DISKS: usize = 2;
const PORT_COUNT: usize = 3;
/// Polls after which a disk on storage that works has answered.
const PATIENCE: usize = 20_000;

/// Memory that notes what is written outside some ranges.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    mapped: bool,
    /// While set: writes outside these FIS areas are not the controller's to make.
    quiet: Option<[u64; PORT_COUNT]>,
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let bytes = self.bytes.borrow();
        buf.copy_from_slice(&bytes[self.span(address, buf.len())?]);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        if let Some(areas) = self.quiet {
            let own = areas.iter().any(|area| (*area..area + 0x100).contains(&address));
            assert!(own, "{} bytes written at {address:#x} for nobody", data.len());
        }
        let span = self.span(address, data.len())?;
        self.bytes.borrow_mut()[span].copy_from_slice(data);
        Ok(())
    }
}

impl Memory {
    fn span(&self, address: u64, len: usize) -> Result<std::ops::Range<usize>, BusError> {
        let start = usize::try_from(address).unwrap_or(usize::MAX);
        match start.checked_add(len) {
            Some(end) if end <= MEMORY_BYTES && self.mapped => Ok(start..end),
            _ => Err(BusError { address }),
        }
    }

    fn poke(&self, address: u64, data: &[u8]) {
        let start = address as usize % MEMORY_BYTES;
        let len = data.len().min(MEMORY_BYTES - start);
        self.bytes.borrow_mut()[start..start + len].copy_from_slice(&data[..len]);
    }
}

struct World {
    hba: Hba,
    memory: Memory,
    disks: Vec<MemoryDisk>,
    now: Nanos,
    /// PxCI and PxSACT of each port after the last event.
    seen: [(u32, u32); PORT_COUNT],
}

impl World {
    fn new(input: &mut Input) -> Self {
        let [bits, align, shape] = input.array();
        let sector_bytes = if shape & 1 != 0 { 4096 } else { 512 };
        let disks: Vec<MemoryDisk> =
            (0..DISKS).map(|_| storage::disk(bits, align, sector_bytes)).collect();
        let device = |disk: &MemoryDisk| {
            let config = EngineConfig {
                slots: if shape & 2 != 0 { 2 } else { 8 },
                buf_bytes: 8192,
                window: 2,
                ..EngineConfig::default()
            };
            let engine = Engine::new(Box::new(disk.clone()), config);
            let config = DiskConfig { logical_sector_bytes: sector_bytes, ..DiskConfig::default() };
            let device = Disk::new(config, engine).expect("a good configuration");
            Some(Box::new(device) as Box<dyn Device>)
        };
        let mut devices: Vec<_> = disks.iter().map(device).collect();
        devices.push(None);
        let command_slots = if shape & 4 != 0 { 17 } else { 32 };
        #[allow(clippy::needless_update, reason = "a configuration may grow")]
        let config = HbaConfig { command_slots, ..HbaConfig::default() };
        let hba = Hba::new(config, devices, Nanos(1));
        let bytes = RefCell::new(vec![0; MEMORY_BYTES]);
        let memory = Memory { bytes, mapped: true, quiet: None };
        Self { hba, memory, disks, now: Nanos(2), seen: [(0, 0); PORT_COUNT] }
    }

    // --- what software does --------------------------------------------------------------------

    fn read(&mut self, offset: u32) -> u32 {
        let mut bytes = [0; 4];
        self.hba.mmio_read(offset.into(), &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.hba.mmio_write(offset, bytes, self.now, &self.memory);
    }

    fn write_port(&mut self, port: usize, register: u32, value: u32) {
        self.write(register_of(port, register).into(), &value.to_le_bytes());
    }

    fn read_port(&mut self, port: usize, register: u32) -> u32 {
        self.read(register_of(port, register))
    }

    fn bring_up(&mut self, port: usize) {
        self.write(GHC.into(), &(Ghc::AE | Ghc::IE).bits().to_le_bytes());
        self.write_port(port, PX_CMD, 0);
        self.write_port(port, PX_SCTL, 0);
        let base = base(port);
        self.write_port(port, PX_CLB, base as u32);
        self.write_port(port, PX_CLBU, 0);
        self.write_port(port, PX_FB, (base + FIS_AREA) as u32);
        self.write_port(port, PX_FBU, 0);
        let up = PxCmd::FRE | PxCmd::SUD | PxCmd::POD;
        self.write_port(port, PX_CMD, (up | PxCmd::CLO).bits());
        self.write_port(port, PX_SERR, u32::MAX);
        self.write_port(port, PX_IS, u32::MAX);
        self.write_port(port, PX_IE, u32::MAX);
        self.write_port(port, PX_CMD, (up | PxCmd::ST).bits());
    }

    /// Puts a command into the list and rings the doorbell.
    fn issue(&mut self, port: usize, slot: u8, fis: &RegisterH2D, shape: Shape) {
        let slot = slot % 32;
        let base = base(port);
        let table = base + TABLES + u64::from(slot) * 0x100;
        let flags = u32::from(shape.fis_dwords & 0x1f)
            | u32::from(shape.clear_busy) << 10
            | u32::from(shape.entries) << 16;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&table.to_le_bytes());
        self.memory.poke(base + u64::from(slot) * COMMAND_HEADER_BYTES, &header);
        let mut bytes = fis.encode();
        bytes[0] = shape.fis_type;
        self.memory.poke(table, &bytes);
        for entry in 0..u64::from(shape.entries.min(8)) {
            let mut prd = [0; 16];
            let address = DATA + entry * 0x400 + u64::from(shape.offset) * 2;
            prd[..8].copy_from_slice(&address.to_le_bytes());
            prd[12..].copy_from_slice(&u32::from(shape.entry_bytes).to_le_bytes());
            self.memory.poke(table + PRDT_OFFSET_BYTES as u64 + entry * 16, &prd);
        }
        if shape.queued {
            self.write_port(port, PX_SACT, 1 << slot);
        }
        self.write_port(port, PX_CI, 1 << slot);
    }

    // --- events --------------------------------------------------------------------------------

    fn event(&mut self, input: &mut Input) {
        self.now = self.now.plus(1_000);
        let what = input.u8() % 20;
        let mut written = [(0, 0); PORT_COUNT];
        match what {
            0 => {
                // Bytes anywhere: what they write to is not followed.
                let [low, high, len] = input.array();
                let offset = u64::from(u16::from_le_bytes([low, high])) % 0x1200;
                self.write(offset, input.slice(usize::from(len) % 17));
                written = [(u32::MAX, u32::MAX); PORT_COUNT];
            }
            1 | 2 => {
                let port = port(input.u8());
                let register = register_at(input.u8());
                let value = input.u32();
                self.write_port(port, register, value);
                note(&mut written[port], register, value);
            }
            3 => {
                let port = port(input.u8());
                let [register, bit] = input.array();
                let register = register_at(register);
                let value = self.read_port(port, register) ^ 1 << (bit % 32);
                self.write_port(port, register, value);
                note(&mut written[port], register, value);
            }
            4 => {
                let [low, high, len] = input.array();
                let mut bytes = [0; 256];
                let offset = u16::from_le_bytes([low, high]).into();
                self.hba.mmio_read(offset, &mut bytes[..usize::from(len)]);
                self.hba.mmio_read(input.u64(), &mut bytes[..8]);
            }
            5 => {
                let offset = input.u16().into();
                let len = input.u8().into();
                self.memory.poke(offset, input.slice(len));
            }
            6..=8 => {
                let port = port(input.u8());
                let [slot, opcode, count, lba, bits] = input.array();
                let (fis, shape) = command(slot, opcode, count, lba, bits, input);
                self.issue(port, slot, &fis, shape);
                written[port] = (1 << (slot % 32), 1 << (slot % 32));
            }
            9 => {
                let port = port(input.u8());
                let control = input.u8();
                let fis = RegisterH2D { control, ..RegisterH2D::default() };
                let clear_busy = control & 0x80 != 0;
                self.issue(port, control >> 3, &fis, Shape { clear_busy, ..Shape::default() });
                written[port] = (1 << (control >> 3), 0);
            }
            10 | 11 => self.bring_up(port(input.u8())),
            12 => {
                let disk = usize::from(input.u8()) % DISKS;
                storage::event(&self.disks[disk], input);
            }
            13 => {
                let [value, shift] = input.array();
                self.now = self.now.plus(u64::from(value) << (shift % 48));
            }
            14 => self.memory.mapped = input.u8() & 1 == 0,
            15 => self.link_fault(input),
            16 => self.reset(input.u8()),
            _ => {
                self.poll();
            }
        }
        self.check(&written);
    }

    fn poll(&mut self) {
        let running = (0..PORT_COUNT).any(|port| self.is_started(port));
        if !running {
            let areas = std::array::from_fn(|port| {
                let high = u64::from(self.read_port(port, PX_FBU)) << 32;
                high | u64::from(self.read_port(port, PX_FB))
            });
            self.memory.quiet = Some(areas);
        }
        self.hba.poll(self.now, &self.memory);
        self.memory.quiet = None;
    }

    fn link_fault(&mut self, input: &mut Input) {
        let [what, number, duration] = input.array();
        let fault = match what % 6 {
            0 => LinkFault::Drop(u64::from(duration) << 10),
            1 => LinkFault::Crc,
            2 => LinkFault::NoSignature,
            3 => return self.hba.clear_link_faults(),
            _ => {
                self.hba.release_link_faults(self.now, &self.memory);
                return;
            }
        };
        let port = usize::from(number) % 4;
        let known = port < DISKS;
        assert_eq!(self.hba.inject_link_fault(port, fault, self.now).is_ok(), known);
    }

    fn reset(&mut self, how: u8) {
        let port = usize::from(how >> 4) % PORT_COUNT;
        let resets = self.hba.resets_total();
        match how % 4 {
            0 => self.hba.reset_function(self.now),
            1 => self.write(GHC.into(), &(Ghc::AE | Ghc::HR).bits().to_le_bytes()),
            2 => {
                // What is issued while DET holds the link in reset waits, as it would on a port
                // without a link; nothing of it has reached the disk.
                let begins = self.read_port(port, PX_SCTL) & 0xf == 0;
                self.write_port(port, PX_SCTL, DET_COMRESET);
                self.check_disk_idle(port);
                if begins {
                    self.check_port_empty(port);
                }
                self.write_port(port, PX_SCTL, 0);
            }
            _ => self.write_port(port, PX_CMD, PxCmd::FRE.bits()),
        }
        if how % 4 < 2 {
            assert!(self.hba.resets_total() > resets);
            assert_eq!(self.read(GHC) & Ghc::HR.bits(), 0, "HR falls once the reset is over");
            (0..PORT_COUNT).for_each(|port| self.check_port_empty(port));
        }
    }

    // --- checks --------------------------------------------------------------------------------

    fn is_started(&mut self, port: usize) -> bool {
        PxCmd::from_bits_truncate(self.read_port(port, PX_CMD)).contains(PxCmd::ST)
    }

    fn check(&mut self, written: &[(u32, u32); PORT_COUNT]) {
        let is = self.read(IS);
        for (port, (ci_written, sact_written)) in written.iter().enumerate() {
            let (ci, sact) = (self.read_port(port, PX_CI), self.read_port(port, PX_SACT));
            let (old_ci, old_sact) = std::mem::replace(&mut self.seen[port], (ci, sact));
            assert_eq!(ci & !old_ci & !ci_written, 0, "PxCI has a command that nobody issued");
            assert_eq!(sact & !old_sact & !sact_written, 0, "PxSACT has a tag that nobody set");
            let cmd = PxCmd::from_bits_truncate(self.read_port(port, PX_CMD));
            assert_eq!(cmd.contains(PxCmd::ST), cmd.contains(PxCmd::CR), "PxCMD.CR follows ST");
            if !cmd.contains(PxCmd::ST) {
                self.check_port_empty(port);
            }
            let pending = self.read_port(port, PX_IS) & self.read_port(port, PX_IE);
            assert!(pending == 0 || is & 1 << port != 0, "IS shows the port's interrupt");
        }
        let interrupt = self.hba.take_interrupt();
        let enabled = self.read(GHC) & Ghc::IE.bits() != 0;
        assert_eq!(interrupt.level, enabled && is != 0);
        assert!(enabled || interrupt.messages == 0, "a message while interrupts are disabled");
        for disk in 0..DISKS {
            if let Some(engine) = self.hba.device_mut(disk).and_then(Device::engine_mut) {
                engine.assert_consistent();
            }
        }
    }

    /// C1: a port that is stopped has no command, and neither has its disk.
    fn check_port_empty(&mut self, port: usize) {
        assert_eq!((self.read_port(port, PX_CI), self.read_port(port, PX_SACT)), (0, 0));
        self.check_disk_idle(port);
    }

    /// What the disk does for itself has other tags than the slots.
    fn check_disk_idle(&mut self, port: usize) {
        let now = self.now;
        let Some(device) = self.hba.device_mut(port) else { return };
        let Some(status) = device.engine_status(now) else { return };
        let live = status.operations.iter().find(|operation| operation.tag < 32);
        assert_eq!(live, None, "an operation outlived a stop");
    }

    /// The storage works from now on, and software starts over.
    fn finish(mut self) {
        self.memory.mapped = true;
        for disk in &self.disks {
            disk.hold(false);
            disk.complete_all();
        }
        self.hba.clear_link_faults();
        self.hba.release_link_faults(self.now, &self.memory);
        self.write(GHC.into(), &(Ghc::AE | Ghc::HR).bits().to_le_bytes());
        self.check(&[(0, 0); PORT_COUNT]);
        for port in 0..DISKS {
            self.bring_up(port);
            let fis = RegisterH2D { is_command: true, command: 0xec, ..RegisterH2D::default() };
            self.memory.poke(DATA, &[0; 512]);
            self.issue(port, 0, &fis, Shape { entry_bytes: 511, ..Shape::default() });
            let ended = (0..PATIENCE).any(|_| {
                self.now = self.hba.next_wakeup().unwrap_or_default().max(self.now.plus(1_000));
                self.hba.poll(self.now, &self.memory);
                self.read_port(port, PX_CI) == 0
            });
            assert!(ended, "IDENTIFY DEVICE never ends");
            assert_eq!(self.read_port(port, PX_TFD), 0x50, "IDENTIFY DEVICE failed");
            let data = self.memory.bytes.borrow()[DATA as usize..][..512].to_vec();
            let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!((data[510], sum), (0xa5, 0), "IDENTIFY DEVICE data has its checksum");
        }
    }
}

/// The header and PRDT of a command.
#[derive(Clone, Copy)]
struct Shape {
    fis_type: u8,
    fis_dwords: u8,
    clear_busy: bool,
    queued: bool,
    entries: u8,
    /// As the PRDT has it: one less than the length, interrupt bit aside.
    entry_bytes: u16,
    offset: u8,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            fis_type: TYPE_REGISTER_H2D,
            fis_dwords: 5,
            clear_busy: false,
            queued: false,
            entries: 1,
            entry_bytes: 0x1fff,
            offset: 0,
        }
    }
}

fn command(
    slot: u8,
    opcode: u8,
    count: u8,
    lba: u8,
    bits: u8,
    input: &mut Input,
) -> (RegisterH2D, Shape) {
    let mut fis = RegisterH2D {
        is_command: true,
        command: opcode,
        device: 0x40,
        features: count.into(),
        count: count.into(),
        lba: lba.into(),
        ..RegisterH2D::default()
    };
    let mut shape = Shape::default();
    if matches!(opcode, 0x60..=0x65) && bits & 1 == 0 {
        fis.count = u16::from(slot % 32) << 3;
        shape.queued = true;
    }
    if bits & 2 != 0 {
        let [features, pm_port, device, control, entries, offset, fis_dwords, fis_type] =
            input.array();
        fis.features = features.into();
        fis.pm_port = pm_port;
        fis.device = device;
        fis.control = control;
        fis.lba = input.u64();
        fis.auxiliary = input.u32();
        shape = Shape {
            entries,
            offset,
            entry_bytes: input.u16(),
            fis_dwords: if fis_dwords & 0x80 != 0 { fis_dwords } else { 5 },
            fis_type: if fis_type & 0x80 != 0 { fis_type } else { TYPE_REGISTER_H2D },
            queued: bits & 4 != 0,
            clear_busy: bits & 8 != 0,
        };
        fis.is_command = bits & 16 == 0;
    }
    (fis, shape)
}

fn note(written: &mut (u32, u32), register: u32, value: u32) {
    match register {
        PX_CI => written.0 = value,
        PX_SACT => written.1 = value,
        _ => {}
    }
}

fn port(number: u8) -> usize {
    usize::from(number) % PORT_COUNT
}

fn base(port: usize) -> u64 {
    LIST + port as u64 * PORT_BYTES % 0xc000
}

/// A register of a port, as a byte has it.
fn register_at(number: u8) -> u32 {
    u32::from(number) % PORT_STRIDE / 4 * 4
}

fn register_of(port: usize, register: u32) -> u32 {
    PORTS + port as u32 * PORT_STRIDE + register
}

/// One input: what the disks are like, then events.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.event(&mut input);
    }
    world.finish();
}

/// The ways of a port, each in a few events.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const UP: [u8; 2] = [10, 0];
    const POLL: [u8; 2] = [17, 17];
    const HOLD: [u8; 3] = [12, 0, 1];
    const LET_GO: [u8; 3] = [12, 0, 0];
    let issue = |slot: u8, opcode: u8, count: u8, lba: u8| [6, 0, slot, opcode, count, lba, 0];
    let queue: Vec<u8> =
        (0..8).flat_map(|slot| issue(slot, 0x60 + slot % 2, 4, slot * 8)).collect();
    let story = |parts: &[&[u8]]| {
        let start = Writer::default().bytes(&[4, 1, 0]).bytes(&UP);
        parts.iter().fold(start, |all, part| all.bytes(part)).finish()
    };
    let reset = |how: u8| story(&[&HOLD, &queue, &POLL, &[16, how], &UP, &queue, &LET_GO, &POLL]);
    let all: Vec<u8> = (0..=u8::MAX)
        .filter(|opcode| freewheel_ata::command_name(*opcode).is_some())
        .flat_map(|opcode| [&issue(0, opcode, 1, 9)[..], &POLL, &UP].concat())
        .collect();
    let soft = [9, 0, 0x84, 17, 9, 0, 0, 17];
    vec![
        ("identify", story(&[&issue(0, 0xec, 0, 0), &POLL])),
        ("commands", story(&[&all])),
        ("queue", story(&[&queue, &POLL])),
        ("function-reset", reset(0)),
        ("hba-reset", reset(1)),
        ("comreset", reset(2)),
        ("stop", reset(3)),
        ("soft-reset", story(&[&HOLD, &queue, &soft, &UP, &queue, &LET_GO, &POLL])),
        ("late", story(&[&HOLD, &queue, &POLL, &[12, 0, 36, 1, 17, 12, 0, 37, 0], &POLL, &UP])),
        ("unmapped", story(&[&queue, &[14, 1], &POLL, &[14, 0], &UP, &issue(0, 0x25, 1, 0)])),
        ("link-drop", story(&[&queue, &[15, 0, 0, 9], &POLL, &[13, 1, 30], &POLL, &UP])),
        ("crc", story(&[&[15, 1, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("silent", story(&[&[15, 2, 0, 0, 16, 2], &POLL, &[15, 4, 0, 0], &UP])),
        ("two-disks", story(&[&[10, 1], &issue(0, 0xec, 0, 0), &[6, 1, 0, 0xec, 0, 0, 0], &POLL])),
        ("nobody", story(&[&[10, 2, 6, 2, 0, 0xec, 0, 0, 0], &POLL])),
        ("short-fis", story(&[&[6, 0, 0, 0xec, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0x81], &POLL, &UP])),
    ]
}
