//! SEND and RECEIVE FPDMA QUEUED (ACS-4, commands 64h, 65h): commands with data, put into the queue.
//!
//! | command | subcommand | is |
//! |---|---|---|
//! | SEND | 00h | DATA SET MANAGEMENT: TRIM, where it is offered |
//! | RECEIVE | 01h | READ LOG DMA EXT |
//!
//! Log 13h says so. The auxiliary register stands for the features register of the command
//! that is put into the queue. Left out: WRITE LOG DMA EXT, the Hybrid Information feature set and
//! zones.

use freewheel_block::Request;

use super::command::{Call, Fault, Reply};
use super::queued::check_tag;
use super::{Disk, Work, error, log, trim};
use crate::Link;
use crate::fis::RegisterH2D;

const SEND_DATA_SET_MANAGEMENT: u16 = 0x00;
const RECEIVE_READ_LOG: u16 = 0x01;

/// Word 77: SEND and RECEIVE FPDMA QUEUED.
const SEND_AND_RECEIVE: u16 = 1 << 6;

/// The subcommand: bits 12:8 of the count register.
fn subcommand(fis: &RegisterH2D) -> u16 {
    fis.count >> 8 & 0x1f
}

/// SEND FPDMA QUEUED. As with DATA SET MANAGEMENT, every range is checked before the first one is
/// discarded.
pub(crate) fn send(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if let Err(fault) = check_tag(disk, call) {
        return fault.into();
    }
    let fis = &call.fis;
    let is_trim = subcommand(fis) == SEND_DATA_SET_MANAGEMENT
        && fis.auxiliary == u32::from(trim::FEATURE_TRIM)
        && (1..=trim::MAX_BLOCKS).contains(&fis.features);
    if !disk.shape.trim || !is_trim {
        return Reply::Fail(Fault::ABORT);
    }
    disk.accept_queued(call, link);
    let mut payload = [0; trim::MAX_BLOCKS as usize * 512];
    let payload = &mut payload[..usize::from(fis.features) * 512];
    let fetched = link.data_out(call.slot, 0, payload).map_err(error::of_link);
    match fetched.and_then(|()| trim::ranges_of(disk, payload)) {
        Err(fault) => disk.end_queued_now(call, Err(fault), link),
        Ok(ranges) if ranges.is_empty() => disk.end_queued_now(call, Ok(()), link),
        Ok(ranges) => {
            let request = Request::discard(u32::from(call.slot), ranges);
            disk.start_queued(call, Work::Trim, 0, request, link);
        }
    }
    Reply::Pending
}

/// RECEIVE FPDMA QUEUED.
pub(crate) fn receive(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if let Err(fault) = check_tag(disk, call) {
        return fault.into();
    }
    if subcommand(&call.fis) != RECEIVE_READ_LOG {
        return Reply::Fail(Fault::ABORT);
    }
    let fis =
        RegisterH2D { count: call.fis.features, features: call.fis.auxiliary as u16, ..call.fis };
    match log::read_log(disk, &Call { fis, ..*call }, link) {
        Reply::Data(data) => {
            disk.accept_queued(call, link);
            let moved = link.data_in(call.slot, 0, &data).map_err(error::of_link);
            disk.end_queued_now(call, moved, link);
            Reply::Pending
        }
        _ => Reply::Fail(Fault::ABORT),
    }
}

impl Disk {
    /// Log 13h, NCQ send and receive: a double word for each kind of command.
    pub(crate) fn ncq_send_receive_log(&self) -> [u8; 512] {
        let trim = u8::from(self.shape.trim);
        let mut page = [0; 512];
        // Subcommands of SEND: DATA SET MANAGEMENT; of that: TRIM; READ LOG DMA EXT.
        page[0] = trim;
        page[4] = trim;
        page[8] = 1;
        page
    }

    /// Word 77.
    pub(crate) fn put_send_receive_words(&self, words: &mut [u16; 256]) {
        words[77] |= SEND_AND_RECEIVE;
    }
}
