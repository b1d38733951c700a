//! A command as the HBA fetches it: header, command FIS and PRDT (4.2.2, 4.2.3), each read from
//! guest memory exactly once. Whatever the guest changes in them later has no effect.

use alloc::vec::Vec;

use freewheel_ata::LinkError;

use crate::memory::{BusError, GuestMemory};
use crate::registers::{COMMAND_HEADER_BYTES, PRD_BYTES, PRDT_OFFSET_BYTES};

/// PRDT entries read in one go.
const PRDT_CHUNK: usize = 64;
/// Capacity that an idle slot keeps, in PRDT entries; what a guest forced beyond is given back.
const KEPT_PRDT_ENTRIES: usize = 1024;

/// A fetched PRDT entry: where the bytes up to `end_bytes` of the command's data are.
#[derive(Clone, Copy, Debug)]
struct Segment {
    address: u64,
    /// Offset in the command's data at which this segment ends.
    end_bytes: u64,
    /// I: report when the segment's last byte has moved.
    interrupt: bool,
}

/// What has been fetched for one command slot. Reused to spare allocations.
#[derive(Debug)]
pub(crate) struct Command {
    header_address: u64,
    /// C in the header: clear BSY as soon as the FIS is sent.
    pub(crate) clear_busy: bool,
    /// PMP in the header: the port multiplier port.
    pub(crate) pm_port: u8,
    /// The command FIS.
    pub(crate) fis: [u8; 64],
    /// Length of the command FIS in bytes, as the header has it (CFL); not checked.
    pub(crate) fis_len_bytes: usize,
    /// The ATAPI command.
    pub(crate) acmd: [u8; 16],
    segments: Vec<Segment>,
    /// Bytes that have moved, for PRDBC.
    pub(crate) transferred_bytes: u32,
    /// The end of a PRDT entry with its I bit set has been reached (PxIS.DPS).
    pub(crate) descriptor_processed: bool,
}

impl Command {
    /// An idle slot.
    pub(crate) fn new() -> Self {
        Self {
            header_address: 0,
            clear_busy: false,
            pm_port: 0,
            fis: [0; 64],
            fis_len_bytes: 0,
            acmd: [0; 16],
            segments: Vec::new(),
            transferred_bytes: 0,
            descriptor_processed: false,
        }
    }

    /// Fetches command `slot` of the list at `list_address`.
    pub(crate) fn fetch(
        &mut self,
        list_address: u64,
        slot: u8,
        memory: &dyn GuestMemory,
    ) -> Result<(), BusError> {
        self.forget();
        self.transferred_bytes = 0;
        self.descriptor_processed = false;
        self.header_address = list_address.wrapping_add(u64::from(slot) * COMMAND_HEADER_BYTES);
        let mut header = [0; 16];
        memory.read(self.header_address, &mut header)?;
        let [flags, _prdbc, table_low, table_high] = dwords(&header);
        self.fis_len_bytes = (flags & 0x1f) as usize * 4;
        self.clear_busy = flags & 1 << 10 != 0;
        self.pm_port = (flags >> 12 & 0xf) as u8;
        let entry_count = (flags >> 16) as usize;
        let table = u64::from(table_high) << 32 | u64::from(table_low & !0x7f);
        self.fetch_table(table, entry_count, memory)
    }

    /// The command has ended: its scatter list is void, and memory beyond the usual is given back.
    pub(crate) fn forget(&mut self) {
        self.segments.clear();
        self.segments.shrink_to(KEPT_PRDT_ENTRIES);
    }

    fn fetch_table(
        &mut self,
        table: u64,
        entry_count: usize,
        memory: &dyn GuestMemory,
    ) -> Result<(), BusError> {
        let mut chunk = [0; PRDT_OFFSET_BYTES + PRDT_CHUNK * PRD_BYTES];
        let first_count = entry_count.min(PRDT_CHUNK);
        let first_len = PRDT_OFFSET_BYTES + first_count * PRD_BYTES;
        memory.read(table, &mut chunk[..first_len])?;
        self.fis.copy_from_slice(&chunk[..64]);
        self.acmd.copy_from_slice(&chunk[64..80]);
        self.append(&chunk[PRDT_OFFSET_BYTES..first_len]);
        let mut fetched = first_count;
        while fetched < entry_count {
            let count = (entry_count - fetched).min(PRDT_CHUNK);
            let address = table.wrapping_add((PRDT_OFFSET_BYTES + fetched * PRD_BYTES) as u64);
            let bytes = &mut chunk[..count * PRD_BYTES];
            memory.read(address, bytes)?;
            self.append(&chunk[..count * PRD_BYTES]);
            fetched += count;
        }
        Ok(())
    }

