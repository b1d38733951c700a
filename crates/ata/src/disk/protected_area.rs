//! The end of the disk that a host may hide: the Host Protected Area feature set with its security
//! extension (ATA8-ACS, commands F8h, 27h, F9h, 37h), or its successor, the Accessible Max Address
//! Configuration feature set (ACS-4, command 78h).
//!
//! ACS-4 forbids to offer both. [`CapacityControl`] chooses; the older one is the default, because
//! it is what Linux and `hdparm -N` know.
//!
//! The accessible sectors are `Shape::sectors`, so every check of an LBA and all that IDENTIFY
//! DEVICE tells of the capacity follow by themselves. Everything is forgotten as the standard
//! has it: a volatile maximum and the passwords with the power; what is not volatile is saved. COMRESET
//! keeps a volatile maximum while software settings preservation is on (SATA 3.x).

use alloc::vec::Vec;

use super::Disk;
use super::command::{Addressing, Call, Fault, Reply};
use super::saved::Reader;
use super::security::{self, Password};
use super::settings::Geometry;
use super::transfer::lba_of;
use crate::Link;

/// The last LBA that 28 bits can name.
const LBA_28_MAX: u64 = 0x0fff_ffff;
/// Wrong passwords until SET MAX UNLOCK is refused.
const ATTEMPTS: u8 = 5;
/// Count register of SET MAX ADDRESS: the value outlives power.
const NON_VOLATILE: u16 = 1;

const READ_NATIVE_MAX: u8 = 0xf8;
const READ_NATIVE_MAX_EXT: u8 = 0x27;

// Words 82 and 85, 83 and 86, 119 and 120.
const HPA: u16 = 1 << 10;
const SET_MAX_SECURITY: u16 = 1 << 8;
const ACCESSIBLE_MAX: u16 = 1 << 8;

/// How a host can hide the end of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CapacityControl {
    /// By the Host Protected Area feature set of ATA/ATAPI-4 to ATA8-ACS: READ NATIVE MAX ADDRESS
    /// and SET MAX ADDRESS.
    #[default]
    HostProtectedArea,
    /// By ACCESSIBLE MAX ADDRESS CONFIGURATION of ACS-3 and later.
    AccessibleMaxAddress,
}

/// The modes of SET MAX (ATA8-ACS, SET MAX security extension).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Unlocked,
    Locked,
    Frozen,
}

/// What of the disk is hidden, and who may change that.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProtectedArea {
    /// What the accessible sectors are after power-on; all of them if there is no number.
    kept_sectors: Option<u64>,
    /// The maximum was set with 48 bits (or 28), so only that command may set it again.
    set_by_ext: Option<bool>,
    /// The command under way, and the one before it, where they are READ NATIVE MAX ADDRESS or its
    /// EXT form: SET MAX ADDRESS has to follow one at once.
    current: Option<u8>,
    preceding: Option<u8>,
    /// A value that outlives power was set since the last reset by hardware.
    kept_once: bool,
    mode: Mode,
    password: Option<Password>,
    attempts_left: u8,
}

impl ProtectedArea {
    /// A command came.
    pub(crate) fn note_command(&mut self, opcode: u8) {
        let is_read = matches!(opcode, READ_NATIVE_MAX | READ_NATIVE_MAX_EXT);
        self.preceding = core::mem::replace(&mut self.current, is_read.then_some(opcode));
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.kept_sectors.unwrap_or(0).to_le_bytes());
        out.push(u8::from(self.set_by_ext == Some(true)));
    }

    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (kept_sectors, is_ext) = (reader.u64()?, reader.u8()?);
        if kept_sectors > 1 << 48 || is_ext > 1 || !reader.is_empty() {
            return None;
        }
        let kept_sectors = Some(kept_sectors).filter(|it| *it > 0);
        Some(Self {
            kept_sectors,
            set_by_ext: kept_sectors.map(|_| is_ext == 1),
            ..Self::default()
        })
    }
}

/// READ NATIVE MAX ADDRESS, READ NATIVE MAX ADDRESS EXT.
pub(crate) fn read_native_max(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    if disk.config.capacity_control != CapacityControl::HostProtectedArea {
        return Reply::Fail(Fault::ABORT);
    }
    let last = disk.native_sectors() - 1;
    let lba = match call.row.addressing {
        Addressing::Bits28 => last.min(LBA_28_MAX),
        Addressing::Bits48 => last,
    };
    Reply::GoodLba { lba, count: 0 }
}

/// SET MAX: five commands in the features register; after READ NATIVE MAX ADDRESS it is SET MAX
/// ADDRESS whatever stands there, as before there was a security extension.
pub(crate) fn set_max(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.config.capacity_control != CapacityControl::HostProtectedArea {
        return Reply::Fail(Fault::ABORT);
    }
    let is_preceded = disk.protected_area.preceding == Some(READ_NATIVE_MAX);
    match call.fis.features as u8 {
        _ if is_preceded => set_max_address(disk, call),
        0x01 => set_max_password(disk, call, link),
        0x02 => set_max_lock(disk),
        0x03 => set_max_unlock(disk, call, link),
        0x04 => set_max_freeze(disk),
        _ => Reply::Fail(Fault::ABORT),
    }
}

/// SET MAX ADDRESS EXT.
pub(crate) fn set_max_ext(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    let is_preceded = disk.protected_area.preceding == Some(READ_NATIVE_MAX_EXT);
    if disk.config.capacity_control != CapacityControl::HostProtectedArea || !is_preceded {
        return Reply::Fail(Fault::ABORT);
    }
    set_max_address(disk, call)
}

