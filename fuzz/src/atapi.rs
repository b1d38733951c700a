//! An ATAPI drive on its cable: any packets and ATA commands, media that come and go, over images
//! whose storage does anything, with resets in between.
//!
//! Judged at once, within each call: every FIS ends something that has not ended (the [`Ledger`]);
//! data moves for live commands only, and none once the medium has gone (C3); what a READ delivers
//! is of the medium that was in the drive. After each event an engine works for nobody but the
//! command in flight (C1), one that was taken out for none at all, and the engines' tables agree.
//! At the end the storage works again: then every command has ended, every slot has come back, and
//! a new medium can be read.

use freewheel_ata::fis::{DeviceFis, RegisterH2D, Status};
use freewheel_ata::{Device, Drive, DriveConfig, Link, LinkError, packet_command_name};
use freewheel_block::{Client, Engine, EngineConfig, GuestMemoryError, Nanos, OpError, OpToken};
use freewheel_sim::{MemoryDisk, MemoryDiskConfig};

use crate::ledger::Ledger;
use crate::{Input, Writer, storage};

/// The most bytes of host memory behind a slot.
const MEMORY_MAX_BYTES: usize = 64 << 10;
/// Polls after which a drive on storage that works has come to rest.
const PATIENCE: usize = 20_000;
/// Bytes of a block.
const BLOCK: u64 = 2048;
/// Media that pass for a CD.
const CD_BLOCKS: u64 = 100;
/// One that passes for a DVD.
const DVD_BLOCKS: u64 = 360_001;
/// Engines that can be out of the drive at a time.
const OUTSIDE_MAX: usize = 8;

const PACKET: u8 = 0xa0;
const DEVICE_RESET: u8 = 0x08;

/// The controller's side of the cable.
struct Host {
    memory: Vec<u8>,
    ledger: Ledger,
    fises: usize,
    notices: usize,
    /// How the next transfer fails.
    fault: Option<LinkError>,
    /// What every byte is that the command in flight may deliver, if that is known.
    content: Option<u8>,
    /// The medium of the command in flight is out of the drive.
    is_gone: bool,
}

impl Host {
    fn moves(&mut self, slot: u8) -> Result<&mut Vec<u8>, LinkError> {
        let bit = 1u32.checked_shl(slot.into()).unwrap_or(0);
        assert_ne!(self.ledger.unqueued & bit, 0, "data for the dead");
        assert!(!self.is_gone, "data of a medium that is gone");
        match self.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(&mut self.memory),
        }
    }

    fn is_busy(&self) -> bool {
        self.ledger.unqueued != 0
    }
}

fn span(memory: &mut [u8], offset: u64, len: usize) -> Result<&mut [u8], LinkError> {
    let start = usize::try_from(offset).map_err(|_| LinkError::Overflow)?;
    let end = start.checked_add(len).ok_or(LinkError::Overflow)?;
    memory.get_mut(start..end).ok_or(LinkError::Overflow)
}

impl Link for Host {
    fn data_in(&mut self, slot: u8, offset: u64, data: &[u8]) -> Result<(), LinkError> {
        if let Some(byte) = self.content {
            assert!(data.iter().all(|it| *it == byte), "data of another medium");
        }
        span(self.moves(slot)?, offset, data.len())?.copy_from_slice(data);
        Ok(())
    }

    fn data_out(&mut self, slot: u8, offset: u64, data: &mut [u8]) -> Result<(), LinkError> {
        data.copy_from_slice(span(self.moves(slot)?, offset, data.len())?);
        Ok(())
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        self.fises += 1;
        if let DeviceFis::SetDeviceBits { notification, active, status, .. } = fis {
            assert!(notification && active == 0 && slot.is_none(), "nothing is queued");
            assert!(!status.intersects(Status::ERR | Status::BSY | Status::DRQ));
            self.notices += 1;
        } else {
            self.ledger.take(slot, &fis);
        }
    }
}

/// Whoever polls an engine that nobody has asked for anything.
struct Nobody;

impl Client for Nobody {
    fn gather(&mut self, _tag: u32, _offset: u64, _buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        panic!("a drive never writes");
    }

    fn scatter(&mut self, _tag: u32, _offset: u64, _data: &[u8]) -> Result<(), GuestMemoryError> {
        panic!("data of an operation that was cancelled");
    }

    fn answer(&mut self, _token: OpToken, _tag: u32, _result: Result<(), OpError>) {
        panic!("an answer for an operation that was cancelled");
    }
}

