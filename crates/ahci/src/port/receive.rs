//! What a port does with the FISes and the data that its device sends (5.5).

use core::mem;

use freewheel_ata::fis::{DeviceFis, Registers, Status};
use freewheel_ata::{Link, LinkError};

use super::pmp::CONTROL_PORT;
use super::wire::Wire;
use crate::memory::GuestMemory;
use crate::registers::*;

/// The cable during one call: the port's half, and guest memory.
pub(super) struct Plugged<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) memory: &'a dyn GuestMemory,
    /// The port multiplier port that what comes now is from; 0 without a port multiplier.
    pub(super) from: u8,
}

impl Plugged<'_> {
    /// A FIS from `from`.
    pub(super) fn send(&mut self, from: u8, slot: Option<u8>, fis: DeviceFis) {
        self.from = from;
        self.fis(slot, fis);
    }

    /// Posts a FIS to the received-FIS area (5.5.2).
    pub(super) fn post(&mut self, fis: &DeviceFis, area_offset: u64) {
        if !self.wire.cmd.contains(PxCmd::FRE) {
            return;
        }
        let (mut bytes, len) = fis.encode();
        bytes[1] |= self.from & 0xf;
        let address = self.wire.fis_area(self.from).wrapping_add(area_offset);
        if self.memory.write(address, &bytes[..len]).is_err() {
            self.wire.fatal(PxIs::HBFS);
        }
    }

    fn register_fis(&mut self, slot: Option<u8>, fis: &DeviceFis, registers: &Registers) {
        if self.wire.awaits_signature && slot.is_none() {
            self.wire.awaits_signature = false;
            let [low, mid, high, ..] = registers.lba.to_le_bytes();
            self.wire.signature = u32::from_le_bytes([registers.count as u8, low, mid, high]);
            if !self.wire.cmd.contains(PxCmd::FRE) {
                self.wire.unposted = Some((self.from, *fis));
            }
        }
        self.post(fis, FIS_AREA_RFIS);
        self.wire.set_task_file(self.from, registers.status, registers.error.bits());
        self.settle(slot, registers.status);
    }

    /// The task file has its final value for now: errors halt the port, success ends the command.
    fn settle(&mut self, slot: Option<u8>, status: Status) {
        if status.contains(Status::ERR) {
            if let Some(slot) = slot {
                self.wire.current_slot = slot;
                self.write_prdbc(slot);
            }
            self.wire.device_error(self.from, PxIs::TFES);
        } else if let Some(slot) = slot
            && !status.intersects(Status::BSY | Status::DRQ)
        {
            self.write_prdbc(slot);
            self.wire.end_command(slot);
        }
    }

    /// PRDBC means nothing for queued commands (4.2.2).
    fn write_prdbc(&mut self, slot: u8) {
        let queued = self.wire.sact & 1 << slot != 0;
        let command = &self.wire.commands[usize::from(slot)];
        if !queued && command.write_prdbc(self.memory).is_err() {
            self.wire.fatal(PxIs::HBFS);
        }
    }

    /// Whether the port has reason to expect a FIS from there: a command or a reset is outstanding.
    /// If not, the FIS counts for nothing, and PxIS.IPMS says that it came (3.3.5).
    fn is_expected(&mut self) -> bool {
        let wire = &mut *self.wire;
        let expected = !wire.tells_ports_apart()
            || wire.awaits_signature
            || wire.slots_of(self.from) & (wire.issued | wire.sact) != 0;
        if !expected {
            wire.is |= PxIs::IPMS;
        }
        expected
    }

    /// Whether `slot` is not another device's: its commands and their data are out of reach.
    fn is_own(&mut self, slot: u8) -> bool {
        let own = !self.wire.is_foreign(slot, self.from);
        if !own {
            self.wire.is |= PxIs::IPMS;
        }
        own
    }

    fn interrupt(&mut self, wanted: bool, cause: PxIs) {
        if wanted && self.wire.cmd.contains(PxCmd::FRE) {
            self.wire.is |= cause;
        }
    }

    fn note(&mut self, slot: u8, result: Result<(), LinkError>) -> Result<(), LinkError> {
        match result {
            Err(LinkError::Overflow) => self.wire.is |= PxIs::OFS,
            Err(LinkError::HostBus) => self.wire.fatal(PxIs::HBFS),
            Err(LinkError::Crc) | Ok(()) => {}
        }
        // Not a FIS: PxCMD.FRE does not matter.
        if mem::take(&mut self.wire.commands[usize::from(slot % 32)].descriptor_processed) {
            self.wire.is |= PxIs::DPS;
        }
        result
    }
}

