//! The command table: which opcodes there are, how each moves data, where its LBA stands.

use alloc::vec::Vec;

use freewheel_block::Nanos;

use super::{
    Disk, absent, buffer, diagnostic, features, flush, identify, log, multiple, ncq_dsm,
    ncq_nondata, power, queued, smart, transfer,
};
use super::{protected_area, sanitize, security, trim, uncorrectable, verify, zero};
use crate::Link;
use crate::fis::{Error, RegisterH2D, Status};

/// How a command talks to its host (ACS-4, command protocols; SATA 3.x, device command layer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// No data; ends by a D2H FIS.
    NonData,
    /// Data in DRQ blocks; to the host they end by the last PIO Setup FIS, from it by a D2H FIS.
    Pio,
    /// The same with DRQ blocks of as many sectors as SET MULTIPLE MODE says.
    PioMultiple,
    /// DMA; ends by a D2H FIS.
    Dma,
    /// First-party DMA; accepted by a D2H FIS, ends by a Set Device Bits FIS.
    Queued,
}

/// Where a command has its LBA and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addressing {
    /// 28 bits, the upper four of them in the device register; an 8-bit count. CHS, if the device
    /// register says so.
    Bits28,
    /// 48 bits and a 16-bit count.
    Bits48,
}

/// One row of the table.
pub(crate) struct Row {
    /// Value of the command register.
    pub(crate) opcode: u8,
    /// Name in ACS-4 (or in the last standard that had the command).
    pub(crate) name: &'static str,
    /// How it moves data.
    pub(crate) protocol: Protocol,
    /// Where its LBA is.
    pub(crate) addressing: Addressing,
    /// What it does.
    pub(crate) run: fn(&mut Disk, &Call, &mut dyn Link) -> Reply,
}

/// One command on its way.
#[derive(Clone, Copy)]
pub(crate) struct Call {
    /// Its slot, below 32.
    pub(crate) slot: u8,
    /// What the host sent.
    pub(crate) fis: RegisterH2D,
    /// Its row.
    pub(crate) row: &'static Row,
    /// When it came.
    pub(crate) now: Nanos,
}

/// How a command fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Bits of the status register, ERR among them.
    pub(crate) status: Status,
    /// The error register.
    pub(crate) error: Error,
    /// The first LBA that the error is about, where there is one.
    pub(crate) lba: Option<u64>,
}

impl Fault {
    /// Command aborted.
    pub(crate) const ABORT: Fault = Fault { status: Status::ERR, error: Error::ABRT, lba: None };

    /// Data was damaged on the link (ACS-4, Interface CRC bit; such a command is aborted too).
    pub(crate) const INTERFACE_CRC: Fault =
        Fault { status: Status::ERR, error: Error::ICRC.union(Error::ABRT), lba: None };

    /// There is no such LBA.
    pub(crate) fn not_found(lba: u64) -> Fault {
        Fault { status: Status::ERR, error: Error::IDNF, lba: Some(lba) }
    }
}

/// What a handler says of its command.
pub(crate) enum Reply {
    /// Done; ends well.
    Good,
    /// The same, with an answer in the count register.
    GoodCount(u16),
    /// The same, with an answer in the LBA registers, as the command has its own, and in count.
    GoodLba {
        /// The LBA registers.
        lba: u64,
        /// The count register.
        count: u16,
    },
    /// The same, with an answer in LBA 23:0 that is no address.
    GoodKey(u64),
    /// Done; ends with the signature.
    Signature,
    /// Done but for this data (whole blocks of 512 bytes), which goes to the host.
    Data(Vec<u8>),
    /// Runs on: an operation of the engine, or silence until a reset.
    Pending,
    /// Ends with an error.
    Fail(Fault),
}

impl From<Fault> for Reply {
    fn from(fault: Fault) -> Self {
        Reply::Fail(fault)
    }
}

const fn row(
    opcode: u8,
    name: &'static str,
    protocol: Protocol,
    addressing: Addressing,
    run: fn(&mut Disk, &Call, &mut dyn Link) -> Reply,
) -> Row {
    Row { opcode, name, protocol, addressing, run }
}

use Addressing::{Bits28, Bits48};
use Protocol::{Dma, NonData, Pio, PioMultiple, Queued};

