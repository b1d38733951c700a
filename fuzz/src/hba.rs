//! A controller with two disks, a port multiplier with a disk and a CD drive, and an empty port: any
//! register accesses, any memory, any storage, link faults, resets, and devices that come and go.
//!
//! After each event, as the simulation's oracle does: the engines' tables agree; PxCMD.CR follows
//! ST; a port that is stopped has no command in its registers, and none in its devices (C1), nor has
//! a device that was taken away; PxCI and PxSACT only gain bits that were written; IS shows every
//! port that has something to say; and while no port runs, a poll writes no memory outside the
//! received-FIS areas (C3). At the end the storage works and software starts over: all devices
//! identify themselves.

use std::cell::RefCell;

use freewheel_ahci::pmp::{
    CONTROL_PORT, GSCR_FEATURES_ENABLE, PSCR_CONTROL, PSCR_ERROR, WRITE_PORT_MULTIPLIER,
};
use freewheel_ahci::registers::*;
use freewheel_ahci::{Attachment, BusError, GuestMemory, Hba, HbaConfig, HotPlug, PortMultiplier};
use freewheel_ata::fis::{RegisterH2D, TYPE_REGISTER_H2D};
use freewheel_ata::{Device, Disk, DiskConfig, Drive, DriveConfig};
use freewheel_block::fault::LinkFault;
use freewheel_block::{Engine, EngineConfig, Nanos};
use freewheel_sim::MemoryDisk;

use crate::{Input, Writer, storage};

/// Guest memory, from address 0.
const MEMORY_BYTES: usize = 128 << 10;
/// What software that behaves uses of it, per port: list, FIS area, then tables of 256 bytes.
const LIST: u64 = 0x1000;
const PORT_BYTES: u64 = 0x4000;
const FIS_AREA: u64 = 0x1000;
const TABLES: u64 = 0x2000;
/// Data of all, which overlaps at will.
const DATA: u64 = 0x12000;
/// Where the port multiplier is, behind the ports with a disk; the port after it is empty.
const MULTIPLIER: usize = 2;
const PORT_COUNT: usize = 4;
/// Device ports of the port multiplier: a disk, a CD drive.
const DISK_BEHIND: u8 = 0;
const DRIVE_BEHIND: u8 = 1;
const BEHIND: u8 = 2;
const PACKET: u8 = 0xa0;
/// Where a command table has the packet.
const ACMD_OFFSET_BYTES: u64 = 0x40;
/// Polls after which a disk on storage that works has answered.
const PATIENCE: usize = 20_000;

/// Memory that notes what is written outside some ranges.
struct Memory {
    bytes: RefCell<Vec<u8>>,
    mapped: bool,
    /// While set: writes outside these FIS areas are not the controller's to make.
    quiet: Option<[std::ops::Range<u64>; PORT_COUNT]>,
}

