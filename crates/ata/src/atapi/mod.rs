//! An ATAPI drive for CD, DVD and BD images: packet commands of MMC-6 over the PACKET feature set of
//! ACS-4.
//!
//! This file holds how a command is taken, how it ends, and resets. `ata.rs` has the ATA commands,
//! `command.rs` the table of packet commands, a file each for their families; `medium.rs` has the
//! tray and what lies in it.
//!
//! The image is read through an [`Engine`], which comes and goes with the medium: an image on
//! storage that hangs keeps neither a reset nor an eject waiting (contract C1).
//!
//! # How a command ends
//! Each ends by one Register Device-to-Host FIS with I = 1. A packet command that does not end well
//! sets ERR (CHECK CONDITION) and has its sense key in the error register; its sense data is kept
//! for REQUEST SENSE. Data moves at the command's end, in PIO in DRQ blocks of at most the byte
//! count limit, of which the first and the last are announced by a PIO Setup FIS.
//!
//! Left out: writing, audio, packet commands that are queued, and overlapped ones (both obsolete).

mod ata;
mod command;
mod config;
mod disc;
mod events;
mod features;
mod identify;
mod inquiry;
mod medium;
mod mode;
mod read;
mod sector;
mod sense;
mod status;
mod toc;

use alloc::vec::Vec;
use core::mem;

use freewheel_block::{
    Client, Engine, EngineStatus, GuestMemoryError, IoError, Nanos, OpError, OpToken,
};

pub use command::packet_command_name;
pub use config::DriveConfig;
pub use medium::{InsertError, Locked};

use crate::fis::{CONTROL_SRST, DeviceFis, Error, RegisterH2D, Registers, Status};
use crate::{Device, Link, LinkError};
use ata::{Power, Settings};
use command::{Call, Outcome};
use medium::Bay;
use mode::ModePages;
use read::Reading;
use sense::Sense;

/// The command succeeded, or has not yet failed: the drive is ready.
const READY: Status = Status::DRDY;

/// Interrupt reason in the count register (ACS-4, PACKET): the command is complete.
const REASON_DONE: u16 = 0b11;
/// The same: data to the host.
const REASON_TO_HOST: u16 = 0b10;
/// The same: data from the host.
const REASON_FROM_HOST: u16 = 0b00;

/// LBA register of a packet device's signature (ACS-4, device signatures).
const SIGNATURE_LBA: u64 = 0xeb_1401;

/// An ATAPI drive. See the [module's documentation](self).
pub struct Drive {
    config: DriveConfig,
    bay: Bay,
    settings: Settings,
    power: Power,
    modes: ModePages,
    /// Why the last packet command failed.
    sense: Sense,
    /// The packet command that reads the medium.
    reading: Option<Reading>,
    /// The engine's answer to it.
    answer: Option<(OpToken, Result<(), OpError>)>,
    /// A slot that a sleeping drive has swallowed; only a reset ends it.
    silent: bool,
    /// SRST is set.
    held_in_reset: bool,
    kick_due: Option<Nanos>,
}

/// What the engine sees of the host: the data of the one command that reads.
struct Lane<'a> {
    link: &'a mut dyn Link,
    reading: &'a mut Option<Reading>,
    answer: &'a mut Option<(OpToken, Result<(), OpError>)>,
}

impl Client for Lane<'_> {
    fn gather(&mut self, _tag: u32, _offset: u64, _buf: &mut [u8]) -> Result<(), GuestMemoryError> {
        // Nothing is ever written.
        Err(GuestMemoryError)
    }

    fn scatter(&mut self, _tag: u32, offset: u64, data: &[u8]) -> Result<(), GuestMemoryError> {
        let reading = self.reading.as_mut().ok_or(GuestMemoryError)?;
        reading.take_data(offset, data, self.link)
    }

    fn answer(&mut self, token: OpToken, _tag: u32, result: Result<(), OpError>) {
        *self.answer = Some((token, result));
    }
}

impl Drive {
    /// A drive as after power-on, with nothing in it and its tray closed.
    pub fn new(config: DriveConfig) -> Self {
        Self {
            config,
            bay: Bay::empty(),
            settings: Settings::power_on(),
            power: Power::Active,
            modes: ModePages::power_on(),
            sense: Sense::NONE,
            reading: None,
            answer: None,
            silent: false,
            held_in_reset: false,
            kick_due: None,
        }
    }