fn set_max_address(disk: &mut Disk, call: &Call) -> Reply {
    let native = disk.native_sectors();
    let is_ext = call.row.addressing == Addressing::Bits48;
    let area = &disk.protected_area;
    let is_others = area.set_by_ext.is_some_and(|by_ext| by_ext != is_ext);
    if area.mode != Mode::Unlocked || is_others || disk.security.is_frozen() {
        return Reply::Fail(Fault::ABORT);
    }
    let lba = match lba_of(call, disk.settings.geometry) {
        // The most that READ NATIVE MAX ADDRESS can say is everything.
        Ok(LBA_28_MAX) if !is_ext && native > LBA_28_MAX => native - 1,
        Ok(lba) => lba,
        Err(fault) => return fault.into(),
    };
    let is_kept = call.fis.count & NON_VOLATILE != 0;
    if lba >= native || is_kept && area.kept_once {
        return Reply::Fail(Fault::not_found(lba));
    }
    let sectors = lba + 1;
    let is_whole = sectors == native;
    let area = &mut disk.protected_area;
    area.set_by_ext = (!is_whole).then_some(is_ext);
    if is_kept {
        area.kept_once = true;
        area.kept_sectors = (!is_whole).then_some(sectors);
        disk.saved.note_change();
    }
    disk.set_accessible_sectors(sectors);
    Reply::Good
}

fn set_max_password(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.protected_area.mode != Mode::Unlocked {
        return Reply::Fail(Fault::ABORT);
    }
    match security::fetch_block(disk, call, link) {
        Ok(block) => {
            disk.protected_area.password = Some(security::password_of(&block));
            Reply::Good
        }
        Err(fault) => fault.into(),
    }
}

fn set_max_lock(disk: &mut Disk) -> Reply {
    let area = &mut disk.protected_area;
    if area.mode != Mode::Unlocked || area.password.is_none() {
        return Reply::Fail(Fault::ABORT);
    }
    area.mode = Mode::Locked;
    area.attempts_left = ATTEMPTS;
    Reply::Good
}

fn set_max_unlock(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.protected_area.mode != Mode::Locked || disk.protected_area.attempts_left == 0 {
        return Reply::Fail(Fault::ABORT);
    }
    let block = match security::fetch_block(disk, call, link) {
        Ok(block) => block,
        Err(fault) => return fault.into(),
    };
    let offered = security::password_of(&block);
    let area = &mut disk.protected_area;
    if !area.password.as_ref().is_some_and(|password| password.matches(&offered)) {
        area.attempts_left -= 1;
        return Reply::Fail(Fault::ABORT);
    }
    area.mode = Mode::Unlocked;
    Reply::Good
}

fn set_max_freeze(disk: &mut Disk) -> Reply {
    let area = &mut disk.protected_area;
    if area.mode == Mode::Frozen || area.password.is_none() {
        return Reply::Fail(Fault::ABORT);
    }
    area.mode = Mode::Frozen;
    Reply::Good
}

/// ACCESSIBLE MAX ADDRESS CONFIGURATION: GET NATIVE, SET and FREEZE. What is set outlives power,
/// and can be set once in a life.
pub(crate) fn accessible_max_address(disk: &mut Disk, call: &Call, _link: &mut dyn Link) -> Reply {
    if disk.config.capacity_control != CapacityControl::AccessibleMaxAddress {
        return Reply::Fail(Fault::ABORT);
    }
    let native = disk.native_sectors();
    match call.fis.features {
        0x0000 => return Reply::GoodLba { lba: native - 1, count: 0 },
        0x0001 => {}
        0x0002 => {
            disk.protected_area.mode = Mode::Frozen;
            return Reply::Good;
        }
        _ => return Reply::Fail(Fault::ABORT),
    }
    let area = &mut disk.protected_area;
    if area.mode == Mode::Frozen || area.kept_once || disk.security.is_frozen() {
        return Reply::Fail(Fault::ABORT);
    }
    let lba = call.fis.lba;
    if lba >= native {
        return Reply::Fail(Fault::not_found(lba));
    }
    area.kept_once = true;
    area.kept_sectors = (lba + 1 < native).then_some(lba + 1);
    disk.saved.note_change();
    disk.set_accessible_sectors(lba + 1);
    Reply::Good
}

impl Disk {
    fn set_accessible_sectors(&mut self, sectors: u64) {
        self.shape.sectors = sectors;
        self.settings.geometry = Geometry::of_disk(sectors);
    }

    /// What is accessible after power-on.
    pub(crate) fn restore_accessible_sectors(&mut self) {
        let native = self.native_sectors();
        let kept = self.protected_area.kept_sectors.unwrap_or(native);
        self.set_accessible_sectors(kept.min(native));
        if kept >= native {
            self.protected_area.set_by_ext = None;
        }
    }

    /// COMRESET, which lets a value be kept again; unless settings are preserved, a volatile maximum
    /// goes.
    pub(crate) fn reset_accessible_sectors(&mut self, preserve: bool) {
        self.protected_area.current = None;
        if self.config.capacity_control == CapacityControl::HostProtectedArea {
            self.protected_area.kept_once = false;
        }
        if !preserve {
            self.restore_accessible_sectors();
        }
    }

    /// Words 82 and 85, 83 and 86, 119 and 120.
    pub(crate) fn put_protected_area_words(&self, words: &mut [u16; 256]) {
        match self.config.capacity_control {
            CapacityControl::HostProtectedArea => {
                words[82] |= HPA;
                words[85] |= HPA;
                words[83] |= SET_MAX_SECURITY;
                let is_on = self.protected_area.password.is_some();
                words[86] |= if is_on { SET_MAX_SECURITY } else { 0 };
            }
            CapacityControl::AccessibleMaxAddress => {
                words[119] |= ACCESSIBLE_MAX;
                words[120] |= ACCESSIBLE_MAX;
            }
        }
    }
}