impl Link for Plugged<'_> {
    fn data_in(&mut self, slot: u8, offset_bytes: u64, data: &[u8]) -> Result<(), LinkError> {
        if !self.is_own(slot) {
            return Err(LinkError::HostBus);
        }
        self.wire.damages(true)?;
        let command = &mut self.wire.commands[usize::from(slot % 32)];
        if freewheel_block::sabotaged!(ListFetchedAgain) {
            let _ = command.fetch(self.wire.clb, slot, self.memory);
        }
        let result = command.write_data(offset_bytes, data, self.memory);
        self.note(slot, result)
    }

    fn data_out(&mut self, slot: u8, offset_bytes: u64, data: &mut [u8]) -> Result<(), LinkError> {
        if !self.is_own(slot) {
            return Err(LinkError::HostBus);
        }
        self.wire.damages(false)?;
        let command = &mut self.wire.commands[usize::from(slot % 32)];
        let result = command.read_data(offset_bytes, data, self.memory);
        self.note(slot, result)
    }

    fn fis(&mut self, slot: Option<u8>, fis: DeviceFis) {
        if !self.arrives(slot, &fis) {
            return;
        }
        if let DeviceFis::SetDeviceBits { interrupt, notification: true, .. } = &fis {
            self.wire.notifications |= 1 << (self.from & 0xf);
            if self.from == CONTROL_PORT {
                // It says nothing of any command, nor of the task file.
                self.post(&fis, FIS_AREA_SDBFIS);
                return self.interrupt(*interrupt, PxIs::SDBS);
            }
        } else if !self.is_expected() || !slot.is_none_or(|slot| self.is_own(slot)) {
            return;
        }
        match &fis {
            DeviceFis::RegisterD2H { interrupt, registers } => {
                self.register_fis(slot, &fis, registers);
                self.interrupt(*interrupt, PxIs::DHRS);
            }
            DeviceFis::PioSetup { interrupt, ending_status, registers, .. } => {
                self.post(&fis, FIS_AREA_PSFIS);
                self.wire.set_task_file(self.from, *ending_status, registers.error.bits());
                self.settle(slot, *ending_status);
                self.interrupt(*interrupt, PxIs::PSS);
            }
            DeviceFis::SetDeviceBits { interrupt, notification, status, error, active } => {
                self.post(&fis, FIS_AREA_SDBFIS);
                let kept = self.wire.status_of(self.from) & (Status::BSY | Status::DRQ);
                let status_now = kept | (*status - (Status::BSY | Status::DRQ));
                // A notice must not hide an error that software has yet to read in PxTFD.
                if !(*notification && self.wire.has_error(self.from)) {
                    self.wire.set_task_file(self.from, status_now, error.bits());
                }
                self.wire.end_queued(*active & !self.wire.foreign(self.from));
                if status.contains(Status::ERR) {
                    self.wire.device_error(self.from, PxIs::TFES);
                }
                self.interrupt(*interrupt, PxIs::SDBS);
            }
            DeviceFis::DmaSetup { interrupt, .. } => {
                self.post(&fis, FIS_AREA_DSFIS);
                self.interrupt(*interrupt, PxIs::DSS);
            }
        }
    }

    fn unknown_fis(&mut self, bytes: &[u8]) {
        if self.wire.is_heard() {
            self.receive_unknown(bytes);
        }
    }
}
