//! READ TOC/PMA/ATIP and READ SUB-CHANNEL (MMC-6, 6.25; MMC-5, 6.27): one session with one data
//! track, from LBA 0 to the lead-out.

use alloc::vec::Vec;

use super::Drive;
use super::command::{Call, Outcome};
use super::sector::msf;
use super::sense::Sense;
use crate::Link;

/// ADR 1 (position), CONTROL 4 (data track).
const DATA_TRACK: u8 = 0x14;
const LEAD_OUT: u8 = 0xaa;

/// An address in a descriptor: minutes, seconds and frames, or an LBA.
fn address(lba: u32, as_msf: bool) -> [u8; 4] {
    if !as_msf {
        return lba.to_be_bytes();
    }
    let [minutes, seconds, frames] = msf(lba);
    [0, minutes, seconds, frames]
}

/// Puts the length in front, which does not count itself.
fn with_length(content: Vec<u8>) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes()[..], &content].concat()
}

/// READ TOC/PMA/ATIP.
pub(crate) fn read_toc(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let sectors = match drive.bay.ready() {
        Ok(medium) => medium.sectors,
        Err(sense) => return sense.into(),
    };
    let as_msf = call.packet[1] & 0b10 != 0;
    // Before MMC the format stood in the two upper bits of the control byte; hosts still put it
    // there.
    let format = match call.packet[2] & 0x0f {
        0 => call.packet[9] >> 6,
        format => format,
    };
    let number = call.packet[6];
    let content = match format {
        0 => tracks(number, sectors, as_msf),
        1 => Some([&[1, 1, 0, DATA_TRACK, 1, 0][..], &address(0, as_msf)].concat()),
        2 => (number <= 1).then(|| full_toc(sectors)),
        // A program memory area and CD-TEXT that have no entries. ATIP is in the groove of a disc
        // that can be written; this one cannot.
        3 | 5 => Some(alloc::vec![0, 0]),
        _ => None,
    };
    match content {
        Some(content) => Outcome::data(with_length(content), usize::from(call.be16(7))),
        None => Sense::INVALID_FIELD.into(),
    }
}

/// Format 0: the tracks from `first` on, and the lead-out.
fn tracks(first: u8, sectors: u32, as_msf: bool) -> Option<Vec<u8>> {
    let mut content = alloc::vec![1, 1];
    let mut entry = |number: u8, lba: u32| {
        content.extend_from_slice(&[0, DATA_TRACK, number, 0]);
        content.extend_from_slice(&address(lba, as_msf));
    };
    match first {
        0 | 1 => entry(1, 0),
        LEAD_OUT => {}
        _ => return None,
    }
    entry(LEAD_OUT, sectors);
    Some(content)
}

/// Format 2: the lead-in's Q sub-channel, as a drive reads it.
fn full_toc(sectors: u32) -> Vec<u8> {
    let mut content = alloc::vec![1, 1];
    let mut entry = |point: u8, value: [u8; 3]| {
        content.extend_from_slice(&[1, DATA_TRACK, 0, point, 0, 0, 0, 0]);
        content.extend_from_slice(&value);
    };
    // First track and disc type (CD-DA or CD-ROM), last track, start of the lead-out, track 1.
    entry(0xa0, [1, 0, 0]);
    entry(0xa1, [1, 0, 0]);
    entry(0xa2, msf(sectors));
    entry(1, msf(0));
    content
}

/// READ SUB-CHANNEL: nothing plays, there is no catalogue number and no ISRC.
pub(crate) fn read_sub_channel(_: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    const NO_AUDIO_STATUS: u8 = 0x15;
    let as_msf = call.packet[1] & 0b10 != 0;
    let wants_data = call.packet[2] & 0x40 != 0;
    let content = match call.packet[3] {
        _ if !wants_data => Vec::new(),
        // The current position: that of track 1.
        1 => {
            let mut content = alloc::vec![1, DATA_TRACK, 1, 1];
            content.extend_from_slice(&address(0, as_msf));
            content.extend_from_slice(&address(0, as_msf));
            content
        }
        format @ 2..=3 => {
            let mut content = alloc::vec![0; 20];
            content[0] = format;
            content
        }
        _ => return Sense::INVALID_FIELD.into(),
    };
    let len = (content.len() as u16).to_be_bytes();
    let data = [&[0, NO_AUDIO_STATUS, len[0], len[1]], &content[..]].concat();
    Outcome::data(data, usize::from(call.be16(7)))
}
