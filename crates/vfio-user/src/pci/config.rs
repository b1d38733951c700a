//! The configuration space: 256 bytes, what a guest may change of them, and what they mean.

use super::PciIdentity;
use super::caps::{
    self, D3HOT, IDP_DATA, IDP_INDEX, MSI_ALLOCATED_SHIFT, MSI_CAPABLE_SHIFT, MSI_CONTROL,
    MSI_ENABLE, PMCSR, PMCSR_STATE,
};

/// Size of the configuration space.
pub const CONFIG_SIZE: usize = 256;

// Offsets in the header of type 0 (PCI 3.0 section 6.1).
const VENDOR: usize = 0x00;
const DEVICE: usize = 0x02;
const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const REVISION: usize = 0x08;
const CLASS: usize = 0x09;
const CACHE_LINE: usize = 0x0c;
const BAR5: usize = 0x24;
const SUBSYSTEM_VENDOR: usize = 0x2c;
const SUBSYSTEM: usize = 0x2e;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;

// Command register (PCI 3.0 section 6.2.2).
const COMMAND_MEMORY: u8 = 1 << 1;
const COMMAND_MASTER: u8 = 1 << 2;
const COMMAND_PARITY: u8 = 1 << 6;
/// In the register's upper byte: SERR# Enable and Interrupt Disable.
const COMMAND_SERR_HIGH: u8 = 1 << 0;
const COMMAND_INTX_DISABLE_HIGH: u8 = 1 << 2;

// Status register (PCI 3.0 section 6.2.3).
const STATUS_INTERRUPT: u8 = 1 << 3;
const STATUS_CAPABILITIES: u8 = 1 << 4;

/// Bytes, and which of their bits a guest may write.
#[derive(Debug, Clone)]
pub(super) struct Space {
    bytes: [u8; CONFIG_SIZE],
    writable: [u8; CONFIG_SIZE],
}

impl Space {
    pub(super) fn set_u8(&mut self, at: usize, value: u8) {
        self.bytes[at] = value;
    }

    pub(super) fn set_u16(&mut self, at: usize, value: u16) {
        self.bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Lets the guest write the bits of `mask`, byte by byte from `at`.
    pub(super) fn allow(&mut self, at: usize, mask: &[u8]) {
        self.writable[at..at + mask.len()].copy_from_slice(mask);
    }

    fn u32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.bytes[at..at + 4]);
        u32::from_le_bytes(bytes)
    }
}

/// Which ways an interrupt can take, as the guest has set them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct InterruptRoute {
    /// MSI Enable is set: interrupts are messages, and INTA is silent.
    pub msi_enabled: bool,
    /// Messages can be sent now: MSI is enabled, the bus may be mastered, the function is in D0.
    pub msi_open: bool,
    /// How many messages the guest has allocated; 0 without MSI.
    pub messages: u32,
    /// INTA can be asserted now: no MSI, Interrupt Disable is clear, the function is in D0.
    pub intx_open: bool,
}

/// An access to the Data register of the index-data pair, which is an access to BAR5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigData {
    /// The dword in BAR5.
    pub offset: u64,
}

/// The configuration space of the function.
#[derive(Debug, Clone)]
pub struct PciConfig {
    identity: PciIdentity,
    space: Space,
}

impl PciConfig {
    /// The configuration space after power-on. A BAR5 size that [`PciIdentity::validate`] refuses
    /// is rounded to one that it does not.
    #[must_use]
    pub fn new(identity: PciIdentity) -> Self {
        let bar5_size = identity.bar5_size.clamp(4096, 1 << 20).next_power_of_two();
        let messages = identity.messages.clamp(1, 32).next_power_of_two();
        let identity = PciIdentity { bar5_size, messages, ..identity };
        let mut space = Space { bytes: [0; CONFIG_SIZE], writable: [0; CONFIG_SIZE] };
        space.set_u16(VENDOR, identity.vendor);
        space.set_u16(DEVICE, identity.device);
        space.allow(
            COMMAND,
            &[
                COMMAND_MEMORY | COMMAND_MASTER | COMMAND_PARITY,
                COMMAND_SERR_HIGH | COMMAND_INTX_DISABLE_HIGH,
            ],
        );
        space.set_u8(STATUS, STATUS_CAPABILITIES);
        space.set_u8(REVISION, identity.revision);
        // Mass storage, SATA, AHCI 1.0 (AHCI 1.3.1 section 2.1.5).
        space.bytes[CLASS..CLASS + 3].copy_from_slice(&[0x01, 0x06, 0x01]);
        space.allow(CACHE_LINE, &[0xff]);
        // ABAR (AHCI 1.3.1 section 2.1.11): 32-bit memory, not prefetchable. The bits below its
        // size stay zero, which is how a guest finds the size.
        space.allow(BAR5, &(!(bar5_size - 1)).to_le_bytes());
        space.set_u16(SUBSYSTEM_VENDOR, identity.subsystem_vendor);
        space.set_u16(SUBSYSTEM, identity.subsystem);
        space.allow(INTERRUPT_LINE, &[0xff]);
        space.set_u8(INTERRUPT_PIN, 1);
        caps::install(&mut space, &identity);
        Self { identity, space }
    }

