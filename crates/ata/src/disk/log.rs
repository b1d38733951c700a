//! General purpose logging: READ LOG EXT and READ LOG DMA EXT (ACS-4, commands 2Fh,
//! 47h, and the annex on logs).
//!
//! | log | pages | content |
//! |---|---|---|
//! | 00h | 1 | directory |
//! | 10h | 1 | NCQ command error |
//! | 12h | 1 | NCQ NON-DATA: what it can do |
//! | 13h | 1 | NCQ send and receive: what they can do |
//! | 30h | 3 | IDENTIFY DEVICE data: 00h list of pages, 01h the words, 02h capacity |
//!
//! All logs are read-only, so WRITE LOG EXT, which would have to abort each of them, is not there.

use alloc::vec::Vec;

use super::command::{Call, Fault, Reply};
use super::{Disk, READY};
use crate::Link;
use crate::fis::{DeviceFis, Error, Registers};

const LOG_DIRECTORY: u8 = 0x00;
const LOG_NCQ_ERROR: u8 = 0x10;
const LOG_NCQ_NON_DATA: u8 = 0x12;
const LOG_NCQ_SEND_RECEIVE: u8 = 0x13;
const LOG_IDENTIFY: u8 = 0x30;

const PAGE_BYTES: usize = 512;
type Page = [u8; PAGE_BYTES];

/// How many pages a log has; 0 if there is no such log. Also what the directory says.
fn pages_of(log: u8) -> u16 {
    match log {
        LOG_DIRECTORY | LOG_NCQ_ERROR | LOG_NCQ_NON_DATA | LOG_NCQ_SEND_RECEIVE => 1,
        LOG_IDENTIFY => 3,
        _ => 0,
    }
}

/// The log address: LBA 7:0.
fn address(call: &Call) -> u8 {
    call.fis.lba as u8
}

/// Whether this command may come in the error state of the queue, to end it.
pub(crate) fn reads_error_log(call: &Call) -> bool {
    matches!(call.fis.command, 0x2f | 0x47) && address(call) == LOG_NCQ_ERROR
}

/// READ LOG EXT, READ LOG DMA EXT.
pub(crate) fn read_log(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let log = address(call);
    // The first page: LBA 39:32 and 15:8.
    let first = ((call.fis.lba >> 32) as u16) << 8 | (call.fis.lba >> 8) as u16 & 0xff;
    let count = call.fis.count;
    let is_there = count > 0 && first.checked_add(count).is_some_and(|end| end <= pages_of(log));
    if !is_there {
        return Reply::Fail(Fault::ABORT);
    }
    if log == LOG_NCQ_ERROR && disk.error_log.unblock() {
        // Acknowledges that the queue is empty (SATA 3.x, native command queueing): no command of
        // it will end any other way.
        link.fis(
            None,
            DeviceFis::SetDeviceBits {
                interrupt: false,
                notification: false,
                status: READY,
                error: Error::empty(),
                active: u32::MAX,
            },
        );
    }
    let mut data = Vec::with_capacity(usize::from(count) * PAGE_BYTES);
    for page in first..first + count {
        data.extend_from_slice(&match (log, page) {
            (LOG_DIRECTORY, _) => directory(),
            (LOG_NCQ_ERROR, _) => disk.error_log.page(),
            (LOG_NCQ_NON_DATA, _) => disk.ncq_non_data_log(),
            (LOG_NCQ_SEND_RECEIVE, _) => disk.ncq_send_receive_log(),
            (_, 0) => identify_pages(),
            (_, 1) => disk.identify_data(),
            (_, _) => disk.identify_capacity(),
        });
    }
    Reply::Data(data)
}

/// The general purpose log directory: a word for each log, of which the first is the version.
fn directory() -> Page {
    let mut page = [0; PAGE_BYTES];
    let (words, _) = page.as_chunks_mut::<2>();
    for (log, word) in words.iter_mut().enumerate() {
        *word = pages_of(log as u8).to_le_bytes();
    }
    words[0] = 1u16.to_le_bytes();
    page
}

/// A page of log 30h starts with its number and revision.
fn identify_header(number: u8) -> Page {
    let mut page = [0; PAGE_BYTES];
    let header = 1u64 << 63 | u64::from(number) << 16 | 1;
    page[..8].copy_from_slice(&header.to_le_bytes());
    page
}

/// Page 00h: which pages there are.
fn identify_pages() -> Page {
    let mut page = identify_header(0);
    let count = pages_of(LOG_IDENTIFY) as u8;
    page[8] = count;
    for number in 0..count {
        page[9 + usize::from(number)] = number;
    }
    page
}

impl Disk {
    /// Page 02h: capacity and sector sizes, each a quad word with bit 63 set where it is valid.
    fn identify_capacity(&self) -> Page {
        const VALID: u64 = 1 << 63;
        let physical = self.config.physical_sector_bytes / self.shape.sector_bytes;
        let relation = 1 << 62 | 1 << 61 | u64::from(physical.trailing_zeros()) << 16;
        let quad_words = [
            VALID | self.shape.sectors,
            VALID | relation,
            VALID | u64::from(self.shape.sector_bytes / 2),
        ];
        let mut page = identify_header(2);
        for (index, quad_word) in quad_words.iter().enumerate() {
            let at = 8 + index * 8;
            page[at..at + 8].copy_from_slice(&quad_word.to_le_bytes());
        }
        page
    }
}

/// The NCQ command error log (ACS-4, log address 10h), and the error state of the queue that goes
/// with it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ErrorLog {
    blocks: bool,
    record: Option<Record>,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    /// The tag that failed; none if the command was not queued.
    tag: Option<u8>,
    registers: Registers,
    count: u16,
}

impl ErrorLog {
    /// Notes how a command failed; commands are aborted from now on.
    pub(crate) fn record(&mut self, tag: Option<u8>, registers: &Registers, count: u16) {
        self.blocks = true;
        self.record = Some(Record { tag, registers: *registers, count });
    }

    /// Whether commands are aborted until the log is read.
    pub(crate) fn blocks_commands(&self) -> bool {
        self.blocks
    }

    /// Ends that state; says whether it was one.
    fn unblock(&mut self) -> bool {
        core::mem::take(&mut self.blocks)
    }

    /// The page as the host reads it. Without an error its tag is not valid (NQ).
    fn page(&self) -> Page {
        const NOT_QUEUED: u8 = 0x80;
        let mut page = [0; PAGE_BYTES];
        page[0] = NOT_QUEUED;
        if let Some(Record { tag, registers, count }) = self.record {
            let lba = registers.lba.to_le_bytes();
            page[0] = tag.map_or(NOT_QUEUED, |tag| tag & 0x1f);
            page[2] = registers.status.bits();
            page[3] = registers.error.bits();
            page[4..7].copy_from_slice(&lba[..3]);
            page[7] = registers.device;
            page[8..11].copy_from_slice(&lba[3..6]);
            page[12..14].copy_from_slice(&count.to_le_bytes());
        }
        let sum = page[..PAGE_BYTES - 1].iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        page[PAGE_BYTES - 1] = sum.wrapping_neg();
        page
    }
}
