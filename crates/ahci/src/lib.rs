//! An AHCI 1.3.1 host bus adapter as a pure state machine.
//!
//! ```text
//!   register reads and writes ─► Hba ─► Port ─► ata::Device ─► engine
//!                                 │       │  fetches header, FIS and PRDT once
//!   interrupt line and message ◄──┘       └─ FISes, data, PRDBC ─► GuestMemory
//! ```
//!
//! The owner passes in register accesses, time and guest memory, and takes out the state of the
//! interrupt. There is no thread, lock, clock or file here. Every way to stop or reset
//! (PxCMD.ST, PxSCTL.DET, SRST, GHC.HR, a function reset) ends within the call, in time bounded by
//! the number of commands in flight, whatever the storage does (contract C1). So does a link that
//! drops ([`Hba::inject_link_fault`]), and a device that is taken away ([`Hba::detach`]).
//!
//! Left out so far, and not claimed in CAP: power states that devices propose (DIPM), the automatic
//! step from partial to slumber (CAP2.APST).
//!
//! Section numbers refer to *Serial ATA AHCI 1.3.1 Specification*.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod command;
mod hba;
mod memory;
mod port;
pub mod registers;

pub use hba::{ABAR_LEN_BYTES, Hba, HbaConfig, HotPlug, Interrupt, Leds};
pub use memory::{BusError, GuestMemory};
pub use port::pmp::{self, DevicePortStatus, PlugError, PortMultiplier};
pub use port::{
    Attachment, LinkFaultError, LinkPower, LinkState, PortCounters, PortStatus, ResetEvent,
    ResetKind,
};