    /// The configuration it was built with.
    pub fn config(&self) -> &DriveConfig {
        &self.config
    }

    // --- how commands end --------------------------------------------------------------------

    fn end(&self, slot: u8, registers: Registers, link: &mut dyn Link) {
        link.fis(Some(slot), DeviceFis::RegisterD2H { interrupt: true, registers });
    }

    /// Ends a packet command.
    fn end_packet(&mut self, call: &Call, result: Result<(), Sense>, link: &mut dyn Link) {
        let (status, error) = match result {
            Ok(()) => (READY, Error::empty()),
            Err(sense) => {
                self.sense = sense;
                (READY | Status::ERR, Error::from_bits_retain(sense.key << 4))
            }
        };
        let device = call.fis.device;
        let lba = call.fis.lba & 0xff;
        self.end(call.slot, Registers { status, error, lba, device, count: REASON_DONE }, link);
    }

    fn conclude(&mut self, call: &Call, outcome: Outcome, link: &mut dyn Link) {
        let result = match outcome {
            Outcome::Pending => return,
            Outcome::Good => Ok(()),
            Outcome::Data(data) => self.data_to_host(call, &data, link),
            Outcome::Check(sense) => Err(sense),
        };
        self.end_packet(call, result, link);
    }

    fn data_to_host(&mut self, call: &Call, data: &[u8], link: &mut dyn Link) -> Result<(), Sense> {
        if data.is_empty() {
            return Ok(());
        }
        call.may_move_data()?;
        link.data_in(call.slot, 0, data).map_err(sense_of_link)?;
        self.announce_data(call, data.len() as u64, REASON_TO_HOST, link);
        Ok(())
    }

    /// The parameter list of a packet command, `len_bytes` long.
    fn data_from_host(
        &mut self,
        call: &Call,
        len_bytes: u16,
        link: &mut dyn Link,
    ) -> Result<Vec<u8>, Sense> {
        let mut data = alloc::vec![0; usize::from(len_bytes)];
        if data.is_empty() {
            return Ok(data);
        }
        call.may_move_data()?;
        self.announce_data(call, u64::from(len_bytes), REASON_FROM_HOST, link);
        link.data_out(call.slot, 0, &mut data).map_err(sense_of_link)?;
        Ok(data)
    }

    /// The PIO Setup FISes of `len_bytes` bytes; none in DMA. The command always ends by a Register
    /// FIS of its own, so each leaves the drive busy.
    fn announce_data(&self, call: &Call, len_bytes: u64, reason: u16, link: &mut dyn Link) {
        if call.is_dma() {
            return;
        }
        let limit = u64::from(call.byte_count_limit()).max(2);
        // All data has moved at once, so the blocks between the first and the last would only
        // overwrite each other's FIS, as often as a host's small limit wants it.
        let first = len_bytes.min(limit);
        let last = (len_bytes - first) % limit;
        let last = if last == 0 { limit } else { last };
        for block in [Some(first), (first < len_bytes).then_some(last)].into_iter().flatten() {
            let lba = block << 8 | call.fis.lba & 0xff;
            let (device, error) = (call.fis.device, Error::empty());
            let status = READY | Status::DRQ;
            link.fis(
                Some(call.slot),
                DeviceFis::PioSetup {
                    interrupt: true,
                    to_host: reason == REASON_TO_HOST,
                    registers: Registers { status, error, lba, device, count: reason },
                    ending_status: READY | Status::BSY,
                    transfer_count_bytes: block as u16,
                },
            );
        }
    }

    // --- resets ------------------------------------------------------------------------------

    /// Forgets the command in flight, whatever the storage does (C1); says how many there were.
    fn cancel_everything(&mut self, now: Nanos) -> usize {
        if let Some(medium) = self.bay.medium_mut() {
            medium.engine.cancel_all(now);
        }
        self.answer = None;
        // If a medium went from under it, that is no news of the command after it.
        self.bay.lost = false;
        usize::from(mem::take(&mut self.silent)) + usize::from(self.reading.take().is_some())
    }

    /// What every reset does but PxCMD.ST.
    fn reset(&mut self, now: Nanos) {
        self.cancel_everything(now);
        self.sense = Sense::NONE;
        self.bay.reset();
        if self.power == Power::Sleep {
            self.power = Power::Standby;
        }
    }

