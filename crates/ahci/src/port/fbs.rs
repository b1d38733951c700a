//! FIS-based switching (9.3): how a port tells apart the devices behind a port multiplier.
//!
//! Every slot in use has an *owner*: the port multiplier port that its command goes to. With
//! PxFBS.EN each device has a context of its own (its task file, whether it has failed), and an area
//! of 256 bytes for its FISes; without, the port has one context, and switching is command-based
//! (9.1): which device may have commands is software's business.
//!
//! A device that ends a command with an error stops itself only: PxFBS.SDE and DWE name it, nothing
//! more is sent to it, and PxFBS.DEC forgets its commands. Errors that are not a device's halt the
//! port as they always do. If several devices fail, they are shown one after the other: the next as
//! soon as DEC has dealt with the one before, with another PxIS.TFES. (The specification has a
//! single DWE, and does not say.)
//!
//! PxTFD shows the task file that changed last, or while SDE is set, the one of the device with the
//! error (9.3.7).

use freewheel_ata::fis::Status;
use freewheel_block::Nanos;

use super::wire::Wire;
use super::{Port, ResetKind};
use crate::memory::GuestMemory;
use crate::registers::*;

/// The owner of a slot of which nothing is known yet.
const NOBODY: u8 = 0xff;
/// As many devices as there are can be active without loss.
const ADO: u32 = 15;

/// What the port knows of one device.
#[derive(Clone, Copy, Debug, Default)]
struct Context {
    status: Status,
    error: u8,
}

/// PxFBS, and a context for each port multiplier port.
#[derive(Debug)]
pub(super) struct Fbs {
    pub(super) enabled: bool,
    /// PxFBS.DEV.
    device: u8,
    contexts: [Context; 16],
    /// The device with an error that is shown.
    failed: Option<u8>,
    /// All devices with an error, a bit each.
    all_failed: u16,
    /// Who the command in a slot is for.
    owners: [u8; 32],
}

impl Default for Fbs {
    fn default() -> Self {
        Self {
            enabled: false,
            device: 0,
            contexts: [Context::default(); 16],
            failed: None,
            all_failed: 0,
            owners: [NOBODY; 32],
        }
    }
}

impl Fbs {
    pub(super) fn power_on(&mut self) {
        *self = Self::default();
    }

    /// The list is empty: no device is busy with a command of it, and no error counts any more.
    pub(super) fn stop(&mut self) {
        self.failed = None;
        self.all_failed = 0;
        self.owners = [NOBODY; 32];
        self.rest();
    }

    /// No device is busy any more.
    pub(super) fn rest(&mut self) {
        for context in &mut self.contexts {
            context.status.remove(Status::BSY | Status::DRQ);
        }
    }

    fn context(&self, device: u8) -> Context {
        self.contexts[usize::from(device % 16)]
    }

    fn can_take(&self, slot: u8) -> bool {
        let device = self.owners[usize::from(slot % 32)];
        let failed = self.all_failed & 1 << (device % 16) != 0;
        !failed && !self.context(device).status.intersects(Status::BSY | Status::DRQ)
    }

    /// Which of the slots in `waiting` are for devices that take a command now.
    pub(super) fn ready(&self, waiting: u32) -> u32 {
        (0..32).filter(|slot| waiting & 1 << slot != 0 && self.can_take(*slot)).map(bit).sum()
    }
}

fn bit(slot: u8) -> u32 {
    1 << slot
}

impl Wire {
    pub(super) fn read_fbs(&self) -> u32 {
        let fbs = &self.fbs;
        let mut value = if fbs.enabled { PxFbs::EN } else { PxFbs::empty() };
        // An error of the whole port outweighs those of devices.
        value.set(PxFbs::SDE, fbs.failed.is_some() && !self.halted);
        value.bits()
            | u32::from(fbs.device) << PX_FBS_DEV_SHIFT
            | ADO << PX_FBS_ADO_SHIFT
            | u32::from(fbs.failed.unwrap_or(0)) << PX_FBS_DWE_SHIFT
    }

