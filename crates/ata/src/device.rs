//! The two sides of the cable: what a controller drives, and what a device sees of it.

use alloc::vec::Vec;

use freewheel_block::{Engine, EngineStatus, Nanos};

use crate::Drive;
use crate::fis::{DeviceFis, RegisterH2D};

/// Why data did not move. The controller has noted the cause in its own registers already; the
/// device ends the command with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The command's scatter list is shorter than what the command transfers.
    #[error("the host's buffer is shorter than the transfer")]
    Overflow,
    /// Guest memory is not mapped, or not writable.
    #[error("host memory is not accessible")]
    HostBus,
    /// The data was damaged on the cable; the checksum of its FIS does not fit.
    #[error("the data was damaged on the link")]
    Crc,
}

/// What a device sees of the controller: a place for data, per command slot, and for FISes.
///
/// Offsets count bytes from the start of the command's scatter list.
pub trait Link {
    /// Device to host: copies `data` into guest memory.
    fn data_in(&mut self, slot: u8, offset_bytes: u64, data: &[u8]) -> Result<(), LinkError>;

    /// Host to device: fills `data` from guest memory. On an error its content is void.
    fn data_out(&mut self, slot: u8, offset_bytes: u64, data: &mut [u8]) -> Result<(), LinkError>;

    /// Sends a FIS to the controller. `slot` is the non-queued command that it belongs to, or the
    /// queued command whose acceptance it acknowledges; `None` for FISes that belong to none
    /// (signature, Set Device Bits).
    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis);

    /// Sends a FIS whose type is none of [`DeviceFis`], a vendor's own, as it is on the wire.
    fn unknown_fis(&mut self, bytes: &[u8]) {
        let _ = bytes;
    }
}

/// A device on a SATA link. One command slot (0 to 31) is one command; a queued command's NCQ tag
/// equals its slot.
pub trait Device: Send {
    /// Takes a command (a Register Host-to-Device FIS with the C bit set) from `slot`. `packet` is
    /// the ATAPI command area (ACMD), which only PACKET reads.
    fn execute(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        packet: &[u8; 16],
        now: Nanos,
        link: &mut dyn Link,
    );

    /// Takes a Register Host-to-Device FIS with the C bit clear: a write to the device control
    /// register. SRST set puts the device into reset (everything in flight is cancelled); SRST
    /// clear takes it out, whereupon it sends its signature.
    fn control(&mut self, control: u8, now: Nanos, link: &mut dyn Link);

    /// COMRESET: everything in flight is cancelled, settings return to their defaults as
    /// SATA 3.x defines, and the signature is sent. Ends at once, whatever the storage does (C1).
    fn comreset(&mut self, now: Nanos, link: &mut dyn Link);

    /// The controller has forgotten every command (PxCMD.ST cleared): all are cancelled at once
    /// and none is ever answered. Returns how many there were.
    fn abort_all(&mut self, now: Nanos) -> usize;

    /// Lets completed operations of the engine become data and FISes.
    fn poll(&mut self, now: Nanos, link: &mut dyn Link);

    /// When [`Device::poll`] is due even if nothing woke the owner.
    fn next_wakeup(&self) -> Option<Nanos>;

    /// The state of the engine beneath, if there is a medium.
    fn engine_status(&self, now: Nanos) -> Option<EngineStatus>;

    /// The engine beneath, if there is a medium: to steer faults, to shut down, to look inside.
    fn engine_mut(&mut self) -> Option<&mut Engine> {
        None
    }

    /// The drive, if that is what it is: for media that come and go.
    fn drive_mut(&mut self) -> Option<&mut Drive> {
        None
    }

    /// The end is near: whatever the device does on its own account stops for good, without
    /// waiting, so that its storage comes to rest and the engine can be flushed (C7).
    fn retire(&mut self, _now: Nanos) {}

    /// What is to outlive the process, if something of it changed since the last call that is worth
    /// keeping; statistics are, every few minutes. Cheap while there is nothing.
    fn take_saved_state(&mut self, _now: Nanos) -> Option<Vec<u8>> {
        None
    }

    /// The same, changed or not; `None` from a device that has nothing to keep.
    fn saved_state(&self, _now: Nanos) -> Option<Vec<u8>> {
        None
    }
}