struct World {
    drive: Drive,
    host: Host,
    /// What media are like.
    shape: [u8; 3],
    /// The images, by the byte that they are full of; those of DVDs have none but zeroes.
    images: Vec<MemoryDisk>,
    inside: Option<u8>,
    outside: Vec<Engine>,
    /// Times that the host may be told of.
    changes: usize,
    now: Nanos,
    held: bool,
}

impl World {
    fn new(input: &mut Input) -> Self {
        let shape = input.array();
        let wwn = (shape[2] & 8 != 0).then_some(0x5000_c500_1234_5678);
        let host = Host {
            memory: vec![0; 16 << 10],
            ledger: Ledger::default(),
            fises: 0,
            notices: 0,
            fault: None,
            content: None,
            is_gone: false,
        };
        let mut world = Self {
            drive: Drive::new(DriveConfig { wwn, ..DriveConfig::default() }),
            host,
            shape,
            images: Vec::new(),
            inside: None,
            outside: Vec::new(),
            changes: 0,
            now: Nanos(1),
            held: false,
        };
        if shape[2] & 16 == 0 {
            world.insert(0);
        }
        world
    }

    /// An engine over a new image.
    fn image(&mut self, kind: u8) -> (Engine, u8) {
        let [bits, align, shape] = self.shape;
        let blocks = match kind % 16 {
            15 => DVD_BLOCKS,
            14 => 0,
            13 => 1,
            _ => CD_BLOCKS,
        };
        let image = MemoryDisk::new(&MemoryDiskConfig {
            size_bytes: blocks * BLOCK + u64::from(kind & 1) * 512,
            io_align_bytes: [1, 512][usize::from(align) % 2],
            read_only: bits & 1 != 0,
            fua: false,
            discard_align_bytes: None,
            queue_depth: if bits & 2 != 0 { 3 } else { 64 },
        });
        let mut content = 0;
        if blocks <= CD_BLOCKS {
            content = self.images.len() as u8 + 1;
            image.overwrite(0, &vec![content; (blocks * BLOCK) as usize]);
        }
        let config = EngineConfig {
            slots: [2, 4, 16][usize::from(shape) % 3],
            buf_bytes: if shape & 4 != 0 { 512 << 4 } else { 64 << 10 },
            window: 2,
            ..EngineConfig::default()
        };
        image.hold(kind & 16 != 0);
        self.images.push(image.clone());
        (Engine::new(Box::new(image), config), content)
    }

    fn insert(&mut self, kind: u8) {
        if self.images.len() >= usize::from(u8::MAX) {
            return;
        }
        let (engine, content) = self.image(kind);
        let is_full = self.drive.has_medium();
        let is_empty = engine.info().size_bytes < BLOCK;
        let is_inserted = self.drive.insert(engine).is_ok();
        assert_eq!(is_inserted, !is_full && !is_empty);
        if is_inserted {
            self.inside = Some(content);
            self.changes += 1;
            assert!(!self.drive.is_tray_open());
        }
    }

    fn eject(&mut self, force: bool) {
        let is_locked = self.drive.is_locked();
        let before = self.host.fises;
        self.changes += 1;
        let ejected = self.drive.eject(force, self.now);
        assert_eq!(self.host.fises, before, "an eject says nothing by itself");
        assert_eq!(ejected.is_err(), is_locked && !force);
        let Ok(engine) = ejected else { return };
        assert_eq!(engine.is_some(), self.inside.take().is_some());
        assert!(self.drive.is_tray_open() && !self.drive.has_medium());
        self.host.is_gone |= self.host.is_busy();
        let Some(engine) = engine else { return };
        if self.outside.len() < OUTSIDE_MAX {
            self.outside.push(engine);
        }
    }

