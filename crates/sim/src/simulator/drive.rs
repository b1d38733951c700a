//! A drive on a port of its own: its guest's packet commands, its user who inserts and ejects, and
//! what of it is judged. One command at a time; what it answers is foreseen by `drive_rules`.

use freewheel_ahci::registers::*;
use freewheel_block::Nanos;

use super::coverage::{DriveEvent, DriveState};
use super::disc::{self, BLOCK, BLOCKS, Disc, Ejected, at_rest};
use super::drive_rules::{Answer, READ_ERROR, Rules, Sense};
use super::guest::PORT_BYTES;
use super::memory::{FETCH, WRITE};
use super::step::{How, PacketOp};
use super::violation::Kind;
use super::world::{BUSY, World};

/// Bytes of guest memory that a drive's port has.
pub(super) const DRIVE_BYTES: u64 = 0x6000;
/// Bytes of a buffer, of which there are two.
const BUFFER: u64 = 0x2000;
/// Slots of the port that are used.
const SLOTS: u32 = 4;

/// A command that reads the medium.
#[derive(Clone, Copy)]
struct Read {
    slot: u32,
    lba: u32,
    count: u32,
    disc: u32,
    /// A request of it has failed.
    failed: bool,
    /// Its disc has been taken out.
    lost: bool,
    /// It has ended, and the guest has not looked yet.
    ended: bool,
}

/// The guest's and the user's half of a drive.
pub(super) struct DriveGuest {
    port: usize,
    base: u64,
    rules: Rules,
    read: Option<Read>,
    /// What is in the tray.
    disc: Option<Disc>,
    ejected: Vec<Ejected>,
    discs: u32,
    buffer: u64,
    running: bool,
    /// The sense data is not known, until a reset.
    unsure: bool,
}

impl DriveGuest {
    /// A drive behind `disks` disks.
    pub(super) fn new(disks: usize) -> Self {
        Self {
            port: disks,
            base: disks as u64 * PORT_BYTES,
            rules: Rules::power_on(),
            read: None,
            disc: None,
            ejected: Vec::new(),
            discs: 0,
            buffer: 0,
            running: false,
            unsure: false,
        }
    }

    fn table(&self, slot: u32) -> u64 {
        self.base + 0x1000 + u64::from(slot) * 0x200
    }

    fn data(&self) -> u64 {
        self.base + 0x2000 + self.buffer * BUFFER
    }

    fn state(&self) -> DriveState {
        match (&self.read, self.rules.medium) {
            (Some(Read { lost: true, .. }), _) => DriveState::Lost,
            (Some(_), _) => DriveState::Reading,
            (None, None) if self.rules.open => DriveState::Open,
            (None, None) => DriveState::Empty,
            (None, Some(_)) if self.rules.open => DriveState::OpenLoaded,
            (None, Some(_)) if self.rules.locked => DriveState::Locked,
            (None, Some(_)) => DriveState::Loaded,
        }
    }
}

impl World {
    fn drive_event(&mut self, event: DriveEvent) {
        if let Some(drive) = &self.drive {
            self.coverage.drive(drive.state(), event);
        }
    }

    fn write_drive(&mut self, register: u32, value: u32) {
        let Some(port) = self.drive.as_ref().map(|drive| drive.port) else { return };
        let offset = u64::from(PORTS + port as u32 * PORT_STRIDE + register);
        self.hba.mmio_write(offset, &value.to_le_bytes(), self.now, &self.memory);
        self.event();
    }

    /// Nothing of the drive's memory is the controller's any more, but where FISes go.
    fn take_drive_memory(&mut self, fises: bool) {
        let Some(drive) = &self.drive else { return };
        self.memory.set(drive.base, DRIVE_BYTES, 0);
        if fises {
            self.memory.set(drive.base + 0x400, 0x100, WRITE);
        }
    }

    /// Before all ports are reset.
    pub(super) fn lose_drive(&mut self) {
        self.take_drive_memory(false);
        self.drive_event(DriveEvent::HbaReset);
        if let Some(drive) = &mut self.drive {
            drive.read = None;
        }
    }

