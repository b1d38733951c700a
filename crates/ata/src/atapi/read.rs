//! The commands that read the medium: READ (10) and (12), READ CD and READ CD MSF, VERIFY, SEEK,
//! READ CAPACITY (MMC-6, chapter 6).

use alloc::vec::Vec;

use freewheel_block::{ByteRange, GuestMemoryError, Nanos, OpError, OpToken, Request};

use super::ata::Power;
use super::command::{Call, Outcome};
use super::sector::{Layout, USER_BYTES, lba_of};
use super::sense::Sense;
use super::{Drive, Lane, REASON_TO_HOST, sense_of_link};
use crate::{Link, LinkError};

/// Sectors that READ CD fetches at a time where more than user data is wanted.
const CHUNK_SECTORS: u32 = 16;

/// A command that reads.
pub(crate) struct Reading {
    call: Call,
    form: Form,
    /// The engine's name for the operation; none while it is being submitted.
    pub(crate) token: Option<OpToken>,
    /// Why data did not reach the host.
    link_error: Option<LinkError>,
}

enum Form {
    /// User data, straight to the host.
    Plain { len_bytes: u64 },
    /// Nowhere.
    Verify,
    /// Sector by sector, with what surrounds the user data.
    Raw(Raw),
}

struct Raw {
    layout: Layout,
    /// The first sector of the chunk that is read now, how many it has, and how many come after.
    first: u32,
    chunk: u32,
    left: u32,
    /// Bytes that the host has.
    done_bytes: u64,
    /// The chunk's user data.
    stage: Vec<u8>,
}

impl Reading {
    /// Data of the engine.
    pub(crate) fn take_data(
        &mut self,
        offset_bytes: u64,
        data: &[u8],
        link: &mut dyn Link,
    ) -> Result<(), GuestMemoryError> {
        match &mut self.form {
            Form::Verify => Ok(()),
            Form::Plain { .. } => {
                link.data_in(self.call.slot, offset_bytes, data).map_err(|error| {
                    self.link_error = Some(error);
                    GuestMemoryError
                })
            }
            Form::Raw(raw) => {
                let start = usize::try_from(offset_bytes).map_err(|_| GuestMemoryError)?;
                let end = start.checked_add(data.len()).ok_or(GuestMemoryError)?;
                raw.stage.get_mut(start..end).ok_or(GuestMemoryError)?.copy_from_slice(data);
                Ok(())
            }
        }
    }
}

fn bytes_of(lba: u32, count: u32) -> ByteRange {
    let sector_bytes = USER_BYTES as u64;
    ByteRange::new(u64::from(lba) * sector_bytes, u64::from(count) * sector_bytes)
}

/// READ (10).
pub(crate) fn read_10(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    drive.read_blocks(call, call.be32(2), u32::from(call.be16(7)), link)
}

/// READ (12).
pub(crate) fn read_12(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    drive.read_blocks(call, call.be32(2), call.be32(6), link)
}

/// READ CD.
pub(crate) fn read_cd(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    drive.read_sectors(call, call.be32(2), call.be24(6), link)
}

/// READ CD MSF: from an address on the disc up to another.
pub(crate) fn read_cd_msf(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    let address = |at: usize| lba_of([call.packet[at], call.packet[at + 1], call.packet[at + 2]]);
    match (address(3), address(6)) {
        (Some(first), Some(end)) if first <= end => {
            drive.read_sectors(call, first, end - first, link)
        }
        _ => Sense::INVALID_FIELD.into(),
    }
}

/// VERIFY (10), without comparing.
pub(crate) fn verify_10(drive: &mut Drive, call: &Call, link: &mut dyn Link) -> Outcome {
    const BYTE_CHECK: u8 = 1 << 1;
    if call.packet[1] & BYTE_CHECK != 0 {
        return Sense::INVALID_FIELD.into();
    }
    let (lba, count) = (call.be32(2), u32::from(call.be16(7)));
    if let Err(sense) = drive.check_blocks(lba, count) {
        return sense.into();
    }
    drive.read(call, Form::Verify, bytes_of(lba, count), call.now, link)
}

/// SEEK (10): the address is checked, and nothing moves.
pub(crate) fn seek_10(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    match drive.check_blocks(call.be32(2), 1) {
        Ok(()) => Outcome::Good,
        Err(sense) => sense.into(),
    }
}

/// READ CAPACITY: the last block and the size of a block.
pub(crate) fn read_capacity(drive: &mut Drive, _: &Call, _: &mut dyn Link) -> Outcome {
    match drive.bay.ready() {
        Ok(medium) => {
            let last = (medium.sectors - 1).to_be_bytes();
            Outcome::Data([last, (USER_BYTES as u32).to_be_bytes()].concat())
        }
        Err(sense) => sense.into(),
    }
}

impl Drive {
    /// Whether `count` blocks at `lba` are there.
    fn check_blocks(&self, lba: u32, count: u32) -> Result<(), Sense> {
        let sectors = self.bay.ready()?.sectors;
        match lba.checked_add(count) {
            Some(end) if end <= sectors => Ok(()),
            _ => Err(Sense::OUT_OF_RANGE.at(lba.max(sectors))),
        }
    }

