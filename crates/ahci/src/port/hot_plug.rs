//! Devices that come and go (7.3): surprise removal, and insertion.
//!
//! Removal cancels what the device has exactly as a COMRESET does (contract C1 to C4). A port that
//! was started then halts until software has stopped it: nothing that was meant for one device may
//! reach another. PxCI and PxSACT stay until then, since a bit that falls means that a command is
//! complete.

use freewheel_block::Nanos;

use super::link::LinkFaults;
use super::{Attachment, Port, ResetKind};
use crate::memory::GuestMemory;
use crate::registers::*;

impl Port {
    /// Takes the device, or port multiplier, away. Faults of its link go with it.
    pub(crate) fn detach(&mut self, now: Nanos) -> Option<Attachment> {
        let mut device = self.device.take()?;
        let keeps = freewheel_block::sabotaged!(DetachForgetsDevice);
        let lost = if keeps { 0 } else { device.abort_all(now) };
        let wire = &mut self.wire;
        let was_up = !wire.is_switched_off() && !wire.link.is_down();
        wire.halted |= wire.running();
        wire.note_reset(ResetKind::Detach, lost, now);
        wire.go_dark();
        wire.link = LinkFaults::default();
        if was_up {
            wire.serr |= PxSerr::DIAG_N;
        }
        wire.presence_changed(false);
        Some(device)
    }

    /// Plugs a device into an empty port. Unless the interface is off, the link comes up and the
    /// device sends its signature. Commands that have waited in the list are not meant for it.
    pub(crate) fn attach(&mut self, device: Attachment, now: Nanos, memory: &dyn GuestMemory) {
        self.device = Some(device);
        self.wire.halted |= self.has_outstanding();
        self.wire.presence_changed(true);
        if !self.wire.is_switched_off() {
            self.connect(now, memory);
            self.issue(now, memory);
        } else if self.wire.sctl & 0xf == 0 && self.wire.cmd.contains(PxCmd::POD) {
            // A port that does not spin its device up listens, and hears that one is there (10.1.1).
            self.wire.serr |= PxSerr::DIAG_X;
        }
    }
}