    fn event(&mut self, input: &mut Input) {
        self.now = self.now.plus(1_000);
        match input.u8() % 20 {
            0 => {
                let [slot, command, device, control, lba @ ..] = input.array::<12>();
                let lba = u64::from_le_bytes(lba) & 0xffff_ffff_ffff;
                let (features, count) = (input.u16(), input.u16());
                let fis = RegisterH2D { features, lba, device, count, control, ..ata(command) };
                self.command(slot, &fis, &input.array());
            }
            1 => {
                let [slot, low, high] = input.array();
                let fis = packet_fis(u16::from_le_bytes([low, high]));
                self.command(slot % 32, &fis, &input.array());
            }
            2..=4 => {
                let slot = input.u8() % 32;
                let packet = likely_packet(input);
                self.command(slot, &packet_fis(input.u16()), &packet);
            }
            5 | 6 => {
                let slot = input.u8() % 32;
                let packet = reading_packet(input);
                self.command(slot, &packet_fis(input.u16()), &packet);
            }
            7 => {
                let [opcode, features, count] = input.array();
                let opcodes =
                    [0xef, 0xe6, 0x08, 0x90, 0xa1, 0xe5, 0xe0, 0xe1, 0xe2, 0xe3, 0x00, 0x20, 0xec];
                let opcode = opcodes[usize::from(opcode) % opcodes.len()];
                let (features, count) = (features.into(), count.into());
                let fis = RegisterH2D { features, count, ..ata(opcode) };
                self.command(features as u8 % 32, &fis, &[0; 16]);
            }
            8 => {
                let [offset, len] = input.array();
                let data = input.slice(len.into());
                if let Ok(place) = span(&mut self.host.memory, u64::from(offset) * 4, data.len()) {
                    place.copy_from_slice(data);
                }
            }
            9 => {
                let len = usize::from(input.u16()).min(MEMORY_MAX_BYTES);
                self.host.memory.resize(len, 0xa5);
            }
            10 => {
                let faults = [LinkError::Overflow, LinkError::HostBus, LinkError::Crc];
                self.host.fault = faults.get(usize::from(input.u8() % 4)).copied();
            }
            11 => {
                // The latest image, or one before it.
                let back = usize::from(input.u8() % 4) + 1;
                if let Some(image) = self.images.len().checked_sub(back) {
                    storage::event(&self.images[image], input);
                }
            }
            12 => {
                let [value, shift] = input.array();
                self.now = self.now.plus(u64::from(value) << (shift % 48));
            }
            13 => self.control(input.u8()),
            14 => self.reset(input.u8()),
            15 => self.insert(input.u8()),
            16 => self.eject(input.u8() & 1 != 0),
            _ => self.poll(),
        }
        self.check();
    }

    fn poll(&mut self) {
        self.drive.poll(self.now, &mut self.host);
        for engine in &mut self.outside {
            engine.poll(self.now, &mut Nobody);
        }
    }

    fn command(&mut self, slot: u8, fis: &RegisterH2D, packet: &[u8; 16]) {
        let is_reset = fis.command == DEVICE_RESET;
        let is_taken = !self.held && (is_reset || !self.host.is_busy()) && slot < 32;
        if is_taken {
            // A reset is heard by a busy drive, whose command it ends without a word.
            self.host.ledger = Ledger::default();
            self.host.ledger.send(slot);
            self.host.is_gone = false;
            let reads = fis.command == PACKET && matches!(packet[0], 0x28 | 0xa8);
            self.host.content = if reads { self.inside } else { None };
            // START STOP UNIT moves the tray.
            self.changes += usize::from(fis.command == PACKET && packet[0] == 0x1b);
        }
        let before = self.host.fises;
        self.drive.execute(slot, fis, packet, self.now, &mut self.host);
        assert!(is_taken || self.host.fises == before, "an answer to what was not taken");
        if is_reset && is_taken {
            assert_eq!(self.host.fises - before, 1, "a signature");
            assert!(!self.host.is_busy() && !self.drive.is_locked(), "a reset ends at once");
        }
    }

    fn control(&mut self, control: u8) {
        let was_held = std::mem::replace(&mut self.held, control & 4 != 0);
        let before = self.host.fises;
        if self.held {
            self.host.ledger = Ledger::default();
        }
        self.drive.control(control, self.now, &mut self.host);
        let signatures = usize::from(was_held && !self.held);
        assert_eq!(self.host.fises - before, signatures, "a signature once SRST is clear");
    }

    fn reset(&mut self, how: u8) {
        let live = self.host.ledger.unqueued.count_ones();
        self.host.ledger = Ledger::default();
        let before = self.host.fises;
        if how & 1 != 0 {
            self.held = false;
            self.drive.comreset(self.now, &mut self.host);
            assert_eq!(self.host.fises - before, 1, "a signature");
            assert!(!self.drive.is_locked(), "a reset unlocks the tray");
        } else {
            let count = self.drive.abort_all(self.now);
            assert_eq!(count as u32, live, "every command was aborted");
            assert_eq!(self.host.fises, before, "none was answered");
        }
    }

