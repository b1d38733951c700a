//! NCQ NON-DATA (ACS-4, command 63h): commands without data, put into the queue.
//!
//! | subcommand | is | here |
//! |---|---|---|
//! | 0h | ABORT NCQ QUEUE | all, by kind, or one |
//! | 1h | DEADLINE HANDLING | accepted: no command ever fails for its deadline, which both its bits allow |
//! | 5h | SET FEATURES | all but disabling the write cache |
//! | 6h | ZERO EXT | all |
//!
//! Log 12h says so. The write cache cannot be disabled from within the queue, because its flush knows
//! nothing of the writes that are queued still. Left out: the Hybrid Information feature set (2h to
//! 4h) and zones (7h).
//!
//! Priorities, here and in READ and WRITE FPDMA QUEUED (word 76 bit 12), are accepted with their
//! deadlines (ICC), and have one effect: ABORT NCQ QUEUE tells isochronous ("streaming") commands from
//! others. Storage beneath serves all alike.

use super::command::{Call, Fault, Reply};
use super::queued::{check_tag, tag};
use super::transfer::{Extent, full_count};
use super::{Disk, SLOTS, Work, features, zero};
use crate::Link;
use crate::fis::RegisterH2D;

const ABORT_NCQ_QUEUE: u16 = 0x0;
const DEADLINE_HANDLING: u16 = 0x1;
const SET_FEATURES: u16 = 0x5;
const ZERO_EXT: u16 = 0x6;

/// SET FEATURES subcommand: disable the volatile write cache.
const DISABLE_WRITE_CACHE: u16 = 0x82;

// Words 76 and 77.
const PRIORITY_INFORMATION: u16 = 1 << 12;
const NON_DATA: u16 = 1 << 5;

/// NCQ NON-DATA. The subcommand stands in bits 3:0 of the features register.
pub(crate) fn non_data(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if let Err(fault) = check_tag(disk, call) {
        return fault.into();
    }
    match call.fis.features & 0x0f {
        ABORT_NCQ_QUEUE => abort_queue(disk, call, link),
        DEADLINE_HANDLING => {
            disk.accept_queued(call, link);
            disk.end_queued_now(call, Ok(()), link);
            Reply::Pending
        }
        SET_FEATURES => set_features(disk, call, link),
        ZERO_EXT => zero_ext(disk, call, link),
        _ => Reply::Fail(Fault::ABORT),
    }
}

/// ABORT NCQ QUEUE. What is aborted is reported with it, in one Set Device Bits FIS. A tag that is
/// not in the queue has ended in the meantime, which is no error; its own is one.
fn abort_queue(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let selected = tag(&RegisterH2D { count: call.fis.lba as u16, ..call.fis });
    let kind = call.fis.features >> 4 & 0x0f;
    let is_known = kind < 3 || kind == 3 && selected != call.slot;
    if !is_known {
        return Reply::Fail(Fault::ABORT);
    }
    let is_meant = |of: &Call| {
        let is_streaming = of.fis.count >> 14 == 0b01;
        match kind {
            0 => true,
            1 => is_streaming,
            2 => !is_streaming,
            _ => of.slot == selected,
        }
    };
    disk.accept_queued(call, link);
    let mut ended = 1 << call.slot;
    for slot in 0..SLOTS {
        if disk.slots[slot].as_ref().is_some_and(|pending| is_meant(&pending.call)) {
            disk.cancel_slot(slot, call.now);
            ended |= 1 << slot;
        }
    }
    disk.queued &= !ended;
    disk.end_queued(ended, None, call.now, link);
    Reply::Pending
}

/// SET FEATURES: its features register in bits 15:8 of ours, its count in bits 15:8 of the count.
fn set_features(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let (features, count) = (call.fis.features >> 8, call.fis.count >> 8);
    if features == DISABLE_WRITE_CACHE {
        return Reply::Fail(Fault::ABORT);
    }
    disk.accept_queued(call, link);
    let fis = RegisterH2D { features, count, ..call.fis };
    match features::set_features(disk, &Call { fis, ..*call }, link) {
        Reply::Pending => {}
        Reply::Fail(fault) => disk.end_queued_now(call, Err(fault), link),
        _ => disk.end_queued_now(call, Ok(()), link),
    }
    Reply::Pending
}

/// ZERO EXT: bits 7:0 of its count in bits 15:8 of the features register, 15:8 in those of the
/// count. Its TRIM bit, in the auxiliary register, allows and asks nothing.
fn zero_ext(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let count = full_count(call.fis.features >> 8 | call.fis.count & 0xff00);
    match zero::request(disk, call, Extent { lba: call.fis.lba, count }) {
        Ok(request) => {
            disk.accept_queued(call, link);
            let len_bytes = request.ranges.iter().map(|range| range.len_bytes).sum();
            disk.start_queued(call, Work::Zero, len_bytes, request, link);
            Reply::Pending
        }
        Err(fault) => fault.into(),
    }
}

impl Disk {
    /// Log 12h, NCQ NON-DATA: a double word for each subcommand.
    pub(crate) fn ncq_non_data_log(&self) -> [u8; 512] {
        let mut page = [0; 512];
        // ABORT NCQ QUEUE: it, and each of its four kinds.
        page[0] = 0b11111;
        // DEADLINE HANDLING: it, and its bits for writes and reads.
        page[4] = 0b111;
        page[5 * 4] = 1;
        page[6 * 4] = u8::from(!self.shape.read_only);
        page
    }

    /// Words 76 and 77.
    pub(crate) fn put_non_data_words(&self, words: &mut [u16; 256]) {
        words[76] |= PRIORITY_INFORMATION;
        words[77] |= NON_DATA;
    }
}