/// Every command that is not simply aborted.
#[rustfmt::skip]
const ROWS: &[Row] = &[
    row(0x00, "NOP", NonData, Bits28, absent::nop),
    row(0x06, "DATA SET MANAGEMENT", Dma, Bits48, trim::data_set_management),
    row(0x10, "RECALIBRATE", NonData, Bits28, verify::recalibrate),
    row(0x20, "READ SECTOR(S)", Pio, Bits28, transfer::read),
    row(0x21, "READ SECTOR(S) (without retry)", Pio, Bits28, transfer::read),
    row(0x24, "READ SECTOR(S) EXT", Pio, Bits48, transfer::read),
    row(0x25, "READ DMA EXT", Dma, Bits48, transfer::read),
    row(0x27, "READ NATIVE MAX ADDRESS EXT", NonData, Bits48, protected_area::read_native_max),
    row(0x29, "READ MULTIPLE EXT", PioMultiple, Bits48, transfer::read),
    row(0x2f, "READ LOG EXT", Pio, Bits48, log::read_log),
    row(0x30, "WRITE SECTOR(S)", Pio, Bits28, transfer::write),
    row(0x31, "WRITE SECTOR(S) (without retry)", Pio, Bits28, transfer::write),
    row(0x34, "WRITE SECTOR(S) EXT", Pio, Bits48, transfer::write),
    row(0x35, "WRITE DMA EXT", Dma, Bits48, transfer::write),
    row(0x37, "SET MAX ADDRESS EXT", NonData, Bits48, protected_area::set_max_ext),
    row(0x39, "WRITE MULTIPLE EXT", PioMultiple, Bits48, transfer::write),
    row(0x3c, "WRITE VERIFY", Pio, Bits28, verify::write_verify),
    row(0x3d, "WRITE DMA FUA EXT", Dma, Bits48, transfer::write_fua),
    row(0x3f, "WRITE LOG EXT", Pio, Bits48, log::write_log),
    row(0x40, "READ VERIFY SECTOR(S)", NonData, Bits28, verify::read_verify),
    row(0x41, "READ VERIFY SECTOR(S) (without retry)", NonData, Bits28, verify::read_verify),
    row(0x42, "READ VERIFY SECTOR(S) EXT", NonData, Bits48, verify::read_verify),
    row(0x44, "ZERO EXT", NonData, Bits48, zero::zero_ext),
    row(0x45, "WRITE UNCORRECTABLE EXT", NonData, Bits48, uncorrectable::write_uncorrectable),
    row(0x47, "READ LOG DMA EXT", Dma, Bits48, log::read_log),
    row(0x57, "WRITE LOG DMA EXT", Dma, Bits48, log::write_log),
    row(0x60, "READ FPDMA QUEUED", Queued, Bits48, queued::read),
    row(0x61, "WRITE FPDMA QUEUED", Queued, Bits48, queued::write),
    row(0x63, "NCQ NON-DATA", Queued, Bits48, ncq_nondata::non_data),
    row(0x64, "SEND FPDMA QUEUED", Queued, Bits48, ncq_dsm::send),
    row(0x65, "RECEIVE FPDMA QUEUED", Queued, Bits48, ncq_dsm::receive),
    row(0x70, "SEEK", NonData, Bits28, verify::seek),
    row(0x78, "ACCESSIBLE MAX ADDRESS CONFIGURATION", NonData, Bits48, protected_area::accessible_max_address),
    row(0x90, "EXECUTE DEVICE DIAGNOSTIC", NonData, Bits28, diagnostic::execute_device_diagnostic),
    row(0x91, "INITIALIZE DEVICE PARAMETERS", NonData, Bits28, diagnostic::initialize_device_parameters),
    row(0xb0, "SMART", Pio, Bits28, smart::smart),
    row(0xb4, "SANITIZE DEVICE", NonData, Bits48, sanitize::sanitize_device),
    row(0x94, "STANDBY IMMEDIATE (ATA-1)", NonData, Bits28, power::standby_immediate),
    row(0x95, "IDLE IMMEDIATE (ATA-1)", NonData, Bits28, power::idle_immediate),
    row(0x96, "STANDBY (ATA-1)", NonData, Bits28, power::standby),
    row(0x97, "IDLE (ATA-1)", NonData, Bits28, power::idle),
    row(0x98, "CHECK POWER MODE (ATA-1)", NonData, Bits28, power::check_power_mode),
    row(0x99, "SLEEP (ATA-1)", NonData, Bits28, power::sleep),
    row(0xc4, "READ MULTIPLE", PioMultiple, Bits28, transfer::read),
    row(0xc5, "WRITE MULTIPLE", PioMultiple, Bits28, transfer::write),
    row(0xc6, "SET MULTIPLE MODE", NonData, Bits28, multiple::set_multiple_mode),
    row(0xc8, "READ DMA", Dma, Bits28, transfer::read),
    row(0xc9, "READ DMA (without retry)", Dma, Bits28, transfer::read),
    row(0xca, "WRITE DMA", Dma, Bits28, transfer::write),
    row(0xcb, "WRITE DMA (without retry)", Dma, Bits28, transfer::write),
    row(0xce, "WRITE MULTIPLE FUA EXT", PioMultiple, Bits48, transfer::write_fua),
    row(0xe0, "STANDBY IMMEDIATE", NonData, Bits28, power::standby_immediate),
    row(0xe1, "IDLE IMMEDIATE", NonData, Bits28, power::idle_immediate),
    row(0xe2, "STANDBY", NonData, Bits28, power::standby),
    row(0xe3, "IDLE", NonData, Bits28, power::idle),
    row(0xe4, "READ BUFFER", Pio, Bits28, buffer::read_buffer),
    row(0xe5, "CHECK POWER MODE", NonData, Bits28, power::check_power_mode),
    row(0xe6, "SLEEP", NonData, Bits28, power::sleep),
    row(0xe7, "FLUSH CACHE", NonData, Bits28, flush::flush_cache),
    row(0xe8, "WRITE BUFFER", Pio, Bits28, buffer::write_buffer),
    row(0xe9, "READ BUFFER DMA", Dma, Bits28, buffer::read_buffer),
    row(0xea, "FLUSH CACHE EXT", NonData, Bits48, flush::flush_cache),
    row(0xeb, "WRITE BUFFER DMA", Dma, Bits28, buffer::write_buffer),
    row(0xec, "IDENTIFY DEVICE", Pio, Bits28, identify::identify_device),
    row(0xef, "SET FEATURES", NonData, Bits28, features::set_features),
    row(0xf1, "SECURITY SET PASSWORD", Pio, Bits28, security::set_password),
    row(0xf2, "SECURITY UNLOCK", Pio, Bits28, security::unlock),
    row(0xf3, "SECURITY ERASE PREPARE", NonData, Bits28, security::erase_prepare),
    row(0xf4, "SECURITY ERASE UNIT", Pio, Bits28, security::erase_unit),
    row(0xf5, "SECURITY FREEZE LOCK", NonData, Bits28, security::freeze_lock),
    row(0xf6, "SECURITY DISABLE PASSWORD", Pio, Bits28, security::disable_password),
    row(0xf8, "READ NATIVE MAX ADDRESS", NonData, Bits28, protected_area::read_native_max),
    row(0xf9, "SET MAX ADDRESS", NonData, Bits28, protected_area::set_max),
];

/// The table at one address, for references that last.
static TABLE: &[Row] = ROWS;

/// No row.
const NONE: u8 = u8::MAX;

/// Opcode to row, so that a lookup costs the same for all.
static INDEX: [u8; 256] = {
    let mut index = [NONE; 256];
    let mut at = 0;
    while at < ROWS.len() {
        let opcode = ROWS[at].opcode as usize;
        assert!(index[opcode] == NONE, "one row for an opcode");
        index[opcode] = at as u8;
        at += 1;
    }
    index
};

/// The row of a command register value; `None` if the command is aborted.
pub(crate) fn lookup(opcode: u8) -> Option<&'static Row> {
    TABLE.get(usize::from(INDEX[usize::from(opcode)]))
}

/// The name of an ATA command that a disk supports, as ACS-4 spells it.
pub fn command_name(opcode: u8) -> Option<&'static str> {
    lookup(opcode).map(|row| row.name)
}
