//! The capability list: MSI, power management, SATA, at the places where an ICH9 has them.

use super::PciIdentity;
use super::config::Space;

/// Where the MSI capability begins.
pub const MSI_OFFSET: usize = 0x80;
/// Where the power management capability begins.
pub const PM_OFFSET: usize = 0x70;
/// Where the SATA capability begins.
pub const SATA_OFFSET: usize = 0xa8;

/// MSI message control (PCI 3.0 section 6.8.1.3).
pub(super) const MSI_CONTROL: usize = MSI_OFFSET + 2;
/// MSI Enable, in the low byte of message control.
pub(super) const MSI_ENABLE: u8 = 1;
/// Where Multiple Message Capable and Multiple Message Enable stand in it: logarithms.
pub(super) const MSI_CAPABLE_SHIFT: u8 = 1;
pub(super) const MSI_ALLOCATED_SHIFT: u8 = 4;
/// Power management control and status (PM 1.2 section 3.2.4).
pub(super) const PMCSR: usize = PM_OFFSET + 4;
/// The power state in PMCSR.
pub(super) const PMCSR_STATE: u8 = 3;
/// D3hot in PMCSR.
pub(super) const D3HOT: u8 = 3;
/// Index register of the SATA capability's index-data pair (AHCI 1.3.1 section 10.14).
pub(super) const IDP_INDEX: usize = SATA_OFFSET + 8;
/// Data register of the index-data pair.
pub(super) const IDP_DATA: usize = SATA_OFFSET + 12;

const CAP_ID_PM: u8 = 0x01;
const CAP_ID_MSI: u8 = 0x05;
const CAP_ID_SATA: u8 = 0x12;

/// Writes the list into a space, and the pointer to it.
pub(super) fn install(space: &mut Space, identity: &PciIdentity) {
    space.set_u8(0x34, MSI_OFFSET as u8);
    msi(space, PM_OFFSET as u8, identity.messages);
    power_management(space, SATA_OFFSET as u8);
    sata(space, identity.bar5_size);
}

/// MSI with 64-bit addresses (PCI 3.0 section 6.8.1). No masking per vector: message control bit 8
/// is zero.
fn msi(space: &mut Space, next: u8, messages: u32) {
    space.set_u8(MSI_OFFSET, CAP_ID_MSI);
    space.set_u8(MSI_OFFSET + 1, next);
    let capable = messages.trailing_zeros() as u16;
    space.set_u16(MSI_CONTROL, 1 << 7 | capable << MSI_CAPABLE_SHIFT);
    let allocated = if capable > 0 { 7 << MSI_ALLOCATED_SHIFT } else { 0 };
    space.allow(MSI_CONTROL, &[MSI_ENABLE | allocated]);
    // Message address: dword aligned; upper address; data.
    space.allow(MSI_OFFSET + 4, &[0xfc, 0xff, 0xff, 0xff]);
    space.allow(MSI_OFFSET + 8, &[0xff; 4]);
    space.allow(MSI_OFFSET + 12, &[0xff; 2]);
}

/// Power management (PM 1.2 section 3.2): version 3, D0 and D3hot only, no PME.
///
/// No_Soft_Reset (PMCSR bit 3) is set: the function keeps all its state in D3hot, so the way back
/// to D0 resets nothing. While in D3hot it answers to no memory access, masters no bus and signals
/// no interrupt.
fn power_management(space: &mut Space, next: u8) {
    space.set_u8(PM_OFFSET, CAP_ID_PM);
    space.set_u8(PM_OFFSET + 1, next);
    space.set_u16(PM_OFFSET + 2, 3);
    space.set_u8(PMCSR, 1 << 3);
    space.allow(PMCSR, &[PMCSR_STATE]);
}

/// Serial ATA capability (AHCI 1.3.1 section 2.4), revision 1.0.
///
/// BARLOC is 1111b: the index-data pair lies in configuration space, right after SATACR1, so that
/// software that cannot reach BAR5 (a real-mode option ROM) can still reach the registers.
fn sata(space: &mut Space, bar5_size: u32) {
    space.set_u8(SATA_OFFSET, CAP_ID_SATA);
    space.set_u8(SATA_OFFSET + 2, 0x10);
    space.set_u8(SATA_OFFSET + 4, 0xf);
    // The index holds any dword-aligned offset in BAR5; Data is no memory of its own.
    space.allow(IDP_INDEX, &((bar5_size - 1) & !3).to_le_bytes());
}
