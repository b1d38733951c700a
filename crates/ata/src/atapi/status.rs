//! TEST UNIT READY, REQUEST SENSE, START STOP UNIT, PREVENT ALLOW MEDIUM REMOVAL, SET CD SPEED.

use super::Drive;
use super::ata::Power;
use super::command::{Call, Outcome};
use super::sense::Sense;
use crate::Link;

/// Its opcode: the one command that does not wipe out sense data before it runs.
pub(crate) const REQUEST_SENSE: u8 = 0x03;

/// TEST UNIT READY: that it is has been checked already.
pub(crate) fn test_unit_ready(_: &mut Drive, _: &Call, _: &mut dyn Link) -> Outcome {
    Outcome::Good
}

/// REQUEST SENSE (SPC-3, 6.27), in the fixed format.
pub(crate) fn request_sense(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    if call.packet[1] & 1 != 0 {
        return Sense::INVALID_FIELD.into();
    }
    let mut sense = core::mem::replace(&mut drive.sense, Sense::NONE);
    if sense == Sense::NONE {
        sense = drive.bay.take_attention().unwrap_or(sense);
    }
    Outcome::data(sense.encode().to_vec(), usize::from(call.packet[4]))
}

/// START STOP UNIT (MMC-6, 6.42).
pub(crate) fn start_stop_unit(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    const START: u8 = 1 << 0;
    const LOAD_EJECT: u8 = 1 << 1;
    let flags = call.packet[4];
    match flags >> 4 {
        0 => {}
        0x1 => drive.power = Power::Active,
        0x2 => drive.power = Power::Idle,
        0x3 => drive.power = Power::Standby,
        _ => return Sense::INVALID_FIELD.into(),
    }
    if flags >> 4 != 0 {
        return Outcome::Good;
    }
    match (flags & LOAD_EJECT != 0, flags & START != 0) {
        (true, false) => match drive.bay.open() {
            Ok(()) => Outcome::Good,
            Err(sense) => sense.into(),
        },
        (true, true) => {
            drive.bay.close();
            Outcome::Good
        }
        (false, true) => match drive.bay.ready() {
            Ok(_) => {
                drive.power = Power::Active;
                Outcome::Good
            }
            Err(sense) => sense.into(),
        },
        (false, false) => {
            drive.power = Power::Idle;
            Outcome::Good
        }
    }
}

/// PREVENT ALLOW MEDIUM REMOVAL (MMC-6, 6.11).
pub(crate) fn prevent_allow_medium_removal(
    drive: &mut Drive,
    call: &Call,
    _: &mut dyn Link,
) -> Outcome {
    let prevent = call.packet[4] & 0b01 != 0;
    if call.packet[4] & 0b10 != 0 {
        drive.bay.prevented_persistently = prevent;
    } else {
        drive.bay.prevented = prevent;
    }
    Outcome::Good
}

/// SET CD SPEED (MMC-6, 6.37): remembered, for an image has no speed.
pub(crate) fn set_cd_speed(drive: &mut Drive, call: &Call, _: &mut dyn Link) -> Outcome {
    drive.modes.set_speed(call.be16(2));
    Outcome::Good
}
