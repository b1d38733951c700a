//! Where a driver puts its structures in guest memory.

use std::ops::Range;

use freewheel_ahci::registers::COMMAND_HEADER_BYTES;

/// Guest memory that one port's driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    base: u64,
}

impl Layout {
    /// Bytes of guest memory that each port has to itself.
    pub const PORT_BYTES: u64 = 16 << 20;
    /// Room for data that each slot has in each bank, in bytes.
    pub const DATA_BYTES: u64 = 64 << 10;
    /// PRDT entries that a slot's command table has room for.
    pub const PRDT_ENTRIES: usize = 248;
    /// Bytes from one command table to the next.
    const TABLE_STRIDE: u64 = 4096;

    /// The layout of `port`; the first MiB of memory stays unused.
    pub fn of_port(port: usize) -> Self {
        Self { base: (1 << 20) + port as u64 * Self::PORT_BYTES }
    }

    /// Bytes of guest memory that `ports` ports need.
    pub fn memory_bytes(ports: usize) -> usize {
        Self::of_port(ports).base as usize
    }

    /// The command list.
    pub fn list(&self) -> u64 {
        self.base
    }

    /// The header of `slot`.
    pub fn header(&self, slot: u8) -> u64 {
        self.list() + u64::from(slot) * COMMAND_HEADER_BYTES
    }

    /// The received-FIS area.
    pub fn fis_area(&self) -> u64 {
        self.base + 0x400
    }

    /// The received-FIS area with FIS-based switching: 256 bytes for each PM port.
    pub fn switched_fis_area(&self) -> u64 {
        self.base + 0x1000
    }

    /// The command table of `slot`.
    pub fn table(&self, slot: u8) -> u64 {
        self.base + 0x1_0000 + u64::from(slot) * Self::TABLE_STRIDE
    }

    /// The data of `slot`, in one of two banks.
    pub fn data(&self, bank: usize, slot: u8) -> u64 {
        self.bank(bank).start + u64::from(slot) * Self::DATA_BYTES
    }

    /// The data of all slots in one of two banks.
    pub fn bank(&self, bank: usize) -> Range<u64> {
        let start = self.base + (1 << 20) + (bank as u64 % 2) * 32 * Self::DATA_BYTES;
        start..start + 32 * Self::DATA_BYTES
    }

    /// Eight MiB that the driver itself never uses.
    pub fn scratch(&self) -> Range<u64> {
        self.base + (8 << 20)..self.base + (16 << 20)
    }
}