    fn send_signature(&self, link: &mut dyn Link) {
        link.fis(None, DeviceFis::RegisterD2H { interrupt: true, registers: signature() });
    }
}

/// What a packet device shows after a reset: not even DRDY, until a command has been accepted.
fn signature() -> Registers {
    Registers {
        status: Status::empty(),
        error: Error::from_bits_retain(1),
        lba: SIGNATURE_LBA,
        device: 0,
        count: 1,
    }
}

fn sense_of_link(failure: LinkError) -> Sense {
    match failure {
        LinkError::Crc => Sense::LINK_CRC,
        LinkError::Overflow | LinkError::HostBus => Sense::DATA_PHASE,
    }
}

impl Device for Drive {
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        packet: &[u8; 16],
        now: Nanos,
        link: &mut dyn Link,
    ) {
        if slot >= 32 || self.held_in_reset {
            return;
        }
        // Heard by a drive that is busy, and by one that sleeps (ACS-4, DEVICE RESET).
        if command.command == ata::DEVICE_RESET {
            return self.execute_ata(slot, command, now, link);
        }
        // A busy drive does not hear anything else; its controller does not send either.
        if self.silent || self.reading.is_some() {
            return;
        }
        if self.power == Power::Sleep {
            self.silent = true;
            return;
        }
        match command.command {
            ata::PACKET => {
                let call = Call { slot, fis: *command, packet: *packet, now };
                let outcome = self.execute_packet(&call, link);
                self.conclude(&call, outcome, link);
            }
            _ => self.execute_ata(slot, command, now, link),
        }
    }

    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link) {
        let srst = control & CONTROL_SRST != 0;
        let was_held = mem::replace(&mut self.held_in_reset, srst);
        if srst {
            self.reset(now);
        } else if was_held {
            if self.settings.revert {
                self.settings = Settings::power_on();
            }
            self.send_signature(link);
        }
    }

    fn comreset(&mut self, now: Nanos, link: &mut dyn Link) {
        self.reset(now);
        self.held_in_reset = false;
        self.modes = ModePages::power_on();
        if !self.settings.preserve {
            self.settings = Settings::power_on();
        }
        self.send_signature(link);
    }

    fn abort_all(&mut self, now: Nanos) -> usize {
        // Sense data stays: hosts stop the port, start it, and ask for it.
        self.cancel_everything(now)
    }

    fn poll(&mut self, now: Nanos, link: &mut dyn Link) {
        if let Some(medium) = self.bay.medium_mut() {
            if self.kick_due.take().is_some() {
                medium.engine.kick(now);
            }
            let (reading, answer) = (&mut self.reading, &mut self.answer);
            medium.engine.poll(now, &mut Lane { link, reading, answer });
        }
        if self.bay.lost {
            self.end_lost_reading(link);
        }
        if let Some((token, result)) = self.answer.take()
            && self.reading.as_ref().is_some_and(|reading| reading.token == Some(token))
            && let Some(reading) = self.reading.take()
        {
            self.go_on_reading(reading, result, now, link);
        }
        self.notify(link);
    }

    fn next_wakeup(&self) -> Option<Nanos> {
        let engine = self.bay.medium().and_then(|medium| medium.engine.next_wakeup());
        let notice = (self.notice_due() || self.bay.lost).then_some(Nanos(0));
        [self.kick_due, engine, notice].into_iter().flatten().min()
    }

    fn engine_status(&self, now: Nanos) -> Option<EngineStatus> {
        Some(self.bay.medium()?.engine.status(now))
    }

    fn engine_mut(&mut self) -> Option<&mut Engine> {
        Some(&mut self.bay.medium_mut()?.engine)
    }

    fn drive_mut(&mut self) -> Option<&mut Drive> {
        Some(self)
    }
}

impl Drive {
    /// What the host is told of a read that failed.
    fn sense_of(&self, failure: OpError) -> Sense {
        let sectors = failure.offset_bytes / sector::USER_BYTES as u64;
        match failure.error {
            IoError::GuestMemory => Sense::DATA_PHASE,
            IoError::BackendProtocol => Sense::HARDWARE,
            _ => Sense::READ_ERROR.at(u32::try_from(sectors).unwrap_or(u32::MAX)),
        }
    }
}
