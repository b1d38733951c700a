//! Power management (ACS-4, Power Management feature set).

use super::Disk;
use super::command::{Call, Fault, Reply};
use super::flush::{AfterFlush, flush_then};
use super::settings::PowerMode;
use crate::Link;

const SECOND_NS: u64 = 1_000_000_000;
const MINUTE_NS: u64 = 60 * SECOND_NS;

/// Features register of IDLE IMMEDIATE: unload the heads.
const FEATURE_UNLOAD: u16 = 0x44;

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
    Reply::GoodCount(match disk.power.mode(disk.settings.standby_after_ns, call.now) {
        PowerMode::Active => 0xff,
        PowerMode::Idle => 0x80,
        PowerMode::Standby | PowerMode::Sleep => 0x00,
    })
}

/// IDLE IMMEDIATE. Its unload feature is not offered, since there are no heads.
pub(crate) fn idle_immediate(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    if call.fis.features & 0xff == FEATURE_UNLOAD {
        return Reply::Fail(Fault::ABORT);
    }
    disk.power.enter(PowerMode::Idle, call.now);
    Reply::Good
}

/// IDLE: the same, and sets the Standby timer.
pub(crate) fn idle(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    let Some(timer) = standby_timer(call.fis.count as u8) else {
        return Reply::Fail(Fault::ABORT);
    };
    disk.settings.standby_after_ns = timer;
    disk.power.enter(PowerMode::Idle, call.now);
    Reply::Good
}

/// STANDBY IMMEDIATE: a disk that spins down has emptied its cache.
pub(crate) fn standby_immediate(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    flush_then(disk, call, AfterFlush::Enter(PowerMode::Standby), link)
}

/// STANDBY: the same, and sets the Standby timer.
pub(crate) fn standby(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let Some(timer) = standby_timer(call.fis.count as u8) else {
        return Reply::Fail(Fault::ABORT);
    };
    disk.settings.standby_after_ns = timer;
    standby_immediate(disk, call, link)
}

/// SLEEP: after it, only a reset is heard.
pub(crate) fn sleep(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    flush_then(disk, call, AfterFlush::Enter(PowerMode::Sleep), link)
}
