//! The Extended Power Conditions feature set (ACS-4, 4.9): five conditions, Idle_a to Standby_z, each
//! with a timer that brings the disk there after a time without access.
//!
//! Timers need no event of their own: nothing happens when one expires but that the answer to
//! CHECK POWER MODE changes. Leaving a condition takes no time, since there is nothing to spin up; the
//! power conditions log says so.
//!
//! Saved settings, and whether the feature set is enabled, outlive power (`state=`). Left out: power
//! sources (subcommand 6h), and going to a condition later or holding it (LBA bits 25 and 24); they
//! are aborted, and the log says that holding is not supported.

use alloc::vec::Vec;

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::flush::{AfterFlush, flush_then};
use super::saved::Reader;
use super::settings::PowerMode;
use crate::Link;

/// A tenth of a second, the unit of timers.
const TENTH_NS: u64 = 100_000_000;
const TENTHS_PER_MINUTE: u32 = 600;
/// The largest timer that SET FEATURES can ask for: 65,535 minutes.
const TIMER_MAX: u32 = 65_535 * TENTHS_PER_MINUTE;
const TIMER_MIN: u32 = 1;

const CONDITIONS: usize = 5;

/// The conditions in the order of the power that they save, with their numbers.
const ORDER: [(u8, PowerMode); CONDITIONS] = [
    (0x81, PowerMode::IdleA),
    (0x82, PowerMode::IdleB),
    (0x83, PowerMode::IdleC),
    (0x01, PowerMode::StandbyY),
    (0x00, PowerMode::Standby),
];
/// Where Standby_z is.
const STANDBY_Z: usize = 4;
/// The number that means all of them.
const ALL: u8 = 0xff;

/// One timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Timer {
    enabled: bool,
    tenths: u32,
}

/// As the disk leaves the factory: after 2 s, 2 min and 10 min, and 15 and 30 min; the first two are
/// enabled.
const DEFAULTS: [Timer; CONDITIONS] = [
    Timer { enabled: true, tenths: 20 },
    Timer { enabled: true, tenths: 1_200 },
    Timer { enabled: false, tenths: 6_000 },
    Timer { enabled: false, tenths: 9_000 },
    Timer { enabled: false, tenths: 18_000 },
];

/// The state of the feature set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epc {
    enabled: bool,
    saved: [Timer; CONDITIONS],
    current: [Timer; CONDITIONS],
}

impl Default for Epc {
    fn default() -> Self {
        Self { enabled: false, saved: DEFAULTS, current: DEFAULTS }
    }
}

impl Epc {
    /// Whether the feature set is enabled.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The condition that a disk is in by its timers after `idle_ns` without access.
    pub(crate) fn mode_after(&self, idle_ns: u64) -> PowerMode {
        let has_expired = |timer: &Timer| {
            timer.enabled && idle_ns >= u64::from(timer.tenths).saturating_mul(TENTH_NS)
        };
        let deepest = self.current.iter().rposition(has_expired).filter(|_| self.enabled);
        deepest.map_or(PowerMode::Active, |index| ORDER[index].1)
    }

    /// The Standby timer of IDLE and STANDBY is that of Standby_z.
    pub(crate) fn set_standby_timer(&mut self, period_ns: Option<u64>) {
        let timer = &mut self.current[STANDBY_Z];
        timer.enabled = period_ns.is_some();
        if let Some(period_ns) = period_ns {
            timer.tenths = u32::try_from(period_ns / TENTH_NS).unwrap_or(TIMER_MAX);
        }
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.enabled));
        for timer in &self.saved {
            out.push(u8::from(timer.enabled));
            out.extend_from_slice(&timer.tenths.to_le_bytes());
        }
    }

    /// As after power-on: what is saved is current.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let enabled = flag(reader.u8()?)?;
        let mut saved = DEFAULTS;
        for timer in &mut saved {
            *timer = Timer { enabled: flag(reader.u8()?)?, tenths: reader.u32()? };
            if !(TIMER_MIN..=TIMER_MAX).contains(&timer.tenths) {
                return None;
            }
        }
        reader.is_empty().then_some(Self { enabled, saved, current: saved })
    }
}

fn flag(byte: u8) -> Option<bool> {
    matches!(byte, 0 | 1).then_some(byte == 1)
}

/// Which entries of [`ORDER`] a condition number means.
fn indices(id: u8) -> Option<core::ops::Range<usize>> {
    if id == ALL {
        return Some(0..CONDITIONS);
    }
    let index = ORDER.iter().position(|(other, _)| *other == id)?;
    Some(index..index + 1)
}