    fn read_blocks(&mut self, call: &Call, lba: u32, count: u32, link: &mut dyn Link) -> Outcome {
        let checked = self.check_blocks(lba, count).and_then(|()| match count {
            0 => Ok(()),
            _ => call.may_move_data(),
        });
        if let Err(sense) = checked {
            return sense.into();
        }
        let range = bytes_of(lba, count);
        self.read(call, Form::Plain { len_bytes: range.len_bytes }, range, call.now, link)
    }

    fn read_sectors(&mut self, call: &Call, lba: u32, count: u32, link: &mut dyn Link) -> Outcome {
        // Any type, or mode 1: this is no audio disc.
        if !matches!(call.packet[1] >> 2 & 0x07, 0 | 2) {
            return Sense::ILLEGAL_MODE.into();
        }
        // No sub-channel.
        let (Some(layout), 0) = (Layout::parse(call.packet[9]), call.packet[10] & 0x07) else {
            return Sense::INVALID_FIELD.into();
        };
        if layout.is_plain() {
            return self.read_blocks(call, lba, count, link);
        }
        let checked = self.check_blocks(lba, count).and_then(|()| call.may_move_data());
        if let Err(sense) = checked {
            return sense.into();
        }
        if layout.len_bytes() == 0 || count == 0 {
            return Outcome::Good;
        }
        let chunk = count.min(CHUNK_SECTORS);
        let form = Form::Raw(Raw {
            layout,
            first: lba,
            chunk,
            left: count - chunk,
            done_bytes: 0,
            stage: alloc::vec![0; chunk as usize * USER_BYTES],
        });
        self.read(call, form, bytes_of(lba, chunk), call.now, link)
    }

    fn read(
        &mut self,
        call: &Call,
        form: Form,
        range: ByteRange,
        now: Nanos,
        link: &mut dyn Link,
    ) -> Outcome {
        if range.len_bytes == 0 {
            return Outcome::Good;
        }
        self.power = Power::Active;
        let Some(medium) = self.bay.medium_mut() else {
            return Sense::NO_MEDIUM.into();
        };
        self.reading = Some(Reading { call: *call, form, token: None, link_error: None });
        let (reading, answer) = (&mut self.reading, &mut self.answer);
        let request = Request::read(u32::from(call.slot), range);
        match medium.engine.submit(request, now, &mut Lane { link, reading, answer }) {
            Ok(token) => {
                if let Some(reading) = &mut self.reading {
                    reading.token = Some(token);
                }
                self.kick_due = Some(now);
                Outcome::Pending
            }
            Err(_) => {
                self.reading = None;
                Sense::HARDWARE.into()
            }
        }
    }

    /// The engine has answered: the command ends, or its next chunk is read.
    pub(crate) fn go_on_reading(
        &mut self,
        mut reading: Reading,
        result: Result<(), OpError>,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let call = reading.call;
        let mut outcome = match (result, reading.link_error) {
            (_, Some(error)) => Err(sense_of_link(error)),
            (Err(failure), None) => Err(self.sense_of(failure)),
            (Ok(()), None) => Ok(()),
        };
        let mut len_bytes = 0;
        match &mut reading.form {
            _ if outcome.is_err() => {}
            Form::Verify => {}
            Form::Plain { len_bytes: all } => len_bytes = *all,
            Form::Raw(raw) => {
                outcome = raw.deliver(call.slot, link).map_err(sense_of_link);
                len_bytes = raw.done_bytes;
                if outcome.is_ok() && raw.left > 0 {
                    raw.advance();
                    let range = bytes_of(raw.first, raw.chunk);
                    let outcome = self.read(&call, reading.form, range, now, link);
                    return self.conclude(&call, outcome, link);
                }
            }
        }
        if outcome.is_ok() {
            self.announce_data(&call, len_bytes, REASON_TO_HOST, link);
        }
        self.end_packet(&call, outcome, link);
    }

    /// The medium has gone from under a command.
    pub(crate) fn end_lost_reading(&mut self, link: &mut dyn Link) {
        self.bay.lost = false;
        if let Some(reading) = self.reading.take() {
            let sense = self.bay.ready().err().unwrap_or(Sense::MEDIUM_CHANGED);
            self.end_packet(&reading.call, Err(sense), link);
        }
    }
}

impl Raw {
    /// Hands the chunk to the host.
    fn deliver(&mut self, slot: u8, link: &mut dyn Link) -> Result<(), LinkError> {
        let mut data = Vec::with_capacity(self.chunk as usize * self.layout.len_bytes());
        let (sectors, _) = self.stage.as_chunks::<USER_BYTES>();
        for (lba, user) in (self.first..self.first + self.chunk).zip(sectors) {
            self.layout.append(lba, user, &mut data);
        }
        link.data_in(slot, self.done_bytes, &data)?;
        self.done_bytes += data.len() as u64;
        Ok(())
    }

    fn advance(&mut self) {
        self.first += self.chunk;
        self.chunk = self.left.min(CHUNK_SECTORS);
        self.left -= self.chunk;
        self.stage.resize(self.chunk as usize * USER_BYTES, 0);
    }
}
