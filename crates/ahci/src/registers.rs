//! Register offsets and bits (section 3), for the HBA and for drivers of it in tests.

use bitflags::bitflags;

/// HBA capabilities (3.1.1).
pub const CAP: u32 = 0x00;
/// Global HBA control (3.1.2).
pub const GHC: u32 = 0x04;
/// Interrupt status, a bit a port (3.1.3).
pub const IS: u32 = 0x08;
/// Ports implemented (3.1.4).
pub const PI: u32 = 0x0c;
/// AHCI version (3.1.5).
pub const VS: u32 = 0x10;
/// Command completion coalescing control (3.1.6).
pub const CCC_CTL: u32 = 0x14;
/// Command completion coalescing ports (3.1.7).
pub const CCC_PORTS: u32 = 0x18;
/// Enclosure management location (3.1.8).
pub const EM_LOC: u32 = 0x1c;
/// Enclosure management control (3.1.9).
pub const EM_CTL: u32 = 0x20;
/// HBA capabilities extended (3.1.10).
pub const CAP2: u32 = 0x24;
/// BIOS/OS hand-off control and status (3.1.11).
pub const BOHC: u32 = 0x28;
/// The message buffer of enclosure management, in the space that is the vendor's (3).
pub const EM_BUFFER: u32 = 0xa0;
/// Its size.
pub const EM_BUFFER_BYTES: u32 = 0x60;

/// Where the ports' registers start.
pub const PORTS: u32 = 0x100;
/// Bytes of registers a port.
pub const PORT_STRIDE: u32 = 0x80;

/// Port: command list base address (3.3.1).
pub const PX_CLB: u32 = 0x00;
/// Port: command list base address, upper 32 bits (3.3.2).
pub const PX_CLBU: u32 = 0x04;
/// Port: FIS base address (3.3.3).
pub const PX_FB: u32 = 0x08;
/// Port: FIS base address, upper 32 bits (3.3.4).
pub const PX_FBU: u32 = 0x0c;
/// Port: interrupt status (3.3.5).
pub const PX_IS: u32 = 0x10;
/// Port: interrupt enable (3.3.6).
pub const PX_IE: u32 = 0x14;
/// Port: command and status (3.3.7).
pub const PX_CMD: u32 = 0x18;
/// Port: task file data (3.3.8).
pub const PX_TFD: u32 = 0x20;
/// Port: signature (3.3.9).
pub const PX_SIG: u32 = 0x24;
/// Port: SATA status (3.3.10).
pub const PX_SSTS: u32 = 0x28;
/// Port: SATA control (3.3.11).
pub const PX_SCTL: u32 = 0x2c;
/// Port: SATA error (3.3.12).
pub const PX_SERR: u32 = 0x30;
/// Port: SATA active (3.3.13).
pub const PX_SACT: u32 = 0x34;
/// Port: command issue (3.3.14).
pub const PX_CI: u32 = 0x38;
/// Port: SNotification, a bit a port multiplier port (3.3.15).
pub const PX_SNTF: u32 = 0x3c;
/// Port: FIS-based switching control (3.3.16).
pub const PX_FBS: u32 = 0x40;
/// Port: device sleep (3.3.17).
pub const PX_DEVSLP: u32 = 0x44;

/// PxDEVSLP: aggressive device sleep enable.
pub const PX_DEVSLP_ADSE: u32 = 1 << 0;
/// PxDEVSLP: device sleep present.
pub const PX_DEVSLP_DSP: u32 = 1 << 1;
/// PxDEVSLP: what software may write: DM, DITO, MDAT, DETO, ADSE.
pub const PX_DEVSLP_WRITABLE: u32 = 0x1fff_fffd;

