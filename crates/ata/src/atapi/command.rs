//! The table of packet commands, and what all of them share: who may run when, and how long an
//! answer may be.

use alloc::vec::Vec;

use freewheel_block::Nanos;

use super::sense::Sense;
use super::{Drive, disc, events, features, inquiry, mode, read, status, toc};
use crate::Link;
use crate::fis::RegisterH2D;

/// Bit of PACKET's features register: data moves by DMA.
const FEATURE_DMA: u16 = 1 << 0;

/// One PACKET command on its way.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Its slot, below 32.
    pub(crate) slot: u8,
    /// The ATA command.
    pub(crate) fis: RegisterH2D,
    /// The packet; commands here have 12 bytes of it.
    pub(crate) packet: [u8; 16],
    /// When it came.
    pub(crate) now: Nanos,
}

impl Call {
    pub(crate) fn is_dma(&self) -> bool {
        self.fis.features & FEATURE_DMA != 0
    }

    /// The largest DRQ block: LBA 23:8, where FFFFh means FFFEh; of an odd number one less, since
    /// only a last block may be odd (ACS-4, PACKET).
    pub(crate) fn byte_count_limit(&self) -> u16 {
        (self.fis.lba >> 8) as u16 & !1
    }

    /// Data cannot move in PIO in blocks of no bytes.
    pub(crate) fn may_move_data(&self) -> Result<(), Sense> {
        if self.is_dma() || self.byte_count_limit() > 0 {
            Ok(())
        } else {
            Err(Sense::INVALID_FIELD)
        }
    }

    pub(crate) fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.packet[at], self.packet[at + 1]])
    }

    pub(crate) fn be24(&self, at: usize) -> u32 {
        u32::from_be_bytes([0, self.packet[at], self.packet[at + 1], self.packet[at + 2]])
    }

    pub(crate) fn be32(&self, at: usize) -> u32 {
        u32::from(self.be16(at)) << 16 | u32::from(self.be16(at + 2))
    }
}

/// What a handler says of its command.
pub(crate) enum Outcome {
    /// Ends well.
    Good,
    /// The same, with data for the host. It is no longer than the host allowed.
    Data(Vec<u8>),
    /// Runs on.
    Pending,
    /// CHECK CONDITION.
    Check(Sense),
}

impl Outcome {
    /// Data of which the host takes at most `allocation_bytes` (SPC-3, 4.3.4.6).
    pub(crate) fn data(mut data: Vec<u8>, allocation_bytes: usize) -> Self {
        data.truncate(allocation_bytes);
        Outcome::Data(data)
    }
}

impl From<Sense> for Outcome {
    fn from(sense: Sense) -> Self {
        Outcome::Check(sense)
    }
}

/// What stands in the way of a command (MMC-6, unit attention and not ready conditions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    /// Runs whatever the drive's state is.
    Open,
    /// Not before a unit attention has been reported.
    Attention,
    /// The same, and only with a medium in a closed tray.
    Medium,
}

struct Row {
    opcode: u8,
    name: &'static str,
    gate: Gate,
    run: fn(&mut Drive, &Call, &mut dyn Link) -> Outcome,
}

const fn row(
    opcode: u8,
    name: &'static str,
    gate: Gate,
    run: fn(&mut Drive, &Call, &mut dyn Link) -> Outcome,
) -> Row {
    Row { opcode, name, gate, run }
}

use Gate::{Attention, Medium, Open};

/// Every packet command there is.
#[rustfmt::skip]
static ROWS: &[Row] = &[
    row(0x00, "TEST UNIT READY", Medium, status::test_unit_ready),
    row(0x03, "REQUEST SENSE", Open, status::request_sense),
    row(0x12, "INQUIRY", Open, inquiry::inquiry),
    row(0x1b, "START STOP UNIT", Attention, status::start_stop_unit),
    row(0x1e, "PREVENT ALLOW MEDIUM REMOVAL", Attention, status::prevent_allow_medium_removal),
    row(0x25, "READ CAPACITY", Medium, read::read_capacity),
    row(0x28, "READ (10)", Medium, read::read_10),
    row(0x2b, "SEEK (10)", Medium, read::seek_10),
    row(0x2f, "VERIFY (10)", Medium, read::verify_10),
    row(0x42, "READ SUB-CHANNEL", Medium, toc::read_sub_channel),
    row(0x43, "READ TOC/PMA/ATIP", Medium, toc::read_toc),
    row(0x46, "GET CONFIGURATION", Open, features::get_configuration),
    row(0x4a, "GET EVENT STATUS NOTIFICATION", Open, events::get_event_status_notification),
    row(0x51, "READ DISC INFORMATION", Medium, disc::read_disc_information),
    row(0x52, "READ TRACK INFORMATION", Medium, disc::read_track_information),
    row(0x55, "MODE SELECT (10)", Attention, mode::mode_select_10),
    row(0x5a, "MODE SENSE (10)", Attention, mode::mode_sense_10),
    row(0xa0, "REPORT LUNS", Open, inquiry::report_luns),
    row(0xa8, "READ (12)", Medium, read::read_12),
    row(0xad, "READ DISC STRUCTURE", Medium, disc::read_disc_structure),
    row(0xb9, "READ CD MSF", Medium, read::read_cd_msf),
    row(0xbb, "SET CD SPEED", Attention, status::set_cd_speed),
    row(0xbd, "MECHANISM STATUS", Attention, events::mechanism_status),
    row(0xbe, "READ CD", Medium, read::read_cd),
];

fn lookup(opcode: u8) -> Option<&'static Row> {
    ROWS.binary_search_by_key(&opcode, |row| row.opcode).ok().and_then(|at| ROWS.get(at))
}

/// The name of a packet command that a drive supports, as MMC-6 spells it.
pub fn packet_command_name(opcode: u8) -> Option<&'static str> {
    lookup(opcode).map(|row| row.name)
}

impl Drive {
    pub(crate) fn execute_packet(&mut self, call: &Call, link: &mut dyn Link) -> Outcome {
        let Some(row) = lookup(call.packet[0]) else {
            return Outcome::Check(Sense::INVALID_COMMAND);
        };
        if row.gate != Open
            && let Some(attention) = self.bay.take_attention()
        {
            return Outcome::Check(attention);
        }
        if row.gate == Medium
            && let Err(sense) = self.bay.ready()
        {
            return Outcome::Check(sense);
        }
        // Sense data is about the command before this one, and only REQUEST SENSE asks for it.
        if call.packet[0] != status::REQUEST_SENSE {
            self.sense = Sense::NONE;
        }
        (row.run)(self, call, link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        assert!(ROWS.is_sorted_by(|a, b| a.opcode < b.opcode));
        assert_eq!(packet_command_name(0xbe), Some("READ CD"));
        assert_eq!(packet_command_name(0x2a), None);
    }
}