    /// What the function presents itself as.
    #[must_use]
    pub fn identity(&self) -> &PciIdentity {
        &self.identity
    }

    /// Back to the state after power-on.
    pub fn reset(&mut self) {
        *self = Self::new(self.identity);
    }

    /// Reads bytes. Those beyond the space read as all ones.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let at = offset.saturating_add(i);
            *byte = self.space.bytes.get(at).copied().unwrap_or(0xff);
        }
    }

    /// Writes bytes, as far as they are writable; the rest is dropped.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        for (i, &value) in data.iter().enumerate() {
            self.write_byte(offset.saturating_add(i), value);
        }
    }

    fn write_byte(&mut self, at: usize, value: u8) {
        let Some(&mask) = self.space.writable.get(at) else {
            return;
        };
        // A state that is not supported (D1, D2) is dropped (PM 1.2 section 3.2.4).
        if at == PMCSR && !matches!(value & PMCSR_STATE, 0 | D3HOT) {
            return;
        }
        let byte = &mut self.space.bytes[at];
        *byte = (*byte & !mask) | (value & mask);
    }

    /// Shows the state of the interrupt line in the status register (PCI 3.0 section 6.2.3), where
    /// neither Interrupt Disable nor MSI hides it.
    pub fn set_interrupt_status(&mut self, asserted: bool) {
        let status = &mut self.space.bytes[STATUS];
        *status = (*status & !STATUS_INTERRUPT) | if asserted { STATUS_INTERRUPT } else { 0 };
    }

    /// Whether the function is in D0 rather than D3hot.
    #[must_use]
    pub fn in_d0(&self) -> bool {
        self.space.bytes[PMCSR] & PMCSR_STATE == 0
    }

    /// Whether BAR5 answers: Memory Space Enable is set and the function is in D0.
    #[must_use]
    pub fn memory_open(&self) -> bool {
        self.in_d0() && self.space.bytes[COMMAND] & COMMAND_MEMORY != 0
    }

    /// Whether the function may master the bus: Bus Master Enable is set and it is in D0.
    #[must_use]
    pub fn bus_master(&self) -> bool {
        self.in_d0() && self.space.bytes[COMMAND] & COMMAND_MASTER != 0
    }

    /// Which ways an interrupt can take.
    #[must_use]
    pub fn interrupt_route(&self) -> InterruptRoute {
        let control = self.space.bytes[MSI_CONTROL];
        let msi_enabled = control & MSI_ENABLE != 0;
        // A guest that allocates more than were asked for has broken the rules; it gets those.
        let (capable, allocated) =
            (control >> MSI_CAPABLE_SHIFT & 7, control >> MSI_ALLOCATED_SHIFT & 7);
        let messages = if msi_enabled { 1 << allocated.min(capable) } else { 0 };
        let intx_disabled = self.space.bytes[COMMAND + 1] & COMMAND_INTX_DISABLE_HIGH != 0;
        InterruptRoute {
            msi_enabled,
            msi_open: msi_enabled && self.bus_master(),
            messages,
            intx_open: !msi_enabled && !intx_disabled && self.in_d0(),
        }
    }

    /// Whether an access to configuration space is one to BAR5, through the Data register of the
    /// SATA capability's index-data pair. Only dword accesses count (AHCI 1.3.1 section 10.14).
    #[must_use]
    pub fn data_access(&self, offset: u64, len: usize) -> Option<ConfigData> {
        let hit = offset == IDP_DATA as u64 && len == 4 && self.in_d0();
        hit.then(|| ConfigData { offset: self.space.u32(IDP_INDEX).into() })
    }
}
