//! READ DISC INFORMATION, READ TRACK INFORMATION, READ DISC STRUCTURE (MMC-6, 6.21, 6.26, 6.22).

use alloc::vec::Vec;

use super::Drive;
use super::command::{Call, Outcome};
use super::medium::{Disc, Medium};
use super::sense::Sense;
use crate::Link;

/// Sectors of a DVD with one layer.
const DVD_LAYER_SECTORS: u32 = 2_298_496;
/// Where the data area of a DVD starts (ECMA-267).
const DVD_DATA_START: u32 = 0x03_0000;

/// READ DISC INFORMATION, the standard form.
pub(crate) fn read_disc_information(_: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    if call.packet[1] & 0x07 != 0 {
        return Sense::INVALID_FIELD.into();
    }
    let mut data = alloc::vec![0; 34];
    data[1] = 32;
    // A complete disc whose last session is complete; one session, one track.
    data[2] = 0b11 << 2 | 0b10;
    data[3..7].fill(1);
    // Unrestricted use; a CD-DA or CD-ROM disc.
    data[7] = 0x20;
    // Nothing can be appended: no lead-in and no lead-out to come.
    data[16..24].fill(0xff);
    Outcome::data(data, usize::from(call.be16(7)))
}

/// READ TRACK INFORMATION.
pub(crate) fn read_track_information(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let sectors = match drive.bay.ready() {
        Ok(medium) => medium.sectors,
        Err(sense) => return sense.into(),
    };
    let address = call.be32(2);
    match call.packet[1] & 0b11 {
        0 if address < sectors => {}
        0 => return Sense::OUT_OF_RANGE.into(),
        // By track, by session.
        1 | 2 if address == 1 => {}
        _ => return Sense::INVALID_FIELD.into(),
    }
    let mut data = alloc::vec![0; 36];
    data[1] = 34;
    data[2] = 1;
    data[3] = 1;
    // A data track, recorded without interruption; mode 1.
    data[5] = 0x04;
    data[6] = 0x01;
    // The last recorded address is valid.
    data[7] = 0b10;
    data[24..28].copy_from_slice(&sectors.to_be_bytes());
    data[28..32].copy_from_slice(&(sectors - 1).to_be_bytes());
    Outcome::data(data, usize::from(call.be16(7)))
}

/// READ DISC STRUCTURE: what a DVD has in its control data; nothing of a BD but the list.
pub(crate) fn read_disc_structure(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    const LIST: u8 = 0xff;
    let medium = match drive.bay.ready() {
        Ok(medium) => medium,
        Err(sense) => return sense.into(),
    };
    let (media_type, format) = (call.packet[1] & 0x0f, call.packet[7]);
    let is_dvd = medium.disc() == Disc::Dvd;
    let content = match format {
        LIST => structures(is_dvd),
        _ if media_type != 0 || !is_dvd => return Sense::INCOMPATIBLE_MEDIUM.into(),
        0x00 => physical_format(medium),
        // No protection system, no region.
        0x01 => alloc::vec![0; 4],
        // Disc manufacturing information, of which there is none.
        0x04 => alloc::vec![0; 2048],
        _ => return Sense::INVALID_FIELD.into(),
    };
    let len = (content.len() as u16 + 2).to_be_bytes();
    let data = [&[len[0], len[1], 0, 0], &content[..]].concat();
    Outcome::data(data, usize::from(call.be16(8)))
}

/// Which structures can be read, and how long each is with its header.
fn structures(is_dvd: bool) -> Vec<u8> {
    const READABLE: u8 = 1 << 6;
    let mut list = Vec::new();
    let dvd: &[(u8, u16)] = &[(0x00, 2052), (0x01, 8), (0x04, 2052)];
    for (format, len_bytes) in if is_dvd { dvd } else { &[] } {
        let [high, low] = len_bytes.to_be_bytes();
        list.extend_from_slice(&[*format, READABLE, high, low]);
    }
    list.extend_from_slice(&[0xff, READABLE, 0, 4 + list.len() as u8 + 4]);
    list
}

/// Format 00h (ECMA-267, control data zone).
fn physical_format(medium: &Medium) -> Vec<u8> {
    let layers = medium.sectors.div_ceil(DVD_LAYER_SECTORS).min(2) as u8;
    let mut data = alloc::vec![0; 2048];
    // DVD-ROM, part version 1; 120 mm, no rate required.
    data[0] = 0x01;
    data[1] = 0x0f;
    // The layers; parallel track path; embossed.
    data[2] = (layers - 1) << 5 | 0x01;
    data[4..8].copy_from_slice(&DVD_DATA_START.to_be_bytes());
    data[8..12].copy_from_slice(&(DVD_DATA_START + medium.sectors - 1).to_be_bytes());
    data
}
