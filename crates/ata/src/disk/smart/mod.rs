//! The SMART feature set (ACS-4, command B0h): the state of the disk's health, and the commands
//! that show and steer it.
//!
//! | subcommand | |
//! |---|---|
//! | D0h, D1h | READ DATA, READ THRESHOLDS: `attributes.rs` |
//! | D2h, D3h | attribute autosave (a setting without an effect: `../saved.rs` has its own pace), save |
//! | D4h | EXECUTE OFF-LINE IMMEDIATE: `self_test.rs` |
//! | D5h, D6h | READ LOG, WRITE LOG: `../log` |
//! | D8h, D9h, DAh | ENABLE, DISABLE OPERATIONS, RETURN STATUS |
//!
//! Everything that is counted has happened. Left out, since a virtual disk could only invent it:
//! temperature, wear, spin-up times, seek errors; DBh (automatic off-line routine, obsolete);
//! SMART Command Transport.

mod attributes;
mod counters;
mod defects;
mod errors;
mod notes;
mod self_test;
mod self_test_log;
mod state;

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::log::{self, Access, HostLogs, Phy, Selective};
use crate::Link;

use counters::life_timestamp;
pub(crate) use counters::{Counters, Vitals};
pub(crate) use defects::Defects;
pub(crate) use errors::{CommandRecord, ErrorRecord, Errors, History};
use self_test::Running;
pub(crate) use self_test_log::{SelfTestResult, SelfTests};

/// LBA 23:8 of every SMART command, and of the answer that all is well.
const KEY: u64 = 0xc24f;
/// LBA 23:8 of the answer that a threshold was exceeded, or a captive self-test failed.
const BAD_KEY: u64 = 0x2cf4;

/// What a disk remembers of itself. All but what [`state`] leaves out survives a power cycle, if
/// somebody keeps it.
pub(crate) struct Smart {
    /// SMART operations are enabled.
    pub(crate) enabled: bool,
    /// Attribute autosave is enabled.
    autosave: bool,
    /// The off-line routine has run.
    offline_done: bool,
    pub(crate) counters: Counters,
    pub(crate) defects: Defects,
    pub(crate) errors: Errors,
    pub(crate) tests: SelfTests,
    pub(crate) selective: Selective,
    pub(crate) host_logs: HostLogs,
    pub(crate) phy: Phy,
    history: History,
    running: Option<Running>,
}

impl Default for Smart {
    /// As the factory left it.
    fn default() -> Self {
        Self {
            enabled: true,
            autosave: true,
            offline_done: false,
            counters: Counters::default(),
            defects: Defects::default(),
            errors: Errors::default(),
            tests: SelfTests::default(),
            selective: Selective::default(),
            host_logs: HostLogs::default(),
            phy: Phy::default(),
            history: History::default(),
            running: None,
        }
    }
}

/// SMART.
pub(crate) fn smart(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    const ABORT: Reply = Reply::Fail(Fault::ABORT);
    let fis = &call.fis;
    let subcommand = fis.features as u8;
    if fis.lba >> 8 & 0xffff != KEY || !(disk.smart.enabled || subcommand == 0xd8) {
        return ABORT;
    }
    let vitals = disk.vitals(call.now);
    let low = fis.lba as u8;
    let count = fis.count as u8;
    let smart = &mut disk.smart;
    match subcommand {
        0xd0 => {
            Reply::Data(smart.data_page(&vitals, self_test::extended_minutes(&disk.shape)).to_vec())
        }
        0xd1 => Reply::Data(smart.thresholds_page(&vitals).to_vec()),
        0xd2 => match count {
            0x00 | 0xf1 => {
                smart.autosave = count == 0xf1;
                disk.saved.note_change();
                Reply::Good
            }
            _ => ABORT,
        },
        0xd3 => {
            disk.saved.note_change();
            Reply::Good
        }
        0xd4 => disk.execute_off_line_immediate(call, low),
        0xd5 => log::read(disk, Access::Smart, low, 0, u16::from(count), call, link),
        0xd6 => log::write(disk, Access::Smart, low, 0, u16::from(count), call, link),
        0xd8 => {
            smart.enabled = true;
            disk.saved.note_change();
            Reply::Good
        }
        0xd9 => {
            disk.abort_self_test(call.now);
            disk.smart.enabled = false;
            disk.saved.note_change();
            Reply::Good
        }
        0xda => {
            let key = if smart.threshold_is_exceeded(&vitals) { BAD_KEY } else { KEY };
            Reply::GoodKey(key << 8 | u64::from(low))
        }
        _ => ABORT,
    }
}
