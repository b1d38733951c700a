//! Enclosure management (12): LED messages, transmitted at once.
//!
//! Left out, and not claimed: other types of messages (SAF-TE, SES-2, SGPIO), messages from an
//! enclosure, LEDs of port multipliers. The activity LED follows the commands by itself (ATTR.ALHD).

use crate::registers::*;

/// ATTR.ALHD, ATTR.XMT, ATTR.SMB, SUPP.LED: what cannot be written.
const FIXED: u32 = 1 << 26 | 1 << 25 | 1 << 24 | 1 << 16;
/// CTL.TM: transmit the message.
const TRANSMIT: u32 = 1 << 8;
/// CTL.RST.
const RESET: u32 = 1 << 9;
const BUFFER_DWORDS: usize = (EM_BUFFER_BYTES / 4) as usize;
/// Message type LED, in the header.
const TYPE_LED: u32 = 0;

/// The LEDs of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// Commands are outstanding.
    pub activity: bool,
    /// Software wants the disk to be found.
    pub locate: bool,
    /// Software takes the disk for faulty.
    pub fault: bool,
}

/// The message buffer, and what messages have said.
#[derive(Debug)]
pub(super) struct Enclosure {
    buffer: [u32; BUFFER_DWORDS],
    leds: [Leds; 32],
}

impl Enclosure {
    pub(super) fn new() -> Self {
        Self { buffer: [0; BUFFER_DWORDS], leds: [Leds::default(); 32] }
    }

    /// EM_LOC.
    pub(super) fn location() -> u32 {
        ((EM_BUFFER / 4) << 16) | (EM_BUFFER_BYTES / 4)
    }

    pub(super) fn read_control() -> u32 {
        FIXED
    }

    /// Reset and transmission are over at once, so that their bits never read as set.
    pub(super) fn write_control(&mut self, value: u32) {
        if value & RESET != 0 {
            *self = Self::new();
        } else if value & TRANSMIT != 0 {
            self.transmit();
        }
    }

    pub(super) fn buffer_mut(&mut self, offset: u32) -> Option<&mut u32> {
        let index = offset.checked_sub(EM_BUFFER)? / 4;
        self.buffer.get_mut(usize::try_from(index).ok()?)
    }

    /// A message of another type, or for an LED that is not there, is lost, as on a cable.
    fn transmit(&mut self) {
        let [header, message, ..] = self.buffer;
        let (port, behind_multiplier) = (message & 0x1f, message >> 8 & 0xff != 0);
        if header >> 24 & 0xf != TYPE_LED || behind_multiplier {
            return;
        }
        // Three bits an LED; 1 is on, and the rest is reserved.
        let on = |shift: u32| message >> shift & 7 == 1;
        let leds = &mut self.leds[port as usize];
        (leds.locate, leds.fault) = (on(19), on(22));
    }

    pub(super) fn leds(&self, port: usize, activity: bool) -> Leds {
        Leds { activity, ..self.leds.get(port).copied().unwrap_or_default() }
    }
}
