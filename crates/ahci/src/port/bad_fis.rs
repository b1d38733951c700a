//! What can become of a FIS or of data on its way (6.1), and FISes of unknown type (5.5.2).
//!
//! All of it is injected, but for unknown FISes, which a device may send by itself. Hardware repeats
//! by itself a FIS without data whose checksum does not fit: that is no more than a note
//! (PxIS.INFS). One that is malformed is fatal (PxIS.IFS): the port halts, and the command that it was
//! for never ends.

use core::mem;

use freewheel_ata::LinkError;
use freewheel_ata::fis::DeviceFis;
use freewheel_block::fault::LinkFault;

use super::Port;
use super::receive::Plugged;
use super::wire::Wire;
use crate::memory::GuestMemory;
use crate::registers::*;

/// A FIS of a vendor's own type, with nothing in it.
const VENDOR_FIS: [u8; 12] = [0xc7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What is to happen to FISes; each once.
#[derive(Debug, Default)]
pub(super) struct FisFaults {
    unknown: bool,
    malformed: bool,
    repeated: bool,
    stuck: bool,
    poisoned: bool,
}

impl FisFaults {
    /// Notes a fault that is one of FISes or data; others are none of this module's.
    pub(super) fn inject(&mut self, fault: LinkFault) {
        match fault {
            LinkFault::UnknownFis => self.unknown = true,
            LinkFault::BadFis => self.malformed = true,
            LinkFault::Retry => self.repeated = true,
            LinkFault::Stuck => self.stuck = true,
            LinkFault::Poison => self.poisoned = true,
            LinkFault::Drop(_) | LinkFault::Crc | LinkFault::NoSignature => {}
        }
    }

    /// Whether the device takes the command that comes now without ever answering.
    pub(super) fn swallows_command(&mut self) -> bool {
        mem::take(&mut self.stuck)
    }
}

impl Wire {
    /// Whether the memory behind this transfer is damaged; if so, that is noted: a host bus data
    /// error, which is fatal (6.1.2).
    pub(super) fn meets_poison(&mut self) -> Result<(), LinkError> {
        if mem::take(&mut self.link.fises.poisoned) {
            self.fatal(PxIs::HBDS);
            return Err(LinkError::HostBus);
        }
        Ok(())
    }

    /// Clears bits of PxSERR, and what follows them.
    pub(super) fn clear_serr(&mut self, bits: PxSerr) {
        self.serr.remove(bits);
        if bits.contains(PxSerr::DIAG_F) {
            self.is.remove(PxIs::UFS);
        }
    }
}

impl Plugged<'_> {
    /// Whether a FIS arrives in good order; what is wrong with it is noted. A link that is down
    /// carries nothing, whatever a device or port multiplier has to say by itself.
    pub(super) fn arrives(&mut self, slot: Option<u8>, fis: &DeviceFis) -> bool {
        if !self.wire.is_heard() {
            return false;
        }
        self.wire.wake();
        let faults = &mut self.wire.link.fises;
        if mem::take(&mut faults.repeated) {
            self.wire.serr |= PxSerr::ERR_I | PxSerr::DIAG_C;
            self.wire.is |= PxIs::INFS;
        }
        let for_command = slot.is_some() || matches!(fis, DeviceFis::SetDeviceBits { .. });
        if for_command && mem::take(&mut self.wire.link.fises.malformed) {
            self.wire.current_slot = slot.unwrap_or(self.wire.current_slot);
            self.wire.serr |= PxSerr::ERR_P | PxSerr::DIAG_T;
            self.wire.fatal(PxIs::IFS);
            return false;
        }
        true
    }

    /// A FIS of unknown type: it goes to memory as it is, and its meaning is left to software. One
    /// that has no room there is an error of the interface (6.1.2).
    pub(super) fn receive_unknown(&mut self, bytes: &[u8]) {
        if bytes.len() > UNKNOWN_FIS_BYTES {
            self.wire.serr |= PxSerr::ERR_P | PxSerr::DIAG_T;
            self.wire.fatal(PxIs::IFS);
            return;
        }
        self.wire.serr |= PxSerr::DIAG_F;
        if !self.wire.cmd.contains(PxCmd::FRE) {
            return;
        }
        let address = self.wire.fis_area(self.from).wrapping_add(FIS_AREA_UFIS);
        if self.memory.write(address, bytes).is_err() {
            self.wire.fatal(PxIs::HBFS);
        } else {
            self.wire.is |= PxIs::UFS;
        }
    }
}

impl Port {
    /// Whether the device has an unknown FIS to send, and a link to send it through.
    pub(super) fn has_unknown_fis(&self) -> bool {
        self.wire.link.fises.unknown && self.wire.is_heard() && self.has_device()
    }

    pub(super) fn send_unknown_fis(&mut self, memory: &dyn GuestMemory) {
        self.wire.link.fises.unknown = false;
        Plugged { wire: &mut self.wire, memory, from: 0 }.receive_unknown(&VENDOR_FIS);
    }
}