    /// A write to PxFBS. Says whether it asks to clear a device's error (DEC).
    fn write_fbs(&mut self, value: u32) -> bool {
        let bits = PxFbs::from_bits_truncate(value);
        self.fbs.device = (value >> PX_FBS_DEV_SHIFT & 0xf) as u8;
        if !self.running() && bits.contains(PxFbs::EN) != self.fbs.enabled {
            self.fbs.enabled = !self.fbs.enabled;
            self.fbs.contexts = [Context::default(); 16];
        }
        bits.contains(PxFbs::DEC) && self.fbs.enabled && self.fbs.failed.is_some()
    }

    /// PxTFD. An error of the whole port outweighs those of devices, and so does a link that is down.
    pub(super) fn tfd(&self) -> u32 {
        let shown = self.fbs.failed.filter(|_| !self.halted && self.is_heard());
        let (status, error) = match shown {
            Some(device) => {
                let context = self.fbs.context(device);
                (context.status, context.error)
            }
            None => (self.status, self.error),
        };
        u32::from(error) << 8 | u32::from(status.bits())
    }

    /// The status of `device`, as far as the port tells devices apart.
    pub(super) fn status_of(&self, device: u8) -> Status {
        if self.fbs.enabled { self.fbs.context(device).status } else { self.status }
    }

    /// The task file of `device`, as far as the port tells devices apart.
    pub(super) fn tfd_of(&self, device: u8) -> u32 {
        if !self.fbs.enabled {
            return self.tfd();
        }
        let context = self.fbs.context(device);
        u32::from(context.error) << 8 | u32::from(context.status.bits())
    }

    /// The command in `slot` goes nowhere, and whoever software has said it is for stays busy.
    pub(super) fn set_busy(&mut self, slot: u8) {
        let owner = self.fbs.owners[usize::from(slot % 32)];
        self.set_status(owner, self.status_of(owner) | Status::BSY);
    }

    pub(super) fn set_status(&mut self, device: u8, status: Status) {
        self.status = status;
        if self.fbs.enabled {
            self.fbs.contexts[usize::from(device % 16)].status = status;
        }
    }

    pub(super) fn set_task_file(&mut self, device: u8, status: Status, error: u8) {
        self.set_status(device, status);
        self.error = error;
        self.fbs.contexts[usize::from(device % 16)].error = error;
    }

    /// Slots whose bit in PxSACT was set have an owner only once they are in PxCI.
    pub(super) fn disown(&mut self, slots: u32) {
        self.own(slots & !self.ci, NOBODY);
    }

    /// With FIS-based switching, new commands are for PxFBS.DEV; without, nobody knows whose they are
    /// before they are fetched.
    pub(super) fn own_new(&mut self, slots: u32) {
        let owner = if self.fbs.enabled { self.fbs.device } else { NOBODY };
        self.own(slots & !self.ci & !(self.sact & self.owned()), owner);
    }

    /// Slots that have an owner.
    fn owned(&self) -> u32 {
        (0..32).filter(|slot| self.fbs.owners[usize::from(*slot)] != NOBODY).map(bit).sum()
    }

    /// Whether `slot` is another device's than `device`, which can neither move its data nor end it.
    pub(super) fn is_foreign(&self, slot: u8, device: u8) -> bool {
        let owner = self.fbs.owners[usize::from(slot % 32)];
        owner != NOBODY && owner != device
    }

    /// All such slots.
    pub(super) fn foreign(&self, device: u8) -> u32 {
        (0..32).filter(|slot| self.is_foreign(*slot, device)).map(bit).sum()
    }

    fn own(&mut self, slots: u32, device: u8) {
        for (slot, owner) in self.fbs.owners.iter_mut().enumerate() {
            if slots & 1 << slot != 0 {
                *owner = device;
            }
        }
    }

    /// Whether the command in `slot`, whose header and FIS name these ports, agrees with what
    /// software has said about it, and no other device has the tag; if so, its owner is known from
    /// now on. Without a port multiplier nothing of that counts.
    pub(super) fn claim(&mut self, slot: u8, header_port: u8, fis_port: u8, device: u8) -> bool {
        let named = self.fbs.owners[usize::from(slot % 32)];
        // A device that answers as another port than is named may be busy all the same.
        let busy = self.status_of(device).intersects(Status::BSY | Status::DRQ);
        let agreed = !self.fbs.enabled || named == fis_port && (named == device || !busy);
        if self.tells_ports_apart() && (header_port != fis_port || !agreed) {
            return false;
        }
        // A tag that another device has in use must not re-aim the data of its command.
        if self.sact & bit(slot) != 0 && self.is_foreign(slot, device) {
            return false;
        }
        self.own(bit(slot), device);
        true
    }

