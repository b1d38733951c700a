//! The PCI function: its identity and its configuration space. Pure.
//!
//! Specifications: *PCI Local Bus Specification* 3.0 for the header and MSI, *PCI Bus Power
//! Management Interface Specification* 1.2, and AHCI 1.3.1 section 2 for what an HBA's
//! configuration space holds.
//!
//! Left out: MSI-X, PCI Express capabilities (an integrated AHCI controller of the ICH family has
//! none), power management events, and an option ROM.

mod caps;
mod config;

pub use caps::{MSI_OFFSET, PM_OFFSET, SATA_OFFSET};
pub use config::{CONFIG_SIZE, ConfigData, InterruptRoute, PciConfig};

/// Why an identity cannot be presented to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// BAR5 has a size that is no power of two, or outside 4 KiB to 1 MiB.
    #[error("BAR5 of {0} bytes: must be a power of two from 4 KiB to 1 MiB")]
    BarSize(u32),
}

/// What the guest sees of the function before any driver is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciIdentity {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Subsystem vendor ID.
    pub subsystem_vendor: u16,
    /// Subsystem ID.
    pub subsystem: u16,
    /// Revision ID.
    pub revision: u8,
    /// Size of BAR5 in bytes: a power of two, at least 4096.
    pub bar5_size: u32,
    /// How many interrupt messages the function asks for, a power of two up to 32; others are
    /// rounded to one.
    pub messages: u32,
}

impl PciIdentity {
    /// The size of BAR5 for an HBA of so many ports: 0x100 bytes of generic host control and 0x80
    /// for each port (AHCI 1.3.1 section 3), rounded up.
    #[must_use]
    pub fn bar5_size_for(ports: u32) -> u32 {
        (0x100 + ports.min(32) * 0x80).next_power_of_two().max(4096)
    }

    /// Checks that a guest can size BAR5.
    pub fn validate(&self) -> Result<(), IdentityError> {
        if self.bar5_size.is_power_of_two() && (4096..=1 << 20).contains(&self.bar5_size) {
            Ok(())
        } else {
            Err(IdentityError::BarSize(self.bar5_size))
        }
    }
}

impl Default for PciIdentity {
    /// An Intel ICH9 in AHCI mode, which every operating system's AHCI driver binds to by class
    /// and by ID, with no quirks that matter here.
    fn default() -> Self {
        Self {
            vendor: 0x8086,
            device: 0x2922,
            subsystem_vendor: 0x8086,
            subsystem: 0x2922,
            revision: 2,
            bar5_size: 4096,
            messages: 1,
        }
    }
}

#[cfg(test)]
mod tests;