impl GuestMemory for Memory {
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError> {
        let bytes = self.bytes.borrow();
        buf.copy_from_slice(&bytes[self.span(address, buf.len())?]);
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError> {
        if let Some(areas) = &self.quiet {
            let own = areas.iter().any(|area| area.contains(&address));
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
    /// The storage of all devices.
    disks: Vec<MemoryDisk>,
    /// What was taken off a port.
    detached: [Option<Attachment>; PORT_COUNT],
    /// What was pulled out of the port multiplier.
    unplugged: [Option<Box<dyn Device>>; BEHIND as usize],
    now: Nanos,
    /// PxCI and PxSACT of each port after the last event.
    seen: [(u32, u32); PORT_COUNT],
}

impl World {
    fn new(input: &mut Input) -> Self {
        let [bits, align, shape] = input.array();
        let sector_bytes = if shape & 1 != 0 { 4096 } else { 512 };
        let disks: Vec<MemoryDisk> =
            (0..4).map(|_| storage::disk(bits, align, sector_bytes)).collect();
        let engine = |disk: &MemoryDisk| {
            let config = EngineConfig {
                slots: if shape & 2 != 0 { 2 } else { 8 },
                buf_bytes: 8192,
                window: 2,
                ..EngineConfig::default()
            };
            Engine::new(Box::new(disk.clone()), config)
        };
        let device = |disk: &MemoryDisk| {
            let config = DiskConfig { logical_sector_bytes: sector_bytes, ..DiskConfig::default() };
            let device = Disk::new(config, engine(disk)).expect("a good configuration");
            Box::new(device) as Box<dyn Device>
        };
        let mut drive = Drive::new(DriveConfig::default());
        drive.insert(engine(&disks[3])).map_err(|(why, _)| why).expect("a good image");
        let behind = PortMultiplier::new(vec![Some(device(&disks[2])), Some(Box::new(drive))]);
        let attachments = vec![
            Some(device(&disks[0]).into()),
            Some(device(&disks[1]).into()),
            Some(behind.into()),
            None,
        ];
        let hot_plug =
            [HotPlug::None, HotPlug::Connector, HotPlug::PresenceSwitch, HotPlug::ColdPresence];
        let config = HbaConfig {
            command_slots: if shape & 4 != 0 { 17 } else { 32 },
            staggered_spin_up: shape & 8 != 0,
            hot_plug: hot_plug[usize::from(shape >> 4) % 4],
        };
        let hba = Hba::with_attachments(config, attachments, Nanos(1));
        let bytes = RefCell::new(vec![0; MEMORY_BYTES]);
        let memory = Memory { bytes, mapped: true, quiet: None };
        Self {
            hba,
            memory,
            disks,
            detached: Default::default(),
            unplugged: Default::default(),
            now: Nanos(2),
            seen: [(0, 0); PORT_COUNT],
        }
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

    /// Starts a port, with FIS-based switching if it is wanted and there.
    fn bring_up(&mut self, port: usize, switching: bool) {
        self.write(GHC.into(), &(Ghc::AE | Ghc::IE).bits().to_le_bytes());
        self.write_port(port, PX_CMD, 0);
        self.write_port(port, PX_FBS, switching.into());
        self.write_port(port, PX_SCTL, 0);
        let base = base(port);
        self.write_port(port, PX_CLB, base as u32);
        self.write_port(port, PX_CLBU, 0);
        self.write_port(port, PX_FB, (base + FIS_AREA) as u32);
        self.write_port(port, PX_FBU, 0);
        let mut up = PxCmd::FRE | PxCmd::SUD | PxCmd::POD;
        up.set(PxCmd::PMA, port == MULTIPLIER);
        self.write_port(port, PX_CMD, (up | PxCmd::CLO).bits());
        self.write_port(port, PX_SERR, u32::MAX);
        self.write_port(port, PX_IS, u32::MAX);
        self.write_port(port, PX_IE, u32::MAX);
        self.write_port(port, PX_CMD, (up | PxCmd::ST).bits());
    }

    /// Puts a command into the list and rings the doorbell.
    fn issue(&mut self, port: usize, slot: u8, fis: &RegisterH2D, shape: Shape) {
        self.issue_packet(port, slot, fis, &[0; 12], shape);
    }

    fn issue_packet(
        &mut self,
        port: usize,
        slot: u8,
        fis: &RegisterH2D,
        packet: &[u8; 12],
        shape: Shape,
    ) {
        let slot = slot % 32;
        let base = base(port);
        let table = base + TABLES + u64::from(slot) * 0x100;
        let flags = u32::from(shape.fis_dwords & 0x1f)
            | u32::from(fis.command == PACKET) << 5
            | u32::from(shape.clear_busy) << 10
            | u32::from((fis.pm_port ^ shape.other_port) & 0xf) << 12
            | u32::from(shape.entries) << 16;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&table.to_le_bytes());
        self.memory.poke(base + u64::from(slot) * COMMAND_HEADER_BYTES, &header);
        let mut bytes = fis.encode();
        bytes[0] = shape.fis_type;
        self.memory.poke(table, &bytes);
        self.memory.poke(table + ACMD_OFFSET_BYTES, packet);
        for entry in 0..u64::from(shape.entries.min(8)) {
            let mut prd = [0; 16];
            let address = DATA + entry * 0x400 + u64::from(shape.offset) * 2;
            prd[..8].copy_from_slice(&address.to_le_bytes());
            prd[12..].copy_from_slice(&u32::from(shape.entry_bytes).to_le_bytes());
            self.memory.poke(table + PRDT_OFFSET_BYTES as u64 + entry * 16, &prd);
        }
        let fbs = self.read_port(port, PX_FBS);
        if fbs & 1 != 0 {
            let device = u32::from(fis.pm_port & 0xf) << 8;
            self.write_port(port, PX_FBS, fbs & !0xf02 | device);
        }
        if shape.queued {
            self.write_port(port, PX_SACT, 1 << slot);
        }
        self.write_port(port, PX_CI, 1 << slot);
    }

    // --- events --------------------------------------------------------------------------------

    fn event(&mut self, input: &mut Input) {
        self.now = self.now.plus(1_000);
        let what = input.u8() % 26;
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
                let offset = u64::from(input.u16()) * 2;
                let len = input.u8().into();
                self.memory.poke(offset, input.slice(len));
            }
            6..=8 => {
                let [number, slot, opcode, count, lba, bits] = input.array();
                let port = port(number);
                let (mut fis, shape) = command(slot, opcode, count, lba, bits, input);
                if bits & 2 == 0 {
                    fis.pm_port = pm_port(number);
                }
                self.issue(port, slot, &fis, shape);
                written[port] = (1 << (slot % 32), 1 << (slot % 32));
            }
            9 => {
                let [number, control] = input.array();
                let (port, pm_port) = (port(number), pm_port(number));
                let fis = RegisterH2D { control, pm_port, ..RegisterH2D::default() };
                let clear_busy = control & 0x80 != 0;
                self.issue(port, control >> 3, &fis, Shape { clear_busy, ..Shape::default() });
                written[port] = (1 << (control >> 3), 0);
            }
            10 | 11 => {
                let number = input.u8();
                self.bring_up(port(number), number & 0x80 == 0);
            }
            12 => {
                let disk = usize::from(input.u8()) % self.disks.len();
                storage::event(&self.disks[disk], input);
            }
            13 => {
                let [value, shift] = input.array();
                self.now = self.now.plus(u64::from(value) << (shift % 48));
            }
            14 => self.memory.mapped = input.u8() & 1 == 0,
            15 => self.link_fault(input),
            16 => self.reset(input.u8()),
            17 => {
                let [number, slot, register, value] = input.array();
                let value = match value {
                    u8::MAX => u32::MAX,
                    _ => u32::from(value) | u32::from(number & 0xf0) << 4,
                };
                self.write_behind(slot, number & 0xf, register.into(), value);
                written[MULTIPLIER] = (1 << (slot % 32), 0);
            }
            18 | 19 => {
                let [number, slot, lba, count] = input.array();
                let mut packet: [u8; 12] = input.array();
                if packet[0] == 0 {
                    // READ (10).
                    packet = [0x28, 0, 0, 0, 0, lba, 0, 0, count, 0, 0, 0];
                }
                let fis = packet_fis(number, count);
                self.issue_packet(port(number), slot, &fis, &packet, Shape::default());
                written[port(number)] = (1 << (slot % 32), 0);
            }
            20 => self.plug(input.u8()),
            21 => self.plug_behind(input.u8()),
            _ => self.poll(),
        }
        self.check(&written);
    }

    fn poll(&mut self) {
        let running = (0..PORT_COUNT).any(|port| self.is_started(port));
        if !running {
            let areas = std::array::from_fn(|port| {
                let high = u64::from(self.read_port(port, PX_FBU)) << 32;
                let start = high | u64::from(self.read_port(port, PX_FB));
                let devices = if self.read_port(port, PX_FBS) & 1 != 0 { 16 } else { 1 };
                start..start.saturating_add(devices * 0x100)
            });
            self.memory.quiet = Some(areas);
        }
        self.hba.poll(self.now, &self.memory);
        self.memory.quiet = None;
    }

    fn link_fault(&mut self, input: &mut Input) {
        let [what, number, duration] = input.array();
        let fault = match what % 11 {
            0 => LinkFault::Drop(u64::from(duration) << 10),
            1 => LinkFault::Crc,
            2 => LinkFault::NoSignature,
            3 => return self.hba.clear_link_faults(),
            4 => LinkFault::UnknownFis,
            5 => LinkFault::BadFis,
            6 => LinkFault::Retry,
            7 => LinkFault::Stuck,
            8 => LinkFault::Poison,
            _ => {
                self.hba.release_link_faults(self.now, &self.memory);
                return;
            }
        };
        let port = usize::from(number) % (PORT_COUNT + 1);
        let known = self.has_device(port);
        assert_eq!(self.hba.inject_link_fault(port, fault, self.now).is_ok(), known);
    }

    fn has_device(&self, port: usize) -> bool {
        port < PORT_COUNT - 1 && self.detached[port].is_none()
    }

    /// Takes off `port` what is on it, or puts it back.
    fn plug(&mut self, number: u8) {
        let port = port(number);
        if let Some(device) = self.detached[port].take() {
            let refused = self.hba.attach(port, device, self.now, &self.memory).is_err();
            assert!(!refused, "an empty port takes a device");
            return;
        }
        let there = self.has_device(port);
        self.check_presence(port, there);
        self.detached[port] = self.hba.detach(port, self.now);
        assert_eq!(self.detached[port].is_some(), there);
        self.check_presence(port, false);
        if number & 0x80 != 0
            && let Some(device) = self.detached[port].take()
        {
            // Where there is a device, or no port, it comes back.
            let other = (port + 1) % (MULTIPLIER + 1);
            if self.has_device(other) {
                let refused = self.hba.attach(other, device, self.now, &self.memory).err();
                let device = refused.expect("a port takes no second device");
                let refused = self.hba.attach(PORT_COUNT, device, self.now, &self.memory).err();
                self.detached[port] = Some(refused.expect("there is no such port"));
            } else {
                self.detached[port] = Some(device);
            }
        }
    }

    fn check_presence(&mut self, port: usize, there: bool) {
        let status = self.hba.status(self.now);
        let behind = &status[port].behind;
        assert_eq!(behind.len(), if there && port == MULTIPLIER { BEHIND.into() } else { 0 });
        if !there {
            assert!(self.hba.device_mut(port).is_none() && status[port].engine.is_none());
        }
    }

    /// Pulls a device out of the port multiplier, or puts it back.
    fn plug_behind(&mut self, number: u8) {
        let pm_port = number % BEHIND;
        let place = usize::from(pm_port);
        let there = self.detached[MULTIPLIER].is_none();
        let (now, memory) = (self.now, &self.memory);
        if let Some(device) = self.unplugged[place].take_if(|_| there) {
            let plugged = self.hba.plug_behind(MULTIPLIER, pm_port, device, now, memory);
            assert_eq!(plugged, Ok(()), "an empty device port takes a device");
        } else if self.unplugged[place].is_none() {
            self.unplugged[place] = self.hba.unplug_behind(MULTIPLIER, pm_port, now, memory);
            assert_eq!(self.unplugged[place].is_some(), there);
        }
    }

    /// WRITE PORT MULTIPLIER.
    fn write_behind(&mut self, slot: u8, device: u8, register: u16, value: u32) {
        let fis = RegisterH2D {
            is_command: true,
            command: WRITE_PORT_MULTIPLIER,
            pm_port: CONTROL_PORT,
            device,
            features: register,
            count: (value & 0xff) as u16,
            lba: u64::from(value >> 8),
            ..RegisterH2D::default()
        };
        self.issue(MULTIPLIER, slot, &fis, Shape::default());
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
                self.check_devices_idle(port);
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
        for port in 0..PORT_COUNT {
            if let Some(engine) = self.hba.device_mut(port).and_then(Device::engine_mut) {
                engine.assert_consistent();
            }
        }
        for pm_port in 0..BEHIND {
            let device = self.hba.device_behind_mut(MULTIPLIER, pm_port);
            if let Some(engine) = device.and_then(Device::engine_mut) {
                engine.assert_consistent();
            }
        }
        for device in self.unplugged.iter().flatten() {
            check_idle(device.as_ref(), self.now);
        }
        for device in self.detached.iter().flatten() {
            if let Attachment::Device(device) = device {
                check_idle(device.as_ref(), self.now);
            }
        }
    }

    /// C1: a port that is stopped has no command, and neither have its devices.
    fn check_port_empty(&mut self, port: usize) {
        assert_eq!((self.read_port(port, PX_CI), self.read_port(port, PX_SACT)), (0, 0));
        self.check_devices_idle(port);
    }

    fn check_devices_idle(&mut self, port: usize) {
        let now = self.now;
        if let Some(device) = self.hba.device_mut(port) {
            check_idle(device, now);
        }
        for pm_port in 0..BEHIND {
            if let Some(device) = self.hba.device_behind_mut(port, pm_port) {
                check_idle(device, now);
            }
        }
    }

    /// The storage works from now on, every device is there, and software starts over.
    fn finish(mut self) {
        self.memory.mapped = true;
        for disk in &self.disks {
            disk.hold(false);
            disk.complete_all();
        }
        self.hba.clear_link_faults();
        self.hba.release_link_faults(self.now, &self.memory);
        for port in 0..PORT_COUNT as u8 {
            if self.detached[usize::from(port)].is_some() {
                self.plug(port);
            }
        }
        for pm_port in 0..BEHIND {
            if self.unplugged[usize::from(pm_port)].is_some() {
                self.plug_behind(pm_port);
            }
        }
        self.write(GHC.into(), &(Ghc::AE | Ghc::HR).bits().to_le_bytes());
        self.check(&[(0, 0); PORT_COUNT]);
        for port in 0..=MULTIPLIER {
            self.bring_up(port, false);
            self.identify(port, DISK_BEHIND, 0xec);
        }
        // The link of the second device port is off until software enables it.
        for (register, value) in [
            (GSCR_FEATURES_ENABLE, 0),
            (PSCR_CONTROL, DET_COMRESET),
            (PSCR_CONTROL, 0),
            (PSCR_ERROR, u32::MAX),
        ] {
            let device = if register == GSCR_FEATURES_ENABLE { CONTROL_PORT } else { DRIVE_BEHIND };
            self.write_behind(0, device, register, value);
            self.wait(MULTIPLIER);
        }
        self.identify(MULTIPLIER, DRIVE_BEHIND, 0xa1);
    }

    /// Waits until slot 0 is free.
    fn wait(&mut self, port: usize) {
        let ended = (0..PATIENCE).any(|_| {
            self.now = self.hba.next_wakeup().unwrap_or_default().max(self.now.plus(1_000));
            self.hba.poll(self.now, &self.memory);
            self.read_port(port, PX_CI) == 0
        });
        assert!(ended, "a command never ends");
        assert_eq!(self.read_port(port, PX_TFD) & !0x10, 0x40, "a command failed");
    }

    fn identify(&mut self, port: usize, pm_port: u8, opcode: u8) {
        let fis =
            RegisterH2D { is_command: true, command: opcode, pm_port, ..RegisterH2D::default() };
        self.memory.poke(DATA, &[0; 512]);
        self.issue(port, 0, &fis, Shape { entry_bytes: 511, ..Shape::default() });
        self.wait(port);
        let data = self.memory.bytes.borrow()[DATA as usize..][..512].to_vec();
        let sum = data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!((data[510], sum), (0xa5, 0), "IDENTIFY data has its checksum");
    }
}

/// What a device does for itself has other tags than the slots.
fn check_idle(device: &dyn Device, now: Nanos) {
    let Some(status) = device.engine_status(now) else { return };
    let live = status.operations.iter().find(|operation| operation.tag < 32);
    assert_eq!(live, None, "an operation outlived a stop");
}

/// The header and PRDT of a command.
#[derive(Clone, Copy)]
struct Shape {
    fis_type: u8,
    fis_dwords: u8,
    clear_busy: bool,
    queued: bool,
    /// How the port in the header differs from that in the FIS.
    other_port: u8,
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
            other_port: 0,
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
            other_port: if bits & 0x60 == 0x60 { bits >> 7 | 2 } else { 0 },
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

/// The port multiplier port that goes with it.
fn pm_port(number: u8) -> u8 {
    match number >> 2 & 7 {
        7 => CONTROL_PORT,
        other => other % BEHIND,
    }
}

/// PACKET by DMA or PIO, to the port multiplier port that `number` names.
fn packet_fis(number: u8, count: u8) -> RegisterH2D {
    RegisterH2D {
        is_command: true,
        command: PACKET,
        pm_port: pm_port(number),
        features: u16::from(number & 0x40 == 0),
        lba: u64::from(count) << 8,
        device: 0xa0,
        ..RegisterH2D::default()
    }
}

fn base(port: usize) -> u64 {
    LIST + port as u64 * PORT_BYTES
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
    const POLL: [u8; 2] = [22, 22];
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
    let soft = [9, 0, 0x84, 22, 9, 0, 0, 22];
    // The port multiplier's: its port, with FIS-based switching and without, and both devices.
    let multiplier = [10, 2, 17, 0x01, 0, 2, 1, 22, 17, 0x01, 0, 2, 0, 22, 17, 0x01, 0, 1, 255, 22];
    let commands =
        [10, 0x82, 17, 0x01, 0, 2, 1, 22, 17, 0x01, 0, 2, 0, 22, 17, 0x01, 0, 1, 255, 22];
    let notify = [17, 0x0f, 0, 96, 8, 22];
    let issue_behind =
        |pm_port: u8, slot: u8, opcode: u8, lba: u8| [6, 2 | pm_port << 2, slot, opcode, 4, lba, 0];
    let packet =
        |slot: u8, bytes: &[u8; 12]| [&[18, 2 | 1 << 2, slot, 3, 1], &bytes[..], &POLL].concat();
    let mut inquiry = [0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0];
    let both: Vec<u8> = (0..4)
        .flat_map(|slot| issue_behind(0, slot, 0x60 + slot % 2, slot * 8))
        .chain(packet(8, &inquiry))
        .chain(packet(8, &inquiry))
        .collect();
    inquiry[0] = 0x03;
    // Of the reset, then of the medium.
    let sense = [packet(9, &inquiry), packet(9, &inquiry)].concat();
    let clear_device_error = [1, 2, PX_FBS as u8, 3, 1, 0, 0];
    let read = packet(9, &[0; 12]);
    let hold_all = [12, 2, 1, 12, 3, 1];
    let let_go_all = [12, 2, 0, 12, 3, 0];
    vec![
        ("identify", story(&[&issue(0, 0xec, 0, 0), &POLL])),
        ("commands", story(&[&all])),
        ("queue", story(&[&queue, &POLL])),
        ("function-reset", reset(0)),
        ("hba-reset", reset(1)),
        ("comreset", reset(2)),
        ("stop", reset(3)),
        ("soft-reset", story(&[&HOLD, &queue, &soft, &UP, &queue, &LET_GO, &POLL])),
        ("late", story(&[&HOLD, &queue, &POLL, &[12, 0, 36, 1, 22, 12, 0, 37, 0], &POLL, &UP])),
        ("unmapped", story(&[&queue, &[14, 1], &POLL, &[14, 0], &UP, &issue(0, 0x25, 1, 0)])),
        ("link-drop", story(&[&queue, &[15, 0, 0, 9], &POLL, &[13, 1, 30], &POLL, &UP])),
        ("crc", story(&[&[15, 1, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("silent", story(&[&[15, 2, 0, 0, 16, 2], &POLL, &[15, 9, 0, 0], &UP])),
        ("two-disks", story(&[&[10, 1], &issue(0, 0xec, 0, 0), &[6, 1, 0, 0xec, 0, 0, 0], &POLL])),
        ("nobody", story(&[&[10, 3, 6, 3, 0, 0xec, 0, 0, 0], &POLL])),
        ("unknown-fis", story(&[&[15, 4, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("bad-fis", story(&[&[15, 5, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("retry", story(&[&[15, 6, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("stuck", story(&[&[15, 7, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &[16, 2], &UP])),
        ("poison", story(&[&[15, 8, 0, 0], &issue(0, 0xec, 0, 0), &POLL, &UP])),
        ("switched", story(&[&multiplier, &both, &POLL, &sense, &read, &both, &read])),
        ("by-command", story(&[&commands, &both, &POLL, &sense, &read, &both, &read])),
        ("one-error", story(&[&multiplier, &both, &read, &clear_device_error, &sense, &read])),
        (
            "one-reset",
            story(&[
                &multiplier,
                &both,
                &sense,
                &hold_all,
                &both,
                &read,
                &[17, 0x00, 20, 2, 1, 22, 17, 0x00, 20, 2, 0, 22],
                &let_go_all,
                &POLL,
            ]),
        ),
        (
            "plugging",
            story(&[&multiplier, &notify, &hold_all, &both, &[21, 0, 21, 1, 22, 21, 0, 21, 1, 22]]),
        ),
        ("hot-plug", story(&[&HOLD, &queue, &POLL, &[20, 0, 22, 20, 0, 22], &UP, &queue, &LET_GO])),
        ("multiplier-away", story(&[&multiplier, &hold_all, &both, &[20, 2, 21, 0, 20, 0x82, 22]])),
        ("second-device", story(&[&UP, &[20, 0x80, 22, 20, 0x80, 22], &UP, &queue, &POLL])),
        ("short-fis", story(&[&[6, 0, 0, 0xec, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0x81], &POLL, &UP])),
    ]
}