    /// After all ports were reset.
    pub(super) fn renew_drive(&mut self) {
        let Some(drive) = &mut self.drive else { return };
        (drive.running, drive.unsure) = (false, false);
        drive.rules.reset();
        self.bring_drive_up();
    }

    pub(super) fn bring_drive_up(&mut self) {
        let Some(drive) = &mut self.drive else { return };
        if !self.memory.is_mapped() {
            return;
        }
        drive.running = true;
        let (port, base) = (drive.port, drive.base);
        if !self.enabled {
            self.enabled = true;
            self.write_global(GHC, (Ghc::AE | Ghc::IE).bits());
        }
        self.take_drive_memory(true);
        self.write_drive(PX_CLB, base as u32);
        self.write_drive(PX_CLBU, (base >> 32) as u32);
        self.write_drive(PX_FB, (base + 0x400) as u32);
        self.write_drive(PX_FBU, (base >> 32) as u32);
        let cmd = PxCmd::FRE | PxCmd::SUD | PxCmd::POD | PxCmd::ATAPI;
        self.write_drive(PX_CMD, cmd.bits());
        self.write_drive(PX_SERR, u32::MAX);
        self.write_drive(PX_IS, u32::MAX);
        self.write_drive(PX_IE, u32::MAX);
        if self.read_port(port, PX_SSTS) & 0xf != 3 || self.read_port(port, PX_SIG) != 0xeb14_0101 {
            self.fail(Kind::Register, || "the drive's link is not up".into());
        }
        if self.read_port(port, PX_TFD) & BUSY != 0 {
            self.write_drive(PX_CMD, (cmd | PxCmd::CLO).bits());
        }
        self.write_drive(PX_CMD, (cmd | PxCmd::ST).bits());
    }

    /// The guest stops the drive's port, or resets the drive.
    pub(super) fn reset_drive(&mut self, comreset: bool) {
        let event = if comreset { DriveEvent::Comreset } else { DriveEvent::Stop };
        self.drive_event(event);
        self.take_drive_memory(true);
        let Some(drive) = &mut self.drive else { return };
        let (port, calls) = (drive.port, drive.disc.as_ref().map(|disc| disc.state().calls));
        (drive.read, drive.running) = (None, false);
        let cmd = self.read_port(port, PX_CMD);
        self.write_drive(PX_CMD, cmd & !PxCmd::ST.bits());
        if comreset {
            self.write_drive(PX_SCTL, DET_COMRESET);
        }
        let left = self.read_port(port, PX_CI);
        let Some(drive) = &mut self.drive else { return };
        if comreset {
            drive.rules.reset();
            drive.unsure = false;
        }
        if drive.disc.as_ref().map(|disc| disc.state().calls) != calls || left != 0 {
            self.fail(Kind::Reset, || format!("a reset of the drive leaves {left:#x}, or asks"));
        }
        let counters = self.hba.device_mut(port).and_then(|device| device.engine_mut());
        let counters = counters.map(|engine| engine.counters());
        if counters.is_some_and(|counters| counters.queued_now + counters.running_now > 0) {
            self.fail(Kind::Reset, || format!("a reset of the drive leaves {counters:?}"));
        }
        if comreset {
            self.write_drive(PX_SCTL, 0);
        }
        self.bring_drive_up();
    }

    /// What an interrupt handler does.
    fn drive_interrupt(&mut self) {
        let Some(port) = self.drive.as_ref().map(|drive| drive.port) else { return };
        let is = self.read_port(port, PX_IS);
        self.write_drive(PX_IS, is);
        self.write_global(IS, 1 << port);
        let Some(drive) = &mut self.drive else { return };
        drive.read.take_if(|read| read.ended);
        let unsure = drive.unsure;
        if is & super::commands::ERRORS != 0 {
            // The sense data is still there afterwards, for whoever asks.
            self.reset_drive(unsure);
        }
    }

