//! Logs (ACS-4, the annex on logs): READ and WRITE LOG (DMA) EXT for general purpose logging, SMART
//! READ and WRITE LOG for what SMART has.
//!
//! | log | by | pages | content | file |
//! |---|---|---|---|---|
//! | 00h | both | 1 | directory, one for each way | |
//! | 01h | SMART | 1 | summary of errors | `smart_error.rs` |
//! | 02h | SMART | 4 | comprehensive list of errors | `smart_error.rs` |
//! | 03h | GPL | 5 | the same, with 48-bit registers | `smart_error.rs` |
//! | 04h | both | 7 | device statistics | `statistics.rs` |
//! | 06h | SMART | 1 | self-tests | `self_test.rs` |
//! | 07h | GPL | 1 | the same, with 48-bit LBAs | `self_test.rs` |
//! | 08h | GPL | 2 | power conditions | `../epc.rs` |
//! | 09h | SMART | 1 | selective self-test; written by the host | `selective.rs` |
//! | 0Ch | GPL | 32 | pending defects | `pending.rs` |
//! | 10h | GPL | 1 | NCQ command error | `ncq_error.rs` |
//! | 11h | GPL | 1 | SATA Phy event counters | `phy.rs` |
//! | 12h | GPL | 1 | NCQ NON-DATA: what it can do | `../ncq_nondata.rs` |
//! | 13h | GPL | 1 | NCQ send and receive: what they can do | `../ncq_dsm.rs` |
//! | 30h | both | 9 | IDENTIFY DEVICE data | `identify.rs` |
//! | 80h to 9Fh | both | 16 each | the host's own; written by the host | `host.rs` |

mod host;
mod identify;
mod ncq_error;
mod pending;
mod phy;
mod selective;
mod self_test;
mod smart_error;
mod statistics;

use alloc::vec::Vec;

use freewheel_block::Nanos;

use super::command::{Call, Fault, Protocol, Reply};
use super::{Disk, READY, error};
use crate::Link;
use crate::fis::{DeviceFis, Error};

pub(crate) use host::{HostLogs, LOG_BYTES as HOST_LOG_BYTES};
pub(crate) use ncq_error::ErrorLog;
pub(crate) use phy::Phy;
pub(crate) use selective::Selective;

const DIRECTORY: u8 = 0x00;
const SUMMARY_ERRORS: u8 = 0x01;
const COMPREHENSIVE_ERRORS: u8 = 0x02;
const EXTENDED_ERRORS: u8 = 0x03;
const STATISTICS: u8 = 0x04;
const SELF_TESTS: u8 = 0x06;
const EXTENDED_SELF_TESTS: u8 = 0x07;
const POWER_CONDITIONS: u8 = 0x08;
const SELECTIVE: u8 = 0x09;
const PENDING_DEFECTS: u8 = 0x0c;
const NCQ_ERROR: u8 = 0x10;
const PHY_COUNTERS: u8 = 0x11;
const NCQ_NON_DATA: u8 = 0x12;
const NCQ_SEND_RECEIVE: u8 = 0x13;
const IDENTIFY: u8 = 0x30;
const HOST_FIRST: u8 = 0x80;
const HOST_LAST: u8 = 0x9f;

/// A page of a log.
pub(crate) const PAGE_BYTES: usize = 512;
pub(crate) type Page = [u8; PAGE_BYTES];

/// The two ways to logs. Some are open to one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// General purpose logging.
    General,
    /// SMART READ LOG, SMART WRITE LOG.
    Smart,
}

/// How many pages a log has; 0 if there is no such log. Also what the directory says.
fn pages_of(access: Access, log: u8) -> u16 {
    match (access, log) {
        (_, DIRECTORY) => 1,
        (_, STATISTICS) => statistics::PAGES,
        (_, IDENTIFY) => identify::PAGES,
        (_, HOST_FIRST..=HOST_LAST) => host::PAGES,
        (Access::Smart, SUMMARY_ERRORS | SELF_TESTS | SELECTIVE) => 1,
        (Access::Smart, COMPREHENSIVE_ERRORS) => smart_error::COMPREHENSIVE_PAGES,
        (Access::General, PENDING_DEFECTS) => pending::PAGES,
        (Access::General, EXTENDED_ERRORS) => smart_error::EXTENDED_PAGES,
        (Access::General, EXTENDED_SELF_TESTS | NCQ_ERROR | PHY_COUNTERS) => 1,
        (Access::General, POWER_CONDITIONS) => 2,
        (Access::General, NCQ_NON_DATA | NCQ_SEND_RECEIVE) => 1,
        _ => 0,
    }
}

/// Whether `log` is one of the host's own.
pub(crate) fn is_host_log(log: u8) -> bool {
    (HOST_FIRST..=HOST_LAST).contains(&log)
}

/// Makes the sum of all bytes zero, with the last one.
pub(crate) fn seal(mut page: Page) -> Page {
    page[PAGE_BYTES - 1] = 0;
    page[PAGE_BYTES - 1] = sum(&page).wrapping_neg();
    page
}

