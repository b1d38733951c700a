//! READ and WRITE in their DMA and PIO forms (ACS-4, READ and WRITE commands), and what they
//! share with others: where a command says what to transfer, and the FISes of PIO.

use freewheel_block::Request;

use super::command::{Addressing, Call, Fault, Protocol, Reply};
use super::settings::Geometry;
use super::{Disk, READY, Work};
use crate::Link;
use crate::fis::{DeviceFis, Error, Status};

/// A DRQ block is one Data FIS, and that has 2048 double words (SATA 3.x, Data FIS).
pub(crate) const DRQ_BLOCK_MAX_BYTES: u32 = 8192;

/// Device register: addresses are LBAs. Otherwise (28-bit commands only) cylinder, head, sector.
const DEVICE_LBA: u8 = 0x40;

/// A number of sectors at an LBA, as the host sent it: nothing is checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// First sector.
    pub(crate) lba: u64,
    /// Sectors; never 0.
    pub(crate) count: u64,
}

impl Extent {
    /// What an unqueued command is about. Count 0 means the whole range of the register.
    pub(crate) fn of(call: &Call, geometry: Geometry) -> Result<Extent, Fault> {
        let count = match call.row.addressing {
            Addressing::Bits28 => u64::from((call.fis.count as u8).wrapping_sub(1)) + 1,
            Addressing::Bits48 => full_count(call.fis.count),
        };
        Ok(Extent { lba: lba_of(call, geometry)?, count })
    }
}

/// A 16-bit count, of which 0 means 65,536.
pub(crate) fn full_count(count: u16) -> u64 {
    u64::from(count.wrapping_sub(1)) + 1
}

/// The LBA in a command's registers. IDNF for a CHS address outside the translation; its LBA is
/// not to be had.
pub(crate) fn lba_of(call: &Call, geometry: Geometry) -> Result<u64, Fault> {
    let fis = &call.fis;
    match call.row.addressing {
        Addressing::Bits48 => Ok(fis.lba),
        Addressing::Bits28 => {
            let low = fis.lba & 0xff_ffff;
            let high = u64::from(fis.device & 0x0f);
            if fis.device & DEVICE_LBA != 0 {
                return Ok(high << 24 | low);
            }
            let (sector, cylinder, head) = (low & 0xff, low >> 8, high);
            let sectors_per_track = u64::from(geometry.sectors_per_track);
            let is_there = (1..=sectors_per_track).contains(&sector)
                && head < u64::from(geometry.heads)
                && cylinder < u64::from(geometry.cylinders);
            if !is_there {
                return Err(Fault { status: Status::ERR, error: Error::IDNF, lba: None });
            }
            let track = cylinder * u64::from(geometry.heads) + head;
            Ok(track * sectors_per_track + sector - 1)
        }
    }
}

/// The LBA and device registers that a command ends with: `failed_lba`, put as the command put its
/// own, or else what the command had.
pub(crate) fn registers_of_lba(
    call: &Call,
    failed_lba: Option<u64>,
    geometry: Geometry,
) -> (u64, u8) {
    let device = call.fis.device;
    match (call.row.addressing, failed_lba) {
        (Addressing::Bits48, lba) => (lba.unwrap_or(call.fis.lba) & 0xffff_ffff_ffff, device),
        (Addressing::Bits28, None) => (call.fis.lba & 0xff_ffff, device),
        (Addressing::Bits28, Some(lba)) => {
            let (low, high) = if device & DEVICE_LBA != 0 {
                (lba, lba >> 24)
            } else {
                // The geometry never has a zero in it.
                let sectors_per_track = u64::from(geometry.sectors_per_track).max(1);
                let heads = u64::from(geometry.heads).max(1);
                let track = lba / sectors_per_track;
                ((track / heads) << 8 | (lba % sectors_per_track + 1), track % heads)
            };
            (low & 0xff_ffff, device & 0xf0 | (high & 0x0f) as u8)
        }
    }
}

/// READ SECTOR(S), READ MULTIPLE, READ DMA and their EXT forms.
pub(crate) fn read(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    match disk.plan(call) {
        Ok((range, block_bytes)) => {
            let request = Request::read(u32::from(call.slot), range);
            disk.start(call, Work::Read { block_bytes }, range.len_bytes, request, link)
        }
        Err(fault) => fault.into(),
    }
}