    /// A packet command of the guest.
    pub(super) fn packet(&mut self, op: PacketOp, extra: u32) {
        let Some(drive) = &self.drive else { return };
        if !self.memory.is_mapped() {
            return;
        }
        let running = drive.running;
        if !running {
            self.bring_drive_up();
        }
        self.drive_interrupt();
        for _ in 0..4 {
            if self.drive.as_ref().is_some_and(|drive| drive.read.is_some()) {
                self.disc(0, How::Well);
                self.poll();
                self.drive_interrupt();
            }
        }
        let Some(drive) = &mut self.drive else { return };
        if drive.read.is_some() {
            self.reset_drive(extra & 1 == 0);
        }
        let Some(drive) = &mut self.drive else { return };
        self.stats.operations += 1;
        drive.buffer ^= 1;
        let slot = extra >> 1 & (SLOTS - 1);
        let lba = (extra >> 8) % (BLOCKS - 3);
        let count = 1 + (extra >> 4 & 3);
        let before = drive.state();
        let answer = drive.rules.answer(op);
        let (port, bytes) = match &answer {
            Answer::Reads => {
                let disc = drive.rules.medium.unwrap_or(0);
                let (failed, lost, ended) = (false, false, false);
                drive.read = Some(Read { slot, lba, count, disc, failed, lost, ended });
                (drive.port, u64::from(count) * BLOCK)
            }
            Answer::Good(data) => (drive.port, data.len() as u64),
            Answer::Check(_) => (drive.port, 0),
        };
        self.say(|| format!("  drive, slot {slot}: {op:?} {lba}+{count}, foreseen: {answer:x?}"));
        let event = match (&answer, op) {
            (Answer::Good(_), PacketOp::Open) => DriveEvent::Opens,
            (Answer::Good(_), PacketOp::Load) => DriveEvent::Loads,
            (Answer::Good(_), _) => DriveEvent::Good,
            (Answer::Reads, _) => DriveEvent::Reads,
            (Answer::Check((2, ..)), _) => DriveEvent::NotReady,
            (Answer::Check((5, ..)), _) => DriveEvent::Prevented,
            (Answer::Check(_), _) => DriveEvent::Attention,
        };
        self.coverage.drive(before, event);
        self.ring_packet(slot, op, lba, count, bytes);
        let ended = self.read_port(port, PX_CI) & 1 << slot == 0;
        let error = self.read_port(port, PX_IS) & PxIs::TFES.bits() != 0;
        match answer {
            Answer::Reads if ended || error => {
                self.fail(Kind::Answer, || "a read ends before its disc was read".into());
            }
            Answer::Reads => {}
            Answer::Good(data) => {
                self.take_drive_memory(true);
                let found = self.drive_data(data.len());
                if !ended || error || found != data {
                    self.fail(Kind::Answer, || {
                        format!("{op:?} ended {ended}, error {error}, with {found:x?}")
                    });
                }
                self.drive_interrupt();
            }
            Answer::Check(sense) => {
                self.take_drive_memory(true);
                self.check_error(sense, &format!("{op:?}"));
                self.drive_interrupt();
            }
        }
    }

    fn drive_data(&self, len: usize) -> Vec<u8> {
        let address = self.drive.as_ref().map_or(0, DriveGuest::data);
        self.memory.peek(address, len)
    }

    fn check_error(&mut self, sense: Sense, what: &str) {
        let Some(port) = self.drive.as_ref().map(|drive| drive.port) else { return };
        let task_file = self.read_port(port, PX_TFD);
        let is = self.read_port(port, PX_IS);
        if task_file & 0xff != 0x41
            || task_file >> 12 & 0xf != u32::from(sense.0)
            || is & PxIs::TFES.bits() == 0
        {
            self.fail(Kind::Answer, || {
                format!("{what} is to end with {sense:x?}: IS {is:#x}, TFD {task_file:#x}")
            });
        }
    }

