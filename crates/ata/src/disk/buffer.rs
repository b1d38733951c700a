//! READ BUFFER and WRITE BUFFER, and their DMA forms (ACS-4, commands E4h, E8h, E9h, EBh): 512 bytes
//! that never touch the medium, for hosts that test the way to the disk.
//!
//! The buffer is zeroes after power-on and keeps its content over resets; nothing else uses it.

use super::command::{Call, Protocol, Reply};
use super::{Disk, error};
use crate::Link;

/// A block of data.
const BUFFER_BYTES: usize = 512;
/// The content.
pub(crate) type Buffer = [u8; BUFFER_BYTES];
/// After power-on.
pub(crate) const EMPTY: Buffer = [0; BUFFER_BYTES];

// Words 82 and 85.
const WRITE_BUFFER: u16 = 1 << 12;
const READ_BUFFER: u16 = 1 << 13;
// Word 69.
const WRITE_BUFFER_DMA: u16 = 1 << 10;
const READ_BUFFER_DMA: u16 = 1 << 11;

/// READ BUFFER, READ BUFFER DMA.
pub(crate) fn read_buffer(disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    Reply::Data(disk.buffer.to_vec())
}

/// WRITE BUFFER, WRITE BUFFER DMA. Data that does not arrive whole changes nothing.
pub(crate) fn write_buffer(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if call.row.protocol == Protocol::Pio {
        let len_bytes = BUFFER_BYTES as u32;
        disk.pio_from_host_first(call, len_bytes, u64::from(len_bytes), link);
    }
    let mut data = EMPTY;
    if let Err(failure) = link.data_out(call.slot, 0, &mut data) {
        return Reply::Fail(error::of_link(failure));
    }
    disk.buffer = data;
    Reply::Good
}

impl Disk {
    /// What IDENTIFY DEVICE says of it.
    pub(crate) fn put_buffer_words(&self, words: &mut [u16; 256]) {
        words[69] |= READ_BUFFER_DMA | WRITE_BUFFER_DMA;
        words[82] |= READ_BUFFER | WRITE_BUFFER;
        words[85] |= READ_BUFFER | WRITE_BUFFER;
    }
}