bitflags! {
    /// Bits of CAP that this HBA sets (3.1.1).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Cap: u32 {
        /// Enclosure management.
        const EMS = 1 << 6;
        /// Command completion coalescing.
        const CCCS = 1 << 7;
        /// Partial state capable.
        const PSC = 1 << 13;
        /// Slumber state capable.
        const SSC = 1 << 14;
        /// PIO multiple DRQ block.
        const PMD = 1 << 15;
        /// FIS-based switching.
        const FBSS = 1 << 16;
        /// Port multipliers.
        const SPM = 1 << 17;
        /// AHCI mode only.
        const SAM = 1 << 18;
        /// Interface speed: generation 3, 6 Gbit/s.
        const ISS_GEN3 = 3 << 20;
        /// Command list override.
        const SCLO = 1 << 24;
        /// Aggressive link power management.
        const SALP = 1 << 26;
        /// Staggered spin-up.
        const SSS = 1 << 27;
        /// Mechanical presence switches.
        const SMPS = 1 << 28;
        /// PxSNTF.
        const SSNTF = 1 << 29;
        /// Native command queueing.
        const SNCQ = 1 << 30;
        /// 64-bit addressing.
        const S64A = 1 << 31;
    }
}

bitflags! {
    /// Bits of CAP2 that this HBA sets (3.1.10).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Cap2: u32 {
        /// BIOS/OS hand-off.
        const BOH = 1 << 0;
        /// Device sleep.
        const SDS = 1 << 3;
        /// Aggressive device sleep management.
        const SADM = 1 << 4;
    }
}

bitflags! {
    /// GHC (3.1.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Ghc: u32 {
        /// HBA reset.
        const HR = 1 << 0;
        /// Interrupt enable.
        const IE = 1 << 1;
        /// MSI revert to single message.
        const MRSM = 1 << 2;
        /// AHCI enable.
        const AE = 1 << 31;
    }
}

bitflags! {
    /// PxIS and PxIE (3.3.5, 3.3.6).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PxIs: u32 {
        /// Device to host register FIS.
        const DHRS = 1 << 0;
        /// PIO setup FIS.
        const PSS = 1 << 1;
        /// DMA setup FIS.
        const DSS = 1 << 2;
        /// Set device bits FIS.
        const SDBS = 1 << 3;
        /// Unknown FIS; stands until PxSERR.DIAG.F is cleared.
        const UFS = 1 << 4;
        /// Descriptor processed.
        const DPS = 1 << 5;
        /// Port connect change; stands as long as PxSERR.DIAG.X.
        const PCS = 1 << 6;
        /// Device mechanical presence.
        const DMPS = 1 << 7;
        /// PhyRdy change; stands as long as PxSERR.DIAG.N.
        const PRCS = 1 << 22;
        /// Incorrect port multiplier.
        const IPMS = 1 << 23;
        /// Overflow: more data than the PRDT holds.
        const OFS = 1 << 24;
        /// Interface non-fatal error.
        const INFS = 1 << 26;
        /// Interface fatal error.
        const IFS = 1 << 27;
        /// Host bus data error.
        const HBDS = 1 << 28;
        /// Host bus fatal error.
        const HBFS = 1 << 29;
        /// Task file error.
        const TFES = 1 << 30;
        /// Cold port detect.
        const CPDS = 1 << 31;
    }
}

impl PxIs {
    /// The bits that follow PxSERR and cannot be cleared in PxIS.
    pub const FOLLOW_SERR: PxIs = PxIs::PCS.union(PxIs::PRCS).union(PxIs::UFS);
}

bitflags! {
    /// PxCMD, without its fields CCS and ICC (3.3.7).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PxCmd: u32 {
        /// Start.
        const ST = 1 << 0;
        /// Spin-up device.
        const SUD = 1 << 1;
        /// Power on device.
        const POD = 1 << 2;
        /// Command list override.
        const CLO = 1 << 3;
        /// FIS receive enable.
        const FRE = 1 << 4;
        /// Mechanical presence switch state: open.
        const MPSS = 1 << 13;
        /// FIS receive running.
        const FR = 1 << 14;
        /// Command list running.
        const CR = 1 << 15;
        /// Cold presence state: a device is there.
        const CPS = 1 << 16;
        /// A port multiplier is attached; software says so.
        const PMA = 1 << 17;
        /// Hot plug capable port.
        const HPCP = 1 << 18;
        /// Mechanical presence switch attached to port.
        const MPSP = 1 << 19;
        /// Cold presence detection.
        const CPD = 1 << 20;
        /// The port is capable of FIS-based switching.
        const FBSCP = 1 << 22;
        /// Device is ATAPI.
        const ATAPI = 1 << 24;
        /// Drive LED on ATAPI enable.
        const DLAE = 1 << 25;
        /// Aggressive link power management enable.
        const ALPE = 1 << 26;
        /// Aggressive slumber, rather than partial.
        const ASP = 1 << 27;
    }
}

