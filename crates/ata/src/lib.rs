//! ATA devices: register FISes in, operations on the block engine out, register FISes back.
//!
//! A device here is what hangs on a SATA cable. It knows no controller: whoever drives it hands it
//! each command with [`Device::execute`] and gives it a [`Link`] to move data and send FISes
//! through. It never blocks: a command that needs the medium becomes a request to the
//! [`Engine`](freewheel_block::Engine), and its FISes follow from [`Device::poll`].
//!
//! [`Disk`] is an ATA disk, [`Drive`] an ATAPI drive for CD, DVD and BD images.
//!
//! Specifications: ACS-4 (ATA8 Command Set, T13/BSR INCITS 529) for commands, SATA 3.x for
//! FISes and native command queueing, MMC-6 and SPC-3 for packet commands.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod atapi;
mod device;
mod disk;
pub mod fis;

pub use atapi::{Drive, DriveConfig, InsertError, Locked, packet_command_name};
pub use device::{Device, Link, LinkError};
pub use disk::{
    CapacityControl, ConfigError, Disk, DiskConfig, Rotation, SAVED_STATE_MAX_BYTES,
    SavedStateError, command_name,
};
