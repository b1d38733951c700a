//! Commands as a driver builds them: the FIS, the header's flags, and where the data is.

use freewheel_ata::fis::RegisterH2D;

/// Device register: addresses are LBAs.
const LBA_MODE: u8 = 0x40;
/// Device register of queued commands: force unit access.
const FUA: u8 = 0x80;

/// Which way data moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// There is none.
    None,
    /// Guest to device.
    ToDevice,
    /// Device to guest.
    FromDevice,
}

/// A stretch of guest memory in a PRDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrdtEntry {
    /// Where it is.
    pub address: u64,
    /// Its length in bytes; even, at most 4 MiB.
    pub len_bytes: u32,
}

/// A command for a slot. The fields can be bent at will, to build what no honest driver sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The command FIS.
    pub fis: RegisterH2D,
    /// Type byte of the FIS.
    pub fis_type: u8,
    /// Length of the FIS in dwords (CFL).
    pub fis_dwords: u8,
    /// Which way data moves.
    pub direction: Direction,
    /// How much.
    pub data_bytes: u64,
    /// It is a queued command: its bit goes to PxSACT too.
    pub queued: bool,
    /// R in the header: the FIS is part of a software reset.
    pub reset: bool,
    /// C in the header: clear BSY once the FIS is sent.
    pub clear_busy: bool,
    /// PMP in the header: the port multiplier port. The FIS has a field of its own for it.
    pub pm_port: u8,
    /// The scatter list; `None` for the slot's own buffer in one piece.
    pub prdt: Option<Vec<PrdtEntry>>,
    /// The packet of a PACKET command (ACMD); A in the header says that there is one.
    pub packet: Option<[u8; 12]>,
    /// Where the command table is; `None` for the slot's own.
    pub table: Option<u64>,
}

impl Command {
    /// A command without data.
    pub fn without_data(opcode: u8) -> Self {
        let fis = RegisterH2D {
            is_command: true,
            command: opcode,
            device: LBA_MODE,
            ..RegisterH2D::default()
        };
        Self {
            fis,
            fis_type: freewheel_ata::fis::TYPE_REGISTER_H2D,
            fis_dwords: 5,
            direction: Direction::None,
            data_bytes: 0,
            queued: false,
            reset: false,
            clear_busy: false,
            pm_port: 0,
            prdt: None,
            packet: None,
            table: None,
        }
    }

    fn with_data(opcode: u8, direction: Direction, data_bytes: u64) -> Self {
        Self { direction, data_bytes, ..Self::without_data(opcode) }
    }

    fn at(mut self, lba: u64, count: u16) -> Self {
        self.fis.lba = lba;
        self.fis.count = count;
        self
    }

    fn queued(opcode: u8, direction: Direction, lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        let mut command = Self::with_data(opcode, direction, data_bytes);
        command.fis.lba = lba;
        command.fis.features = sectors;
        command.queued = true;
        command
    }

    /// The same command for a device behind a port multiplier, or for its control port.
    pub fn to_port(mut self, pm_port: u8) -> Self {
        self.pm_port = pm_port;
        self.fis.pm_port = pm_port;
        self
    }

    /// READ FPDMA QUEUED. The driver puts the tag in.
    pub fn read_queued(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        Self::queued(0x60, Direction::FromDevice, lba, sectors, sector_bytes)
    }

    /// WRITE FPDMA QUEUED.
    pub fn write_queued(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        Self::queued(0x61, Direction::ToDevice, lba, sectors, sector_bytes)
    }

    /// The same queued command with FUA.
    pub fn fua(mut self) -> Self {
        self.fis.device |= FUA;
        self
    }

    /// READ DMA EXT.
    pub fn read_dma(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        Self::with_data(0x25, Direction::FromDevice, data_bytes).at(lba, sectors)
    }

    /// WRITE DMA EXT.
    pub fn write_dma(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        Self::with_data(0x35, Direction::ToDevice, data_bytes).at(lba, sectors)
    }

    /// WRITE DMA FUA EXT.
    pub fn write_dma_fua(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        Self::with_data(0x3d, Direction::ToDevice, data_bytes).at(lba, sectors)
    }

    /// READ SECTOR(S) EXT.
    pub fn read_pio(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        Self::with_data(0x24, Direction::FromDevice, data_bytes).at(lba, sectors)
    }

    /// WRITE SECTOR(S) EXT.
    pub fn write_pio(lba: u64, sectors: u16, sector_bytes: u32) -> Self {
        let data_bytes = u64::from(sectors) * u64::from(sector_bytes);
        Self::with_data(0x34, Direction::ToDevice, data_bytes).at(lba, sectors)
    }

    /// DATA SET MANAGEMENT with TRIM, and its payload; `ranges` are first sector and count.
    ///
    /// # Panics
    /// If there are more than 512 ranges: a mistake of the test.
    pub fn trim(ranges: &[(u64, u16)]) -> (Self, Vec<u8>) {
        let blocks = ranges.len().div_ceil(64).max(1);
        assert!(blocks <= 8, "at most 512 ranges");
        let mut payload = vec![0; blocks * 512];
        for (entry, (lba, count)) in payload.chunks_exact_mut(8).zip(ranges) {
            entry.copy_from_slice(&(lba | u64::from(*count) << 48).to_le_bytes());
        }
        let mut command =
            Self::with_data(0x06, Direction::ToDevice, payload.len() as u64).at(0, blocks as u16);
        command.fis.features = 1;
        (command, payload)
    }

    /// FLUSH CACHE EXT.
    pub fn flush() -> Self {
        Self::without_data(0xea)
    }

    /// IDENTIFY DEVICE.
    pub fn identify() -> Self {
        Self::with_data(0xec, Direction::FromDevice, 512)
    }

    /// PACKET: this packet, with up to `data_bytes` from the device by DMA.
    pub fn packet(packet: [u8; 12], data_bytes: u64) -> Self {
        let mut command = Self::with_data(0xa0, Direction::FromDevice, data_bytes);
        command.fis.features = 1;
        command.packet = Some(packet);
        command
    }

    /// IDENTIFY PACKET DEVICE.
    pub fn identify_packet() -> Self {
        Self::with_data(0xa1, Direction::FromDevice, 512)
    }

    /// READ LOG EXT: one page of `log`.
    pub fn read_log(log: u8) -> Self {
        Self::with_data(0x2f, Direction::FromDevice, 512).at(u64::from(log), 1)
    }

    /// A FIS that writes the device control register; the software reset consists of two.
    pub fn control(control: u8) -> Self {
        let mut command = Self::without_data(0);
        command.fis.is_command = false;
        command.fis.control = control;
        command
    }
}
