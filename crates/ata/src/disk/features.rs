//! SET FEATURES (ACS-4, command EFh).

use super::command::{Call, Fault, Reply};
use super::flush::{AfterFlush, flush_then};
use super::settings::Settings;
use super::{Disk, Work, epc, power};
use crate::Link;

/// Subcommand 10h and 90h, count 06h: software settings preservation (SATA 3.x).
const SATA_SETTINGS_PRESERVATION: u8 = 0x06;
/// The same, count 09h: device sleep (SATA 3.2).
const SATA_DEVICE_SLEEP: u8 = 0x09;

/// SET FEATURES: subcommands in the features register, not offered ones are aborted.
pub(crate) fn set_features(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let count = call.fis.count as u8;
    if let Some(reply) = power::set_features(disk, call) {
        return reply;
    }
    let settings = &mut disk.settings;
    match call.fis.features as u8 {
        0x02 => {
            settings.write_cache = true;
            disk.engine.set_write_through(false);
        }
        0x82 => {
            // Write-through first: whatever is written from now on is durable by itself, and the
            // flush takes care of the rest. The state is reported once both are true.
            disk.engine.set_write_through(true);
            let reply = flush_then(disk, call, AfterFlush::DisableWriteCache, link);
            if let Reply::Fail(_) = reply {
                disk.engine.set_write_through(!disk.settings.write_cache);
            }
            return reply;
        }
        0x03 => match count {
            // PIO default mode, without IORDY; PIO flow control modes 0 to 4.
            0x00 | 0x01 | 0x08..=0x0c => {}
            // Multiword DMA 0 to 2, Ultra DMA 0 to 6.
            0x20..=0x22 | 0x40..=0x46 => settings.dma_mode = count,
            _ => return Reply::Fail(Fault::ABORT),
        },
        0x4a => return epc::set_features(disk, call, link),
        0xaa => settings.look_ahead = true,
        0x55 => settings.look_ahead = false,
        0x66 => settings.revert = false,
        0xcc => settings.revert = true,
        0x10 if count == SATA_SETTINGS_PRESERVATION => settings.preserve = true,
        0x90 if count == SATA_SETTINGS_PRESERVATION => settings.preserve = false,
        0x10 if count == SATA_DEVICE_SLEEP => settings.device_sleep = true,
        0x90 if count == SATA_DEVICE_SLEEP => settings.device_sleep = false,
        _ => return Reply::Fail(Fault::ABORT),
    }
    Reply::Good
}

impl Disk {
    /// Power-on defaults, by a reset.
    pub(crate) fn restore_settings(&mut self) {
        debug_assert!(!self.slots.iter().flatten().any(|it| matches!(it.work, Work::Flush(_))));
        self.settings = Settings::power_on(&self.config, &self.shape);
        self.engine.set_write_through(!self.settings.write_cache);
    }
}