/// SET FEATURES 4Ah (ACS-4, Extended Power Conditions subcommand): the condition in the count
/// register, what to do in LBA 3:0.
pub(crate) fn set_features(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    const SAVE: u64 = 1 << 4;
    const ENABLE: u64 = 1 << 5;
    const DEFAULT: u64 = 1 << 6;
    const MINUTES: u64 = 1 << 7;
    const HOLD_OR_DELAY: u64 = 0b11 << 24;
    let lba = call.fis.lba;
    let subcommand = lba & 0xf;
    match subcommand {
        0x4 => {
            // The two feature sets exclude each other (ACS-4, 4.9).
            disk.settings.apm = None;
            disk.settings.standby_after_ns = None;
            disk.epc.enabled = true;
            disk.epc.current = disk.epc.saved;
            disk.power.touch(call.now);
            disk.saved.note_change();
            return Reply::Good;
        }
        _ if !disk.epc.enabled => return Reply::Fail(Fault::ABORT),
        0x5 => {
            disk.epc.enabled = false;
            disk.saved.note_change();
            return Reply::Good;
        }
        _ => {}
    }
    let Some(range) = indices(call.fis.count as u8) else {
        return Reply::Fail(Fault::ABORT);
    };
    if subcommand == 0x1 {
        if range.len() != 1 || lba & HOLD_OR_DELAY != 0 {
            return Reply::Fail(Fault::ABORT);
        }
        return go_to(disk, call, ORDER[range.start].1, link);
    }
    let enable = lba & ENABLE != 0;
    let ask = |timer: Timer| -> Option<Timer> {
        match subcommand {
            // Set Power Condition State.
            0x3 => Some(Timer { enabled: enable, ..timer }),
            // Set Power Condition Timer. A timer of nothing is none.
            0x2 => {
                let unit = if lba & MINUTES != 0 { TENTHS_PER_MINUTE } else { 1 };
                let tenths = (lba >> 8 & 0xffff) as u32 * unit;
                (tenths >= TIMER_MIN).then_some(Timer { enabled: enable, tenths })
            }
            _ => None,
        }
    };
    let mut epc = disk.epc;
    for index in range {
        epc.current[index] = match subcommand {
            // Restore Power Condition Settings.
            0x0 if lba & DEFAULT != 0 => DEFAULTS[index],
            0x0 => epc.saved[index],
            _ => match ask(epc.current[index]) {
                Some(timer) => timer,
                None => return Reply::Fail(Fault::ABORT),
            },
        };
        if lba & SAVE != 0 {
            epc.saved[index] = epc.current[index];
            disk.saved.note_change();
        }
    }
    disk.epc = epc;
    // Timers start anew with what was set.
    disk.power.touch(call.now);
    Reply::Good
}

/// Go To Power Condition. On the way to Standby the cache is emptied.
fn go_to(disk: &mut Disk, call: &Call, mode: PowerMode, link: &mut dyn Link) -> Reply {
    if mode >= PowerMode::StandbyY {
        return flush_then(disk, call, AfterFlush::Enter(mode), link);
    }
    disk.power.enter(mode, call.now);
    Reply::Good
}

impl Disk {
    /// A page of the power conditions log (ACS-4, log address 08h): 0 is about Idle, 1 about
    /// Standby.
    pub(crate) fn power_conditions_page(&self, page: u16) -> [u8; 512] {
        const DESCRIPTOR_BYTES: usize = 64;
        let mut data = [0; 512];
        // Idle conditions from the front, Standby ones at the end.
        let places: &[(usize, usize)] =
            if page == 0 { &[(0, 0), (1, 1), (2, 2)] } else { &[(3, 6), (4, 7)] };
        for (index, place) in places {
            let (default, saved) = (DEFAULTS[*index], self.epc.saved[*index]);
            let current = self.epc.current[*index];
            let descriptor = &mut data[place * DESCRIPTOR_BYTES..][..DESCRIPTOR_BYTES];
            // Supported, saveable, changeable; holding is not supported.
            descriptor[1] = 1 << 7 | 1 << 6 | 1 << 5 | 1 << 1;
            descriptor[1] |= u8::from(default.enabled) << 4;
            descriptor[1] |= u8::from(saved.enabled) << 3;
            descriptor[1] |= u8::from(current.enabled) << 2;
            // The nominal recovery time, at 16, is none.
            let words = [default.tenths, saved.tenths, current.tenths, 0, TIMER_MIN, TIMER_MAX];
            for (field, word) in descriptor[4..28].chunks_exact_mut(4).zip(words) {
                field.copy_from_slice(&word.to_le_bytes());
            }
        }
        data
    }
}