    fn append(&mut self, entries: &[u8]) {
        let mut end_bytes = self.data_len_bytes();
        for entry in entries.chunks_exact(PRD_BYTES) {
            let [low, high, _, count] = dwords(entry);
            // Bit 0 of both is fixed by the specification: even address, even length.
            let address = u64::from(high) << 32 | u64::from(low & !1);
            end_bytes += u64::from((count & 0x3f_ffff) | 1) + 1;
            let interrupt = count >> 31 != 0;
            self.segments.push(Segment { address, end_bytes, interrupt });
        }
    }

    /// Bytes that the PRDT has room for.
    pub(crate) fn data_len_bytes(&self) -> u64 {
        self.segments.last().map_or(0, |segment| segment.end_bytes)
    }

    /// Calls `access` with the address and the part of `0..len_bytes` for each stretch of guest
    /// memory behind `len_bytes` bytes of data at `offset_bytes`. Says whether the end of an entry
    /// with its I bit set was among them.
    fn walk(
        segments: &[Segment],
        offset_bytes: u64,
        len_bytes: usize,
        mut access: impl FnMut(u64, core::ops::Range<usize>) -> Result<(), BusError>,
    ) -> Result<bool, LinkError> {
        let end = offset_bytes.saturating_add(len_bytes as u64);
        if end > segments.last().map_or(0, |segment| segment.end_bytes) {
            return Err(LinkError::Overflow);
        }
        let mut at = offset_bytes;
        let mut processed = false;
        let mut index = segments.partition_point(|segment| segment.end_bytes <= at);
        while at < end {
            let segment = segments[index];
            let start = if index == 0 { 0 } else { segments[index - 1].end_bytes };
            let stop = segment.end_bytes.min(end);
            let part = (at - offset_bytes) as usize..(stop - offset_bytes) as usize;
            access(segment.address.wrapping_add(at - start), part)
                .map_err(|_| LinkError::HostBus)?;
            processed |= segment.interrupt && stop == segment.end_bytes;
            at = stop;
            index += 1;
        }
        Ok(processed)
    }

    /// Device to host.
    pub(crate) fn write_data(
        &mut self,
        offset_bytes: u64,
        data: &[u8],
        memory: &dyn GuestMemory,
    ) -> Result<(), LinkError> {
        let processed = Self::walk(&self.segments, offset_bytes, data.len(), |address, part| {
            memory.write(address, &data[part])
        })?;
        self.descriptor_processed |= processed;
        self.transferred_bytes = self.transferred_bytes.wrapping_add(data.len() as u32);
        Ok(())
    }

    /// Host to device.
    pub(crate) fn read_data(
        &mut self,
        offset_bytes: u64,
        data: &mut [u8],
        memory: &dyn GuestMemory,
    ) -> Result<(), LinkError> {
        let len_bytes = data.len();
        let processed = Self::walk(&self.segments, offset_bytes, len_bytes, |address, part| {
            memory.read(address, &mut data[part])
        })?;
        self.descriptor_processed |= processed;
        self.transferred_bytes = self.transferred_bytes.wrapping_add(len_bytes as u32);
        Ok(())
    }

    /// Writes PRDBC, the bytes transferred, into the header.
    pub(crate) fn write_prdbc(&self, memory: &dyn GuestMemory) -> Result<(), BusError> {
        let address = self.header_address.wrapping_add(4);
        memory.write(address, &self.transferred_bytes.to_le_bytes())
    }
}

fn dwords<const N: usize>(bytes: &[u8]) -> [u32; N] {
    core::array::from_fn(|index| {
        let at = index * 4;
        u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
    })
}