/// WRITE SECTOR(S), WRITE MULTIPLE, WRITE DMA and their EXT forms.
pub(crate) fn write(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    write_with(disk, call, false, link)
}

/// WRITE DMA FUA EXT, WRITE MULTIPLE FUA EXT: durable once it ends, whatever the write cache.
pub(crate) fn write_fua(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    write_with(disk, call, true, link)
}

fn write_with(disk: &mut Disk, call: &Call, fua: bool, link: &mut dyn Link) -> Reply {
    if disk.shape.read_only {
        return Reply::Fail(Fault::ABORT);
    }
    match disk.plan(call) {
        Ok((range, block_bytes)) => {
            if call.row.protocol != Protocol::Dma {
                disk.pio_from_host_first(call, block_bytes, range.len_bytes, link);
            }
            let request = Request::write(u32::from(call.slot), range, fua);
            disk.start(call, Work::Write { block_bytes }, range.len_bytes, request, link)
        }
        Err(fault) => fault.into(),
    }
}

impl Disk {
    /// Where a transfer goes and how large its DRQ blocks are.
    fn plan(&self, call: &Call) -> Result<(freewheel_block::ByteRange, u32), Fault> {
        let sectors_per_block = match call.row.protocol {
            // The MULTIPLE commands are disabled (SET MULTIPLE MODE with 0).
            Protocol::PioMultiple if self.settings.multiple == 0 => return Err(Fault::ABORT),
            Protocol::PioMultiple => u32::from(self.settings.multiple),
            _ => 1,
        };
        let range = self.bytes_of(Extent::of(call, self.settings.geometry)?)?;
        Ok((range, sectors_per_block * self.shape.sector_bytes))
    }

    /// The PIO Setup FISes of data that went to the host, each with an interrupt; the last one
    /// ends the command (SATA 3.x, PIO data-in protocol).
    pub(crate) fn pio_to_host(
        &self,
        call: &Call,
        block_bytes: u32,
        len_bytes: u64,
        link: &mut dyn Link,
    ) {
        let first = len_bytes.min(u64::from(block_bytes));
        if first < len_bytes {
            self.pio_setup(call, true, first, READY | Status::BSY, true, link);
        }
        if len_bytes > 0 {
            let last = last_block_bytes(len_bytes, block_bytes);
            self.pio_setup(call, true, last, READY, true, link);
        }
    }

    /// The PIO Setup FIS that asks the host for the first block. It raises no interrupt, since the
    /// host waits for it (SATA 3.x, PIO data-out protocol).
    pub(crate) fn pio_from_host_first(
        &self,
        call: &Call,
        block_bytes: u32,
        len_bytes: u64,
        link: &mut dyn Link,
    ) {
        let first = len_bytes.min(u64::from(block_bytes));
        self.pio_setup(call, false, first, READY | Status::BSY, false, link);
    }

    /// That of the last block, if there is more than one, once the data is where it should be.
    pub(crate) fn pio_from_host_rest(
        &self,
        call: &Call,
        block_bytes: u32,
        len_bytes: u64,
        link: &mut dyn Link,
    ) {
        if len_bytes > u64::from(block_bytes) {
            let last = last_block_bytes(len_bytes, block_bytes);
            self.pio_setup(call, false, last, READY | Status::BSY, true, link);
        }
    }

    fn pio_setup(
        &self,
        call: &Call,
        to_host: bool,
        block_bytes: u64,
        ending_status: Status,
        interrupt: bool,
        link: &mut dyn Link,
    ) {
        let registers = self.registers(call, READY | Status::DRQ, Error::empty(), None);
        link.fis(
            Some(call.slot),
            DeviceFis::PioSetup {
                interrupt,
                to_host,
                registers,
                ending_status,
                transfer_count_bytes: block_bytes as u16,
            },
        );
    }
}

/// The DRQ block that ends a transfer. All data has moved at once, so the blocks between the first and
/// the last are not announced: they would only overwrite each other's FIS, 65,536 times in one go if
/// the host wants it so.
fn last_block_bytes(len_bytes: u64, block_bytes: u32) -> u64 {
    match len_bytes % u64::from(block_bytes.max(1)) {
        0 => u64::from(block_bytes).min(len_bytes),
        rest => rest,
    }
}