    fn check(&mut self) {
        assert!(self.host.notices <= self.changes, "more notices than there was to tell");
        assert_eq!(self.drive.has_medium(), self.inside.is_some());
        let live = |engine: &Engine| engine.status(self.now).operations.len();
        let is_busy = self.host.is_busy() && !self.host.is_gone;
        if let Some(engine) = self.drive.engine_mut() {
            engine.assert_consistent();
            assert!(live(engine) <= usize::from(is_busy), "an operation for nobody");
        }
        for engine in &self.outside {
            engine.assert_consistent();
            assert_eq!(live(engine), 0, "an operation outlived its medium's eject");
        }
    }

    /// The storage works from now on.
    fn finish(mut self) {
        for image in &self.images {
            image.hold(false);
            image.complete_all();
        }
        self.host.fault = None;
        let at_rest = (0..PATIENCE).any(|_| {
            self.poll();
            let mut due: Vec<_> = self.outside.iter().filter_map(Engine::next_wakeup).collect();
            due.extend(self.drive.next_wakeup());
            self.now = due.iter().copied().max().unwrap_or_default().max(self.now.plus(1_000));
            due.is_empty()
        });
        assert!(at_rest, "the drive never comes to rest");
        self.check();
        if self.host.is_busy() && !self.held {
            let before = self.host.fises;
            self.drive.execute(0, &ata(0xa1), &[0; 16], self.now, &mut self.host);
            assert_eq!(self.host.fises, before, "only sleep leaves a command without an end");
        }
        self.reset(1);
        self.eject(true);
        self.check();
        for engine in &self.outside {
            let status = engine.status(self.now);
            assert_eq!(status.free_slots, status.slots, "every slot came back");
        }
        self.images.clear();
        self.insert(0);
        self.host.memory.resize(BLOCK as usize, 0);
        self.host.memory.fill(0xee);
        let mut read = [0; 16];
        (read[0], read[5], read[8]) = (0x28, 99, 1);
        // The first ones report the reset and the medium.
        for _ in 0..3 {
            self.command(7, &packet_fis(0), &read);
            for _ in 0..PATIENCE {
                self.poll();
                if !self.host.is_busy() {
                    break;
                }
            }
        }
        assert!(self.host.memory.iter().all(|byte| *byte == 1), "the new medium is read");
    }
}

fn ata(opcode: u8) -> RegisterH2D {
    RegisterH2D { is_command: true, command: opcode, device: 0xa0, ..RegisterH2D::default() }
}

/// By DMA, or by PIO with a byte count limit.
fn packet_fis(limit: u16) -> RegisterH2D {
    let is_dma = limit & 1 == 0;
    RegisterH2D { features: is_dma.into(), lba: u64::from(limit / 2) << 8, ..ata(PACKET) }
}

/// A command that the drive knows.
fn likely_packet(input: &mut Input) -> [u8; 16] {
    let mut packet = [0; 16];
    packet[..12].copy_from_slice(&input.array::<12>());
    packet[0] = (0..=u8::MAX)
        .map(|skip| packet[0].wrapping_add(skip))
        .find(|opcode| packet_command_name(*opcode).is_some())
        .unwrap_or(packet[0]);
    packet
}

/// A command that reads the medium, at a small address.
fn reading_packet(input: &mut Input) -> [u8; 16] {
    let [kind, lba, count, flags] = input.array();
    let mut packet = [0; 16];
    packet[5] = lba;
    match kind % 8 {
        0..=2 => (packet[0], packet[8]) = (0x28, count),
        3 => (packet[0], packet[9]) = (0xa8, count),
        4 | 5 => (packet[0], packet[8], packet[9]) = (0xbe, count, flags),
        6 => {
            let end = u16::from(lba) + u16::from(count);
            packet =
                [0xb9, 0, 0, 0, 2, lba % 75, 0, 2 + (end / 75) as u8, 0, flags, 0, 0, 0, 0, 0, 0];
            packet[8] = (end % 75) as u8;
        }
        _ => (packet[0], packet[8]) = (0x2f, count),
    }
    packet
}

/// One input: what drive and media are like, then events.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.event(&mut input);
    }
    world.finish();
}