fn sum(page: &[u8]) -> u8 {
    page.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

/// The log address: LBA 7:0.
fn address(call: &Call) -> u8 {
    call.fis.lba as u8
}

/// The first page: LBA 39:32 and 15:8.
fn first_page(call: &Call) -> u16 {
    ((call.fis.lba >> 32) as u16) << 8 | (call.fis.lba >> 8) as u16 & 0xff
}

/// Whether this command may come in the error state of the queue, to end it.
pub(crate) fn reads_error_log(call: &Call) -> bool {
    matches!(call.fis.command, 0x2f | 0x47) && address(call) == NCQ_ERROR
}

/// READ LOG EXT, READ LOG DMA EXT.
pub(crate) fn read_log(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    read(disk, Access::General, address(call), first_page(call), call.fis.count, call, link)
}

/// WRITE LOG EXT, WRITE LOG DMA EXT.
pub(crate) fn write_log(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    write(disk, Access::General, address(call), first_page(call), call.fis.count, call, link)
}

/// Whether `count` pages from `first` of `log` are there. A log of a feature set that is disabled
/// is not (ACS-4, READ LOG EXT).
fn is_there(disk: &Disk, access: Access, log: u8, first: u16, count: u16) -> bool {
    let is_enabled = match log {
        EXTENDED_ERRORS | EXTENDED_SELF_TESTS => disk.smart.enabled,
        _ => true,
    };
    let fits = first.checked_add(count).is_some_and(|end| end <= pages_of(access, log));
    is_enabled && count > 0 && fits
}

/// Reads `count` pages of `log` on behalf of `call`.
pub(crate) fn read(
    disk: &mut Disk,
    access: Access,
    log: u8,
    first: u16,
    count: u16,
    call: &Call,
    link: &mut dyn Link,
) -> Reply {
    if !is_there(disk, access, log, first, count) {
        return Reply::Fail(Fault::ABORT);
    }
    if log == NCQ_ERROR && disk.error_log.unblock() {
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
        data.extend_from_slice(&disk.log_page(access, log, page, call.now));
    }
    if log == PHY_COUNTERS && call.fis.features & phy::RESET != 0 {
        disk.smart.phy = Phy::default();
    }
    Reply::Data(data)
}

/// Writes `count` pages of `log` on behalf of `call`.
pub(crate) fn write(
    disk: &mut Disk,
    access: Access,
    log: u8,
    first: u16,
    count: u16,
    call: &Call,
    link: &mut dyn Link,
) -> Reply {
    let is_writable = log == SELECTIVE || is_host_log(log);
    if !is_writable || !is_there(disk, access, log, first, count) {
        return Reply::Fail(Fault::ABORT);
    }
    // At most the pages of one log.
    let mut data = alloc::vec![0; usize::from(count) * PAGE_BYTES];
    let is_pio = call.row.protocol == Protocol::Pio;
    if is_pio {
        disk.pio_from_host_first(call, PAGE_BYTES as u32, data.len() as u64, link);
    }
    if let Err(failure) = link.data_out(call.slot, 0, &mut data) {
        return Reply::Fail(error::of_link(failure));
    }
    if is_pio {
        disk.pio_from_host_rest(call, PAGE_BYTES as u32, data.len() as u64, link);
    }
    if log != SELECTIVE {
        disk.smart.host_logs.write(log, first, &data);
        disk.saved.note_change();
        return Reply::Good;
    }
    // While it is under way, a test goes by the log that it was started with.
    let selective = data.first_chunk().and_then(Selective::parse);
    match selective.filter(|_| disk.smart.selective_progress().is_none()) {
        Some(selective) => {
            disk.smart.selective = selective;
            disk.saved.note_change();
            Reply::Good
        }
        None => Reply::Fail(Fault::ABORT),
    }
}

/// A log directory: a word for each log, of which the first is the version.
fn directory(access: Access) -> Page {
    let mut page = [0; PAGE_BYTES];
    let (words, _) = page.as_chunks_mut::<2>();
    for (log, word) in words.iter_mut().enumerate() {
        *word = pages_of(access, log as u8).to_le_bytes();
    }
    words[0] = 1u16.to_le_bytes();
    page
}

impl Disk {
    /// A page that is there.
    fn log_page(&self, access: Access, log: u8, page: u16, now: Nanos) -> Page {
        let smart = &self.smart;
        match log {
            SUMMARY_ERRORS => smart_error::summary(&smart.errors),
            COMPREHENSIVE_ERRORS => smart_error::comprehensive(&smart.errors, page),
            EXTENDED_ERRORS => smart_error::extended(&smart.errors, page),
            STATISTICS => statistics::page(&smart.counters, &self.vitals(now), page),
            SELF_TESTS => self_test::standard(&smart.tests),
            EXTENDED_SELF_TESTS => self_test::extended(&smart.tests),
            POWER_CONDITIONS => self.power_conditions_page(page),
            SELECTIVE => smart.selective.page(smart.selective_progress()),
            PENDING_DEFECTS => pending::page(self.pending_lbas(), page),
            NCQ_ERROR => self.error_log.page(),
            PHY_COUNTERS => smart.phy.page(),
            NCQ_NON_DATA => self.ncq_non_data_log(),
            NCQ_SEND_RECEIVE => self.ncq_send_receive_log(),
            IDENTIFY => self.identify_page(page),
            HOST_FIRST..=HOST_LAST => smart.host_logs.page(log, page),
            _ => directory(access),
        }
    }
}
