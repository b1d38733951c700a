//! Power management (ACS-4, Power Management feature set, Advanced Power Management, Power-Up In
//! Standby); Extended Power Conditions are in `epc.rs`.
//!
//! What a mode is for is to be told: there is no motor. An access to the medium wakes the disk at
//! once, and no delay is simulated (`fault=any#1:delay=8s` gives one). The APM level is kept and
//! reported, and has no other effect.
//!
//! A disk with Power-Up In Standby enabled, whose state outlived power (`state=`), starts in Standby
//! and needs SET FEATURES 07h: until then it aborts whatever is about the medium.
//!
//! Left out: Automatic Acoustic Management (obsolete since ACS-2), since there is nothing to hear.

use alloc::vec::Vec;

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::flush::{AfterFlush, flush_then};
use super::settings::PowerMode;
use crate::Link;
use crate::fis::{Error, Registers};

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;

/// Features register of IDLE IMMEDIATE: unload the heads.
const FEATURE_UNLOAD: u16 = 0x44;
/// What has to stand in LBA 23:0 with it.
const UNLOAD_KEY: u64 = 0x55_4e4c;
/// What stands in LBA 7:0 after it.
const UNLOADED: u64 = 0xc4;

// Words 83 and 86.
const SPIN_UP_BY_COMMAND: u16 = 1 << 6;
const POWER_UP_IN_STANDBY: u16 = 1 << 5;
const APM: u16 = 1 << 3;
/// Words 84 and 87: IDLE IMMEDIATE with unload.
const UNLOAD: u16 = 1 << 13;
/// Words 119 and 120: Extended Power Conditions.
const EPC: u16 = 1 << 7;
/// Word 76: host-initiated power management of the link.
const HIPM: u16 = 1 << 9;

/// What a count register means for the Standby timer (ACS-4, Standby timer periods): `Some(None)`
/// disables it, `None` is reserved.
fn standby_timer(count: u8) -> Option<Option<u64>> {
    let period_ns = match count {
        0 => return Some(None),
        1..=240 => u64::from(count) * 5 * SECOND_NS,
        241..=251 => u64::from(count - 240) * 30 * MINUTE_NS,
        252 => 21 * MINUTE_NS,
        // "Between 8 and 12 hours."
        253 => 8 * 60 * MINUTE_NS,
        254 => return None,
        255 => 21 * MINUTE_NS + 15 * SECOND_NS,
    };
    Some(Some(period_ns))
}

/// CHECK POWER MODE.
pub(crate) fn check_power_mode(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    Reply::GoodCount(match disk.power_mode(call) {
        PowerMode::Active => 0xff,
        // What other feature sets call Idle is Idle_a for this one.
        PowerMode::Idle if disk.epc.is_enabled() => 0x81,
        PowerMode::Idle => 0x80,
        PowerMode::IdleA => 0x81,
        PowerMode::IdleB => 0x82,
        PowerMode::IdleC => 0x83,
        PowerMode::StandbyY => 0x01,
        PowerMode::Standby | PowerMode::Sleep => 0x00,
    })
}

/// IDLE IMMEDIATE, also with its unload feature: heads that are not there are where they should be.
pub(crate) fn idle_immediate(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let unload = call.fis.features & 0xff == FEATURE_UNLOAD;
    if unload && call.fis.lba & 0xff_ffff != UNLOAD_KEY {
        return Reply::Fail(Fault::ABORT);
    }
    disk.power.enter(PowerMode::Idle, call.now);
    if unload {
        let registers = disk.registers(call, super::READY, Error::empty(), None);
        let lba = registers.lba & !0xff | UNLOADED;
        disk.end(call, Registers { lba, ..registers }, link);
        // It has ended.
        return Reply::Pending;
    }
    Reply::Good
}

/// IDLE: the same, and sets the Standby timer.
pub(crate) fn idle(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    if !disk.set_standby_timer(call) {
        return Reply::Fail(Fault::ABORT);
    }
    disk.power.enter(PowerMode::Idle, call.now);
    Reply::Good
}