/// Where PxCMD.ICC, the interface power state that software asks for, stands.
pub const PX_CMD_ICC_SHIFT: u32 = 28;
/// Where PxCMD.CCS, the current command slot, stands.
pub const PX_CMD_CCS_SHIFT: u32 = 8;

bitflags! {
    /// PxFBS, without its fields DEV, ADO and DWE (3.3.16).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PxFbs: u32 {
        /// Enable.
        const EN = 1 << 0;
        /// Device error clear.
        const DEC = 1 << 1;
        /// The error is one device's.
        const SDE = 1 << 2;
    }
}

/// Where PxFBS.DEV, the device that the next commands are for, stands; 4 bits.
pub const PX_FBS_DEV_SHIFT: u32 = 8;
/// Where PxFBS.ADO, the number of devices that can be active without loss, stands; 4 bits.
pub const PX_FBS_ADO_SHIFT: u32 = 12;
/// Where PxFBS.DWE, the device with the error, stands; 4 bits.
pub const PX_FBS_DWE_SHIFT: u32 = 16;

bitflags! {
    /// PxSERR: the bits that this HBA sets (3.3.12).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct PxSerr: u32 {
        /// ERR.I: data was damaged, and recovered.
        const ERR_I = 1 << 0;
        /// ERR.T: data was damaged, and not recovered.
        const ERR_T = 1 << 8;
        /// ERR.P: protocol error.
        const ERR_P = 1 << 10;
        /// ERR.E: internal error.
        const ERR_E = 1 << 11;
        /// DIAG.N: PhyRdy change.
        const DIAG_N = 1 << 16;
        /// DIAG.C: a checksum did not fit.
        const DIAG_C = 1 << 21;
        /// DIAG.H: handshake error.
        const DIAG_H = 1 << 22;
        /// DIAG.T: the transport layer left its states' order.
        const DIAG_T = 1 << 24;
        /// DIAG.F: a FIS of unknown type.
        const DIAG_F = 1 << 25;
        /// DIAG.X: exchanged.
        const DIAG_X = 1 << 26;
    }
}

/// PxSCTL.DET: perform interface communication initialisation (COMRESET).
pub const DET_COMRESET: u32 = 1;
/// PxSCTL.DET: interface offline.
pub const DET_OFFLINE: u32 = 4;
/// PxSSTS of a link that is up at 6 Gbit/s and active: DET 3, SPD 3, IPM 1.
pub const SSTS_UP_GEN3: u32 = 0x133;

/// Received FIS area: DMA setup (4.2.1).
pub const FIS_AREA_DSFIS: u64 = 0x00;
/// Received FIS area: PIO setup.
pub const FIS_AREA_PSFIS: u64 = 0x20;
/// Received FIS area: device to host register.
pub const FIS_AREA_RFIS: u64 = 0x40;
/// Received FIS area: set device bits.
pub const FIS_AREA_SDBFIS: u64 = 0x58;
/// Received FIS area: a FIS of unknown type, up to [`UNKNOWN_FIS_BYTES`].
pub const FIS_AREA_UFIS: u64 = 0x60;
/// Room for a FIS of unknown type.
pub const UNKNOWN_FIS_BYTES: usize = 64;

/// Bytes from one device's received FIS area to the next with FIS-based switching (9.3.2).
pub const FIS_AREA_STRIDE_BYTES: u64 = 0x100;

/// Bytes of a command header (4.2.2).
pub const COMMAND_HEADER_BYTES: u64 = 32;
/// Where the PRDT starts in a command table (4.2.3).
pub const PRDT_OFFSET_BYTES: usize = 0x80;
/// Bytes of an entry of the PRDT.
pub const PRD_BYTES: usize = 16;
