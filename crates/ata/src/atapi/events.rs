//! GET EVENT STATUS NOTIFICATION, polled, and MECHANISM STATUS (MMC-6, 6.7 and 6.8).
//!
//! The host polls; with asynchronous notification (SET FEATURES) it need not do so before it is
//! told to.

use core::mem;

use super::Drive;
use super::command::{Call, Outcome};
use super::medium::Bay;
use super::sense::Sense;
use crate::Link;

/// Event classes: operational change, power management, media, device busy.
const OPERATIONAL_CHANGE: u8 = 1;
const POWER_MANAGEMENT: u8 = 2;
const MEDIA: u8 = 4;
const DEVICE_BUSY: u8 = 6;
const SUPPORTED: u8 =
    1 << OPERATIONAL_CHANGE | 1 << POWER_MANAGEMENT | 1 << MEDIA | 1 << DEVICE_BUSY;

/// GET EVENT STATUS NOTIFICATION: the most important event of the classes that are asked for. Only
/// media events happen here.
pub(crate) fn get_event_status_notification(
    drive: &mut Drive,
    call: &Call,
    _: &mut dyn Link,
) -> Outcome {
    const POLLED: u8 = 1;
    /// No event available: none of the classes is supported.
    const NONE: u8 = 1 << 7;
    if call.packet[1] & POLLED == 0 {
        return Sense::INVALID_FIELD.into();
    }
    let allocation_bytes = usize::from(call.be16(7));
    let wanted = call.packet[4] & SUPPORTED;
    let data = if wanted == 0 {
        alloc::vec![0, 2, NONE, SUPPORTED]
    } else {
        let has_media_event = wanted & 1 << MEDIA != 0 && drive.bay.has_event();
        let class = if has_media_event { MEDIA } else { wanted.trailing_zeros() as u8 };
        let event = match class {
            // An event that the host has no room for is not taken.
            MEDIA if allocation_bytes > 4 => drive.bay.take_event(),
            MEDIA => [0, drive.bay.presence(), 0, 0],
            // Active.
            POWER_MANAGEMENT => [0, 1, 0, 0],
            _ => [0, 0, 0, 0],
        };
        [&[0, 6, class, SUPPORTED][..], &event].concat()
    };
    Outcome::data(data, allocation_bytes)
}

impl Bay {
    fn has_event(&self) -> bool {
        self.removal || self.new_media || self.eject_request
    }

    /// Media status: bit 1 a medium is present, bit 0 the tray is open.
    fn presence(&self) -> u8 {
        let present = self.medium().is_some() && !self.is_open();
        u8::from(present) << 1 | u8::from(self.is_open())
    }

    fn take_event(&mut self) -> [u8; 4] {
        const EJECT_REQUEST: u8 = 1;
        const NEW_MEDIA: u8 = 2;
        const REMOVAL: u8 = 3;
        let code = if mem::take(&mut self.removal) {
            REMOVAL
        } else if mem::take(&mut self.new_media) {
            NEW_MEDIA
        } else if mem::take(&mut self.eject_request) {
            EJECT_REQUEST
        } else {
            0
        };
        [code, self.presence(), 0, 0]
    }
}

/// MECHANISM STATUS: a drive without a changer.
pub(crate) fn mechanism_status(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    let door_open = u8::from(drive.bay.is_open()) << 4;
    Outcome::data(alloc::vec![0, door_open, 0, 0, 0, 1, 0, 0], usize::from(call.be16(8)))
}