/// Each command on its own, and the stories that a mutation would take long to find.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    const SHAPE: [u8; 3] = [4, 0, 0];
    const POLL: [u8; 2] = [17, 17];
    const HOLD: [u8; 3] = [11, 0, 1];
    const LET_GO: [u8; 3] = [11, 0, 0];
    let story = |parts: &[&[u8]]| {
        parts.iter().fold(Writer::default().bytes(&SHAPE), |all, part| all.bytes(part)).finish()
    };
    let packet = |bytes: &[u8], limit: u16| {
        let mut event = vec![2, 0];
        event.extend_from_slice(bytes);
        event.resize(14, 0);
        event.extend_from_slice(&limit.to_le_bytes());
        event
    };
    let read = |kind: u8, lba: u8, count: u8, flags: u8| [5, 0, kind, lba, count, flags, 0, 0];
    // Of the reset and of the medium.
    let ready = [packet(&[0], 0), packet(&[0], 0)].concat();
    let every = |limit: u16| -> Vec<u8> {
        let known = (0..=u8::MAX).filter(|opcode| packet_command_name(*opcode).is_some());
        let commands = known.flat_map(|it| {
            // Lengths where most commands have theirs.
            [packet(&[it, 1, 0, 0, 16, 0, 0, 0, 64, 64, 0, 0], limit), POLL.to_vec()].concat()
        });
        commands.collect()
    };
    let modes = [
        packet(&[0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255], 0),
        vec![8, 0, 20, 0, 18, 0, 0, 0, 0, 0, 0, 1, 10, 0x20, 3, 0, 0, 0, 0, 0, 0, 0, 0],
        packet(&[0x55, 0x10, 0, 0, 0, 0, 0, 0, 20], 0),
    ]
    .concat();
    let lock = packet(&[0x1e, 0, 0, 0, 1], 0);
    let eject = packet(&[0x1b, 0, 0, 0, 2], 0);
    let load = packet(&[0x1b, 0, 0, 0, 3], 0);
    let event = packet(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8], 0);
    let notify = [7, 0, 0x10, 5];
    vec![
        ("dma", story(&[&ready, &every(0)])),
        ("pio", story(&[&ready, &every(513)])),
        ("ata", story(&[&[7, 0, 3, 0x42, 7, 4, 0, 0, 7, 5, 0, 0, 7, 2, 0, 0, 7, 3, 0, 0]])),
        ("toc", story(&[&ready, &packet(&[0x43, 2, 2, 0, 0, 0, 0, 0, 99], 0)])),
        ("raw", story(&[&ready, &read(4, 70, 6, 0xf8), &POLL, &POLL, &read(6, 1, 3, 0xf8), &POLL])),
        ("modes", story(&[&ready, &modes])),
        (
            "late",
            story(&[&ready, &HOLD, &read(0, 0, 8, 0), &POLL, &[14, 0], &ready, &LET_GO, &POLL]),
        ),
        ("reset", story(&[&ready, &HOLD, &read(0, 0, 8, 0), &POLL, &[14, 1], &LET_GO, &POLL])),
        ("device-reset", story(&[&ready, &HOLD, &read(0, 0, 8, 0), &POLL, &[7, 2, 0, 0], &LET_GO])),
        ("soft-reset", story(&[&ready, &HOLD, &read(3, 0, 8, 0), &[13, 4, 17, 13, 0], &LET_GO])),
        ("fail", story(&[&ready, &HOLD, &read(0, 0, 8, 0), &POLL, &[11, 0, 37, 0], &POLL])),
        ("eject-late", story(&[&ready, &HOLD, &read(0, 0, 8, 0), &POLL, &[16, 1], &POLL, &LET_GO])),
        (
            "replaced",
            story(&[&ready, &HOLD, &read(4, 0, 8, 0xf8), &[16, 1, 15, 0], &POLL, &ready, &POLL]),
        ),
        (
            "aborted",
            story(&[
                &ready,
                &HOLD,
                &read(0, 0, 8, 0),
                &[16, 1, 14, 0, 15, 0],
                &ready,
                &read(0, 9, 1, 0),
            ]),
        ),
        ("locked", story(&[&ready, &lock, &eject, &[16, 0], &event, &[16, 1], &event])),
        ("tray", story(&[&ready, &notify, &eject, &POLL, &event, &load, &POLL, &event, &ready])),
        (
            "dvd",
            story(&[&[16, 1, 15, 15], &ready, &packet(&[0xad, 0, 0, 0, 0, 0, 0, 0, 16, 0], 0)]),
        ),
        ("sleep", story(&[&[7, 1, 0, 0], &ready, &[14, 1], &ready])),
        ("crc", story(&[&ready, &[10, 2], &read(0, 0, 1, 0), &POLL, &[10, 0], &read(0, 0, 9, 0)])),
    ]
}