/// STANDBY IMMEDIATE: a disk that spins down has emptied its cache.
pub(crate) fn standby_immediate(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    flush_then(disk, call, AfterFlush::Enter(PowerMode::Standby), link)
}

/// STANDBY: the same, and sets the Standby timer.
pub(crate) fn standby(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if !disk.set_standby_timer(call) {
        return Reply::Fail(Fault::ABORT);
    }
    standby_immediate(disk, call, link)
}

/// SLEEP: after it, only a reset is heard.
pub(crate) fn sleep(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    flush_then(disk, call, AfterFlush::Enter(PowerMode::Sleep), link)
}

/// The SET FEATURES subcommands of this file; `None` if it is none of them.
pub(crate) fn set_features(disk: &mut Disk, call: &Call) -> Option<Reply> {
    let level = call.fis.count as u8;
    match call.fis.features as u8 {
        // APM: from 01h, the least power, to FEh, the best performance. It and Extended Power
        // Conditions exclude each other.
        0x05 if matches!(level, 0x01..=0xfe) && !disk.epc.is_enabled() => {
            disk.settings.apm = Some(level);
        }
        0x85 => disk.settings.apm = None,
        0x06 => disk.power_up.enable(true, &mut disk.saved),
        0x86 => disk.power_up.enable(false, &mut disk.saved),
        0x07 => {
            if core::mem::take(&mut disk.power_up.is_waiting) {
                disk.power.enter(PowerMode::Active, call.now);
            }
        }
        0x05 => return Some(Reply::Fail(Fault::ABORT)),
        _ => return None,
    }
    Some(Reply::Good)
}

/// Power-Up In Standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PowerUp {
    in_standby: bool,
    /// The disk has powered up, and nobody has told it to spin up.
    is_waiting: bool,
}

impl PowerUp {
    fn enable(&mut self, on: bool, saved: &mut super::saved::Saved) {
        self.in_standby = on;
        saved.note_change();
    }

    /// Whether it does not touch the medium yet.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.in_standby));
    }

    /// As after power-on.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [byte @ (0 | 1)] => Some(Self { in_standby: *byte == 1, is_waiting: *byte == 1 }),
            _ => None,
        }
    }
}

impl Disk {
    /// The power mode when `call` came, by commands and by timers.
    fn power_mode(&self, call: &Call) -> PowerMode {
        if self.power_up.is_waiting() {
            return PowerMode::Standby;
        }
        let by_command = self.power.mode(self.settings.standby_after_ns, call.now);
        // Timers only ever go deeper, and never as deep as Sleep.
        by_command.max(self.epc.mode_after(self.power.idle_ns(call.now)))
    }

    /// Takes the Standby timer from the count register; false if its value is reserved.
    fn set_standby_timer(&mut self, call: &Call) -> bool {
        let Some(period_ns) = standby_timer(call.fis.count as u8) else {
            return false;
        };
        if self.epc.is_enabled() {
            self.epc.set_standby_timer(period_ns);
        } else {
            self.settings.standby_after_ns = period_ns;
        }
        true
    }

    /// What IDENTIFY DEVICE says of all this.
    pub(crate) fn put_power_words(&self, words: &mut [u16; 256]) {
        // Whether SET FEATURES is needed to spin up; IDENTIFY DEVICE data is complete either way.
        words[2] = if self.power_up.is_waiting() { 0x738c } else { 0xc837 };
        words[76] |= HIPM;
        words[83] |= SPIN_UP_BY_COMMAND | POWER_UP_IN_STANDBY | APM;
        words[84] |= UNLOAD;
        words[86] |= SPIN_UP_BY_COMMAND;
        words[86] |= if self.power_up.in_standby { POWER_UP_IN_STANDBY } else { 0 };
        words[86] |= if self.settings.apm.is_some() { APM } else { 0 };
        words[87] |= UNLOAD;
        words[91] = self.settings.apm.map_or(0, u16::from);
        words[119] |= EPC;
        words[120] |= if self.epc.is_enabled() { EPC } else { 0 };
    }
}
