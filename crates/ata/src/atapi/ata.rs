//! The ATA commands of a packet device (ACS-4, PACKET feature set), and what SET FEATURES changes.

use freewheel_block::Nanos;

use super::{Drive, READY, signature};
use crate::Link;
use crate::fis::{DeviceFis, Error, RegisterH2D, Registers, Status};

/// PACKET: its packet says what it is.
pub(crate) const PACKET: u8 = 0xa0;

/// DEVICE RESET: a soft reset of this device alone.
pub(crate) const DEVICE_RESET: u8 = 0x08;

/// SET FEATURES 10h and 90h: asynchronous notification (SATA 3.x).
const SATA_NOTIFICATION: u8 = 0x05;
/// SET FEATURES 10h and 90h: software settings preservation (SATA 3.x).
const SATA_SETTINGS_PRESERVATION: u8 = 0x06;

/// Settings of SET FEATURES.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The DMA mode as SET FEATURES codes it: 20h + n (Multiword) or 40h + n (Ultra).
    pub(crate) dma_mode: u8,
    /// The host is told of media events without being asked.
    pub(crate) notification: bool,
    /// Settings outlive COMRESET.
    pub(crate) preserve: bool,
    /// A soft reset reverts to power-on defaults.
    pub(crate) revert: bool,
}

impl Settings {
    pub(crate) fn power_on() -> Self {
        Self { dma_mode: 0x46, notification: false, preserve: true, revert: false }
    }
}

/// Power management state (ACS-4, Power Management feature set).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    Active,
    Idle,
    Standby,
    /// Deaf to everything but a reset.
    Sleep,
}

impl Drive {
    /// Every command but PACKET.
    pub(crate) fn execute_ata(
        &mut self,
        slot: u8,
        command: &RegisterH2D,
        now: Nanos,
        link: &mut dyn Link,
    ) {
        let count = command.count as u8;
        let registers = Registers {
            status: READY,
            error: Error::empty(),
            lba: command.lba & 0xff_ffff,
            device: command.device,
            count: 0,
        };
        let aborted = Registers { status: READY | Status::ERR, error: Error::ABRT, ..registers };
        let end = match command.command {
            // DEVICE RESET: at once, whatever goes on (C1).
            DEVICE_RESET => {
                self.reset(now);
                signature()
            }
            // EXECUTE DEVICE DIAGNOSTIC.
            0x90 => {
                self.reset(now);
                signature()
            }
            // IDENTIFY PACKET DEVICE.
            0xa1 => return self.identify_packet_device(slot, &registers, link),
            // STANDBY IMMEDIATE, STANDBY.
            0xe0 | 0xe2 => self.enter(Power::Standby, registers),
            // IDLE IMMEDIATE, IDLE.
            0xe1 | 0xe3 => self.enter(Power::Idle, registers),
            // CHECK POWER MODE.
            0xe5 => Registers { count: self.power_code(), ..registers },
            // SLEEP.
            0xe6 => self.enter(Power::Sleep, registers),
            // SET FEATURES.
            0xef if self.set_features(command.features as u8, count) => registers,
            // READ SECTOR(S) and IDENTIFY DEVICE: what tells hosts that this is no disk.
            0x20 | 0xec => {
                Registers { status: READY | Status::ERR, error: Error::ABRT, ..signature() }
            }
            // NOP, and whatever is not there.
            _ => aborted,
        };
        self.end(slot, end, link);
    }

    fn enter(&mut self, power: Power, registers: Registers) -> Registers {
        self.power = power;
        registers
    }

    fn power_code(&self) -> u16 {
        match self.power {
            Power::Active => 0xff,
            Power::Idle => 0x80,
            Power::Standby | Power::Sleep => 0x00,
        }
    }

    fn set_features(&mut self, feature: u8, count: u8) -> bool {
        let settings = &mut self.settings;
        match (feature, count) {
            // PIO modes: nothing to remember.
            (0x03, 0x00 | 0x01 | 0x08..=0x0c) => {}
            (0x03, 0x20..=0x22 | 0x40..=0x46) => settings.dma_mode = count,
            (0x66, _) => settings.revert = false,
            (0xcc, _) => settings.revert = true,
            (0x10, SATA_NOTIFICATION) => settings.notification = true,
            (0x90, SATA_NOTIFICATION) => settings.notification = false,
            (0x10, SATA_SETTINGS_PRESERVATION) => settings.preserve = true,
            (0x90, SATA_SETTINGS_PRESERVATION) => settings.preserve = false,
            _ => return false,
        }
        true
    }

    fn identify_packet_device(&mut self, slot: u8, registers: &Registers, link: &mut dyn Link) {
        let data = self.identify_data();
        if link.data_in(slot, 0, &data).is_err() {
            let failed =
                Registers { status: READY | Status::ERR, error: Error::ABRT, ..*registers };
            return self.end(slot, failed, link);
        }
        // The last PIO Setup FIS ends a PIO data-in command.
        link.fis(
            Some(slot),
            DeviceFis::PioSetup {
                interrupt: true,
                to_host: true,
                registers: Registers { status: READY | Status::DRQ, ..*registers },
                ending_status: READY,
                transfer_count_bytes: data.len() as u16,
            },
        );
    }

    /// Whether the host is still to be told of an event.
    pub(crate) fn notice_due(&self) -> bool {
        self.bay.notice_due && self.settings.notification && !self.held_in_reset
    }

    /// Asynchronous notification (SATA 3.x): a Set Device Bits FIS with N; the host then asks.
    pub(crate) fn notify(&mut self, link: &mut dyn Link) {
        if !self.notice_due() {
            return;
        }
        self.bay.notice_due = false;
        link.fis(
            None,
            DeviceFis::SetDeviceBits {
                interrupt: true,
                notification: true,
                status: READY,
                error: Error::empty(),
                active: 0,
            },
        );
    }
}
