//! What a host knows of the commands that it has sent: each ends exactly once, or by a reset.
//!
//! Shared with the fuzz target `ata` (`fuzz/`), so that both judge by the same rules.

use freewheel_ata::fis::{DeviceFis, Status};

/// The commands that have not ended.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Slots of commands that are not queued, or not accepted yet.
    pub(crate) unqueued: u32,
    /// Tags of the queued commands that were accepted.
    pub(crate) queued: u32,
}

impl Ledger {
    /// A command goes to `slot`. Says whether the disk takes it: it ignores what comes to a slot
    /// whose command has not ended.
    pub(crate) fn send(&mut self, slot: u8) -> bool {
        let bit = 1u32.checked_shl(slot.into()).unwrap_or(0);
        let is_taken = self.unqueued & bit == 0;
        self.unqueued |= bit;
        is_taken && bit != 0
    }

    /// Each FIS must end something that has not ended, or belong to something that goes on.
    pub(crate) fn take(&mut self, slot: Option<u8>, fis: &DeviceFis) {
        match (slot, fis) {
            (Some(slot), DeviceFis::RegisterD2H { interrupt: false, registers }) => {
                assert!(!registers.status.intersects(Status::ERR | Status::BSY | Status::DRQ));
                assert_eq!(self.unqueued & 1 << slot, 1 << slot, "accepts what was sent");
                self.unqueued &= !(1 << slot);
                assert_eq!(self.queued & 1 << slot, 0);
                self.queued |= 1 << slot;
            }
            (Some(slot), DeviceFis::RegisterD2H { interrupt: true, registers }) => {
                assert_eq!(self.unqueued & 1 << slot, 1 << slot, "ends what was sent");
                self.unqueued &= !(1 << slot);
                if registers.status.contains(Status::ERR) {
                    // A refusal takes the queue with it, if there is one.
                    self.queued = 0;
                }
            }
            (Some(slot), DeviceFis::PioSetup { to_host, ending_status, .. }) => {
                assert_eq!(self.unqueued & 1 << slot, 1 << slot, "data for what was sent");
                if *to_host && !ending_status.contains(Status::BSY) {
                    self.unqueued &= !(1 << slot);
                }
            }
            (None, DeviceFis::SetDeviceBits { interrupt: false, active, .. }) => {
                assert_eq!((*active, self.queued), (u32::MAX, 0));
            }
            (None, DeviceFis::SetDeviceBits { status, active, .. }) => {
                assert_eq!(self.queued & active, *active, "ends what was accepted");
                self.queued &= !active;
                if status.contains(Status::ERR) {
                    self.queued = 0;
                } else {
                    assert_ne!(*active, 0);
                }
            }
            (None, DeviceFis::RegisterD2H { registers, .. }) => {
                assert_eq!(registers.error.bits(), 1, "a signature");
            }
            other => panic!("{other:?}"),
        }
    }
}