    fn ring_packet(&mut self, slot: u32, op: PacketOp, lba: u32, count: u32, bytes: u64) {
        let Some(drive) = &self.drive else { return };
        let (table, header, data) =
            (drive.table(slot), drive.base + u64::from(slot) * 32, drive.data());
        let mut content = [0; 0x90];
        // PACKET, by DMA.
        (content[0], content[1], content[2], content[3], content[7]) = (0x27, 0x80, 0xa0, 1, 0xa0);
        content[0x40..0x4c].copy_from_slice(&op.packet(lba, count));
        content[0x80..0x88].copy_from_slice(&data.to_le_bytes());
        content[0x8c..].copy_from_slice(&(bytes.max(2) as u32 - 1).to_le_bytes());
        let entries = u32::from(bytes > 0);
        let used = 0x80 + entries as usize * 16;
        self.memory.fill(data, BUFFER, 0xdead_dead_dead_dead);
        if bytes > 0 {
            self.memory.set(data, bytes, WRITE);
        }
        self.memory.poke(table, &content[..used]);
        self.memory.set(table, used as u64, FETCH);
        // A: an ATAPI command.
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&(5 | 1 << 5 | entries << 16).to_le_bytes());
        bytes[8..].copy_from_slice(&table.to_le_bytes());
        self.memory.poke(header, &bytes);
        self.memory.set(header, 32, FETCH | WRITE);
        self.write_drive(PX_CI, 1 << slot);
    }

    /// After every event: whether the read in flight has ended, and how.
    pub(super) fn check_drive(&mut self) {
        let Some(drive) = &mut self.drive else { return };
        let Some(read) = &mut drive.read else { return };
        if read.ended {
            return;
        }
        let (port, slot) = (drive.port, read.slot);
        let ci = self.read_port(port, PX_CI);
        let is = self.read_port(port, PX_IS);
        if ci & 1 << slot != 0 && is & super::commands::ERRORS == 0 {
            return;
        }
        let Some(drive) = &mut self.drive else { return };
        let Some(read) = &mut drive.read else { return };
        read.ended = true;
        let read = *read;
        let data = drive.data();
        let lost = drive.rules.lost();
        self.take_drive_memory(true);
        self.say(|| format!("  drive, slot {slot}: the read has ended (IS {is:#x})"));
        if is & super::commands::ERRORS == 0 {
            self.drive_event(DriveEvent::Data);
            if read.lost {
                return self.fail(Kind::Answer, || "a read of an ejected disc ends well".into());
            }
            for block in 0..read.count {
                let found = self.memory.word(data + u64::from(block) * BLOCK, BLOCK);
                let wanted = disc::word(read.disc, read.lba + block);
                if found != Some(wanted) {
                    self.fail(Kind::Data, || {
                        format!("block {block} of a read holds {found:x?}, not {wanted:#x}")
                    });
                }
            }
            return;
        }
        self.drive_event(DriveEvent::Error);
        if is & PxIs::HBFS.bits() != 0 {
            // Guest memory was not there; what that is reported as is nobody's business here.
            if self.memory.is_mapped() {
                self.fail(Kind::Register, || "HBFS with all memory mapped".into());
            }
            if let Some(drive) = &mut self.drive {
                drive.unsure = true;
            }
            return;
        }
        let sense = match read {
            Read { lost: true, .. } => lost,
            Read { failed: true, .. } => READ_ERROR,
            _ => return self.fail(Kind::Answer, || "a read fails for no reason".into()),
        };
        self.check_error(sense, "a read");
        if let Some(drive) = &mut self.drive {
            drive.rules.sense = sense;
            // Where the medium is bad is in the sense data too.
            drive.unsure = sense == READ_ERROR;
        }
    }

    /// The user puts the next disc in.
    pub(super) fn insert(&mut self) {
        let Some(drive) = &mut self.drive else { return };
        let occupied = drive.rules.medium.is_some();
        self.coverage
            .drive(drive.state(), if occupied { DriveEvent::Occupied } else { DriveEvent::Insert });
        let number = drive.discs + 1;
        let disc = Disc::new(number);
        let device = self.hba.device_mut(drive.port).and_then(|device| device.drive_mut());
        let Some(device) = device else { return };
        let refused = device.insert(disc.engine()).is_err();
        if refused != occupied {
            return self.fail(Kind::Answer, || format!("a disc is refused: {refused}"));
        }
        if !refused {
            drive.discs = number;
            drive.rules.insert(number);
            drive.disc = Some(disc);
        }
        self.event();
    }

    /// The user ejects.
    pub(super) fn eject(&mut self, force: bool) {
        let Some(drive) = &mut self.drive else { return };
        let state = drive.state();
        let goes = drive.rules.eject(force);
        let event = match (goes, force) {
            (false, _) => DriveEvent::Refused,
            (true, true) => DriveEvent::Forced,
            (true, false) => DriveEvent::Eject,
        };
        self.coverage.drive(state, event);
        let now = self.now;
        let calls = drive.disc.as_ref().map(|disc| disc.state().calls);
        let device = self.hba.device_mut(drive.port).and_then(|device| device.drive_mut());
        let Some(device) = device else { return };
        let engine = device.eject(force, now);
        let after = drive.disc.as_ref().map(|disc| disc.state().calls);
        let expected = match &engine {
            Ok(engine) => goes && engine.is_some() == drive.disc.is_some(),
            Err(_) => !goes,
        };
        if goes
            && let Some(read) = &mut drive.read
            && !read.ended
        {
            read.lost = true;
            // From now on no byte of the disc reaches memory.
            let data = drive.data();
            self.memory.set(data, BUFFER, 0);
        }
        let mut left = None;
        if let (Ok(Some(engine)), Some(disc)) = (engine, drive.disc.take_if(|_| goes)) {
            let counters = engine.counters();
            left = (counters.running_now + counters.queued_now > 0).then_some(counters);
            drive.ejected.push(Ejected { disc, engine });
        }
        if !expected {
            self.fail(Kind::Answer, || format!("an eject is to work: {goes}, and does not so"));
        }
        if calls != after || left.is_some() {
            self.fail(Kind::Reset, || format!("an eject asks the storage, or leaves {left:?}"));
        }
        self.event();
    }

    /// The storage of the disc in the tray, or of one that was ejected, ends a request.
    pub(super) fn disc(&mut self, which: u8, how: How) {
        let Some(drive) = &mut self.drive else { return };
        let ejected = drive.ejected.iter().map(|ejected| &ejected.disc);
        let mut which = usize::from(which);
        let all: usize = drive.disc.iter().chain(ejected.clone()).map(outstanding).sum();
        if all == 0 {
            return;
        }
        which %= all;
        let mut failed = false;
        for (at, disc) in drive.disc.iter().chain(ejected).enumerate() {
            let count = outstanding(disc);
            if which < count {
                failed = disc.state().end(which, how) && at == 0 && drive.disc.is_some();
                break;
            }
            which -= count;
        }
        // It may be an orphan that has failed; then the read in flight has not.
        if failed && let Some(read) = &mut drive.read {
            read.failed = true;
        }
        self.say(|| format!("  a disc ends a read: {how:?}"));
    }

    /// After each poll of the controller: what was ejected comes to rest.
    pub(super) fn poll_ejected(&mut self) {
        let now = self.now;
        let Some(drive) = &mut self.drive else { return };
        let mut found = Ok(());
        drive.ejected.retain_mut(|ejected| match ejected.poll(now) {
            Ok(at_rest) => !at_rest,
            Err(violation) => {
                found = Err(violation);
                false
            }
        });
        let asked = drive.disc.as_ref().and_then(|disc| disc.state().violation.take());
        self.note(found);
        self.note(asked.map_or(Ok(()), Err));
        let waits = self.drive.as_ref().and_then(|drive| drive.read);
        if waits.is_some_and(|read| read.lost && !read.ended) {
            self.fail(Kind::Answer, || "a read whose disc was ejected is not answered".into());
        }
    }

    /// Everything ends; nothing may be left over.
    pub(super) fn finish_drive(&mut self) {
        if self.drive.is_none() {
            return;
        }
        // Whatever is still in flight is waited for, or reset.
        self.packet(PacketOp::Event, 0);
        for _ in 0..64 {
            self.disc(0, How::Well);
        }
        self.poll();
        let now: Nanos = self.now;
        let Some(drive) = &self.drive else { return };
        let left = drive.ejected.len();
        let device = self.hba.device_mut(drive.port);
        let engine = device.and_then(|device| device.engine_mut());
        let rests = engine.is_none_or(|engine| at_rest(engine, now));
        if left > 0 || !rests {
            self.fail(Kind::Leftover, || format!("{left} ejected discs never come to rest"));
        }
    }
}

fn outstanding(disc: &Disc) -> usize {
    disc.state().outstanding()
}