    /// PM ports in FISes count.
    pub(super) fn tells_ports_apart(&self) -> bool {
        self.cmd.contains(PxCmd::PMA) || self.fbs.enabled
    }

    /// The slots that are in use for `device`.
    pub(super) fn slots_of(&self, device: u8) -> u32 {
        let used = self.ci | self.sact;
        let owned = |slot: &u8| self.fbs.owners[usize::from(*slot)] == device;
        (0..32).filter(owned).map(bit).sum::<u32>() & used
    }

    /// A task file error of `device`: its own with FIS-based switching, else the port's.
    pub(super) fn device_error(&mut self, device: u8, cause: PxIs) {
        if !self.fbs.enabled {
            return self.fatal(cause);
        }
        self.is |= cause;
        self.counters.fatal_total += 1;
        self.fbs.all_failed |= 1 << (device % 16);
        self.fbs.failed.get_or_insert(device % 16);
    }

    /// `device` has failed, or the whole port has, and software has not cleared that yet.
    pub(super) fn has_error(&self, device: u8) -> bool {
        self.halted || self.fbs.all_failed & 1 << (device % 16) != 0
    }

    /// Where the FISes of `device` go. Software is to align the areas of all devices to 4 KiB
    /// (9.3.2); Linux aligns them to 1 KiB only, and expects them where it has put them.
    pub(super) fn fis_area(&self, device: u8) -> u64 {
        let areas_before = if self.fbs.enabled { u64::from(device % 16) } else { 0 };
        self.fb.wrapping_add(areas_before * FIS_AREA_STRIDE_BYTES)
    }

    /// `device` has lost its commands by a way of which the port hears nothing: those that are yet to
    /// be fetched are lost with the rest, lest they reach it after a reset, or another in its place.
    /// Their bits stay. Without FIS-based switching nobody has said whose they are, and all wait
    /// while one device is busy.
    pub(super) fn strand(&mut self, device: u8) {
        if self.fbs.enabled {
            self.issued |= self.slots_of(device) & self.ci;
        }
    }

    /// Forgets the commands for `device`, fetched or not. Returns their slots.
    pub(super) fn drop_commands_of(&mut self, device: u8) -> u32 {
        let slots = self.slots_of(device);
        self.ci &= !slots;
        self.sact &= !slots;
        self.issued &= !slots;
        for slot in (0..32).filter(|slot| slots & 1 << slot != 0) {
            self.commands[slot].forget();
        }
        slots
    }
}

impl Port {
    pub(super) fn write_fbs(&mut self, value: u32, now: Nanos, memory: &dyn GuestMemory) {
        if self.wire.write_fbs(value) {
            self.clear_device_error(now);
            self.issue(now, memory);
        }
    }

    /// PxFBS.DEC: forgets the commands of the device with the error, and lets it go on (9.3.6).
    fn clear_device_error(&mut self, now: Nanos) {
        let Some(device) = self.wire.fbs.failed.take() else { return };
        let waiting = (self.wire.slots_of(device) & self.wire.ci & !self.wire.issued).count_ones();
        let in_device = self.device.as_mut().map_or(0, |it| it.abort(device, now));
        let wire = &mut self.wire;
        wire.drop_commands_of(device);
        let idle = wire.fbs.context(device).status - (Status::BSY | Status::DRQ);
        wire.fbs.contexts[usize::from(device % 16)].status = idle;
        wire.fbs.all_failed &= !(1 << (device % 16));
        if wire.fbs.all_failed != 0 {
            wire.fbs.failed = Some(wire.fbs.all_failed.trailing_zeros() as u8);
            wire.is |= PxIs::TFES;
        }
        wire.note_reset(ResetKind::DeviceErrorClear, in_device + waiting as usize, now);
    }
}
