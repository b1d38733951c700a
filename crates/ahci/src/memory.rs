//! Guest memory, as a bus master sees it.

/// An address is not mapped, not writable, or bus mastering is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("guest memory at {address:#x} is not accessible")]
pub struct BusError {
    /// The guest-physical address of the access that failed.
    pub address: u64,
}

/// Guest-physical memory. An access moves all of its bytes or none, and never blocks.
pub trait GuestMemory {
    /// Copies guest memory at `address` into `buf`.
    fn read(&self, address: u64, buf: &mut [u8]) -> Result<(), BusError>;

    /// Copies `data` to guest memory at `address`.
    fn write(&self, address: u64, data: &[u8]) -> Result<(), BusError>;
}
