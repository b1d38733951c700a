//! The Security feature set (ACS-4, commands F1h to F6h): a disk that gives nothing away without a
//! password.
//!
//! | state | how it comes to be |
//! |---|---|
//! | disabled | there is no user password |
//! | locked | there is one, and the disk was switched on (or reset by COMRESET while software settings preservation was off) |
//! | unlocked | SECURITY UNLOCK, or the user password was set in this life |
//! | frozen | SECURITY FREEZE LOCK: no security command until the disk is switched on anew |
//!
//! COMRESET changes none of this while software settings preservation is on, which is the default
//! (SATA 3.x, software settings preservation: security mode state, freeze lock, unlock counter).
//! What a locked disk refuses is in `access.rs`.
//!
//! The medium is not encrypted: this keeps a guest out, not whoever has the image. Until the
//! host sets a master password there is none, and none that a vendor would know: comparing with it
//! fails. Words 89 and 90 stay zero (time not specified), since nobody knows how fast the storage
//! is. An erase writes zeroes from the first sector to the native maximum in either mode; the pattern
//! of an enhanced erase is ours to choose.

use core::fmt;

use alloc::vec::Vec;

use freewheel_block::{ByteRange, Request};

use super::command::{Call, Fault, Reply};
use super::saved::Reader;
use super::{Disk, Work, error};
use crate::Link;

/// Wrong passwords until SECURITY UNLOCK and SECURITY ERASE UNIT are refused.
const ATTEMPTS: u8 = 5;
/// Word 92 as a factory leaves it.
const FACTORY_MASTER_IDENTIFIER: u16 = 0xfffe;

// Words 82 and 85.
const SECURITY: u16 = 1 << 1;

// Word 0 of the data of a command.
const USE_MASTER: u16 = 1 << 0;
const ENHANCED_ERASE: u16 = 1 << 1;
const LEVEL_MAXIMUM: u16 = 1 << 8;

const PASSWORD_BYTES: usize = 32;

/// A password. Debug does not show it, and comparing takes the same time wherever it differs.
#[derive(Clone)]
pub(crate) struct Password([u8; PASSWORD_BYTES]);

impl Password {
    pub(crate) fn matches(&self, other: &Password) -> bool {
        let differences = self.0.iter().zip(&other.0).fold(0, |seen, (a, b)| seen | (a ^ b));
        core::hint::black_box(differences) == 0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The state of the feature set.
#[derive(Clone, Debug)]
pub(crate) struct Security {
    user: Option<Password>,
    master: Option<Password>,
    master_identifier: u16,
    is_maximum: bool,
    locked: bool,
    frozen: bool,
    attempts_left: u8,
    erase_prepared: bool,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            user: None,
            master: None,
            master_identifier: FACTORY_MASTER_IDENTIFIER,
            is_maximum: false,
            locked: false,
            frozen: false,
            attempts_left: ATTEMPTS,
            erase_prepared: false,
        }
    }
}

impl Security {
    /// Whether user data is out of reach.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked
    }

    /// Whether the configuration of the disk is not to be changed (SET MAX ADDRESS and its like).
    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// A command came: SECURITY ERASE UNIT has to follow SECURITY ERASE PREPARE at once.
    pub(crate) fn note_command(&mut self, opcode: u8) {
        const ERASE_UNIT: u8 = 0xf4;
        self.erase_prepared &= opcode == ERASE_UNIT;
    }

    /// A hardware reset that preserves nothing, or the power coming on.
    pub(crate) fn lose_volatile_state(&mut self) {
        self.locked = self.user.is_some();
        self.frozen = false;
        self.attempts_left = ATTEMPTS;
        self.erase_prepared = false;
    }

    /// Whether `password` is the one that `selector` (word 0) names.
    fn accepts(&self, selector: u16, password: &Password) -> bool {
        let expected = if selector & USE_MASTER != 0 { &self.master } else { &self.user };
        expected.as_ref().is_some_and(|expected| expected.matches(password))
    }

    /// The same, for what the master password may do at the high level only.
    fn accepts_at_level(&self, selector: u16, password: &Password) -> bool {
        let is_barred = self.is_maximum && selector & USE_MASTER != 0;
        self.accepts(selector, password) && !is_barred
    }

    fn disable(&mut self) {
        self.user = None;
        self.is_maximum = false;
        self.locked = false;
    }

    /// Word 128.
    fn word_128(&self) -> u16 {
        let flags = [
            (0, true),
            (1, self.user.is_some()),
            (2, self.locked),
            (3, self.frozen),
            (4, self.attempts_left == 0),
            (5, true),
            (8, self.is_maximum),
        ];
        flags.iter().fold(0, |word, (bit, is_set)| word | u16::from(*is_set) << bit)
    }

    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let flags = u8::from(self.user.is_some())
            | u8::from(self.master.is_some()) << 1
            | u8::from(self.is_maximum) << 2;
        out.push(flags);
        out.extend_from_slice(&self.master_identifier.to_le_bytes());
        for password in [&self.user, &self.master] {
            out.extend_from_slice(password.as_ref().map_or(&[0; PASSWORD_BYTES], |it| &it.0));
        }
    }

    /// Loading is switching on: with a user password, the disk is locked.
    pub(crate) fn load(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (flags, master_identifier) = (reader.u8()?, reader.u16()?);
        let mut password = || Some(Password(reader.bytes(PASSWORD_BYTES)?.try_into().ok()?));
        let (user, master) = (password()?, password()?);
        if flags > 0b111 || !reader.is_empty() {
            return None;
        }
        let mut loaded = Self {
            user: Some(user).filter(|_| flags & 1 != 0),
            master: Some(master).filter(|_| flags & 2 != 0),
            master_identifier,
            is_maximum: flags & 4 != 0,
            ..Self::default()
        };
        loaded.lose_volatile_state();
        Some(loaded)
    }
}

/// The data of all security commands that have some.
struct Form {
    /// Word 0.
    selector: u16,
    /// Words 1 to 16.
    password: Password,
    /// Word 17.
    master_identifier: u16,
}

/// Fetches the 512 bytes that come with `call`, and asks for them as PIO does.
pub(crate) fn fetch_block(
    disk: &Disk,
    call: &Call,
    link: &mut dyn Link,
) -> Result<[u8; 512], Fault> {
    disk.pio_from_host_first(call, 512, 512, link);
    let mut block = [0; 512];
    link.data_out(call.slot, 0, &mut block).map_err(error::of_link)?;
    Ok(block)
}

/// The password in words 1 to 16 of `block`.
pub(crate) fn password_of(block: &[u8; 512]) -> Password {
    let mut password = [0; PASSWORD_BYTES];
    password.copy_from_slice(&block[2..2 + PASSWORD_BYTES]);
    Password(password)
}

impl Form {
    fn fetch(disk: &Disk, call: &Call, link: &mut dyn Link) -> Result<Form, Fault> {
        let block = fetch_block(disk, call, link)?;
        Ok(Form {
            selector: u16::from_le_bytes([block[0], block[1]]),
            password: password_of(&block),
            master_identifier: u16::from_le_bytes([block[34], block[35]]),
        })
    }
}

/// SECURITY SET PASSWORD. A user password locks the disk from the next life on.
pub(crate) fn set_password(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.security.frozen || disk.security.locked {
        return Reply::Fail(Fault::ABORT);
    }
    let form = match Form::fetch(disk, call, link) {
        Ok(form) => form,
        Err(fault) => return fault.into(),
    };
    let security = &mut disk.security;
    if form.selector & USE_MASTER != 0 {
        security.master = Some(form.password);
        // 0000h and FFFFh say that the host knows no identifiers.
        if !matches!(form.master_identifier, 0x0000 | 0xffff) {
            security.master_identifier = form.master_identifier;
        }
    } else {
        security.user = Some(form.password);
        security.is_maximum = form.selector & LEVEL_MAXIMUM != 0;
    }
    disk.saved.note_change();
    Reply::Good
}

/// SECURITY UNLOCK. Only a locked disk counts the attempts.
pub(crate) fn unlock(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.security.frozen || disk.security.attempts_left == 0 {
        return Reply::Fail(Fault::ABORT);
    }
    let form = match Form::fetch(disk, call, link) {
        Ok(form) => form,
        Err(fault) => return fault.into(),
    };
    let security = &mut disk.security;
    if !security.accepts_at_level(form.selector, &form.password) {
        security.attempts_left -= u8::from(security.locked);
        return Reply::Fail(Fault::ABORT);
    }
    security.locked = false;
    Reply::Good
}

/// SECURITY ERASE PREPARE: the next command may be SECURITY ERASE UNIT.
pub(crate) fn erase_prepare(disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    if disk.security.frozen {
        return Reply::Fail(Fault::ABORT);
    }
    disk.security.erase_prepared = true;
    Reply::Good
}

/// SECURITY ERASE UNIT, in either mode: zeroes, then no user password any more. If a reset cuts it
/// short, the password stays.
pub(crate) fn erase_unit(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    let is_prepared = core::mem::take(&mut disk.security.erase_prepared);
    let is_barred = disk.security.frozen || disk.security.attempts_left == 0;
    if !is_prepared || is_barred || disk.shape.read_only {
        return Reply::Fail(Fault::ABORT);
    }
    let form = match Form::fetch(disk, call, link) {
        Ok(form) => form,
        Err(fault) => return fault.into(),
    };
    let is_known = form.selector & !(USE_MASTER | ENHANCED_ERASE) == 0;
    if !is_known || !disk.security.accepts(form.selector, &form.password) {
        return Reply::Fail(Fault::ABORT);
    }
    // Durable, or it has not happened.
    let medium = ByteRange::new(0, disk.engine.info().size_bytes);
    let request = Request::write_zeroes(u32::from(call.slot), medium, true);
    disk.start(call, Work::Erase, 0, request, link)
}

/// SECURITY FREEZE LOCK.
pub(crate) fn freeze_lock(disk: &mut Disk, _call: &Call, _link: &mut dyn Link) -> Reply {
    if disk.security.locked {
        return Reply::Fail(Fault::ABORT);
    }
    disk.security.frozen = true;
    Reply::Good
}

/// SECURITY DISABLE PASSWORD: the user password goes, the master password stays.
pub(crate) fn disable_password(disk: &mut Disk, call: &Call, link: &mut dyn Link) -> Reply {
    if disk.security.frozen || disk.security.locked {
        return Reply::Fail(Fault::ABORT);
    }
    let form = match Form::fetch(disk, call, link) {
        Ok(form) => form,
        Err(fault) => return fault.into(),
    };
    if !disk.security.accepts_at_level(form.selector, &form.password) {
        return Reply::Fail(Fault::ABORT);
    }
    disk.security.disable();
    disk.saved.note_change();
    Reply::Good
}

impl Disk {
    /// SECURITY ERASE UNIT has zeroed everything.
    pub(crate) fn erased(&mut self) {
        self.security.disable();
        self.saved.note_change();
    }

    /// Words 82, 85, 89, 90, 92 and 128.
    pub(crate) fn put_security_words(&self, words: &mut [u16; 256]) {
        words[82] |= SECURITY;
        words[85] |= if self.security.user.is_some() { SECURITY } else { 0 };
        words[92] = self.security.master_identifier;
        words[128] = self.security.word_128();
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    fn with_passwords() -> Security {
        Security {
            user: Some(Password([b'u'; PASSWORD_BYTES])),
            master: Some(Password([b'm'; PASSWORD_BYTES])),
            is_maximum: true,
            master_identifier: 77,
            ..Security::default()
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", with_passwords());
        assert!(shown.contains("Password(…)"), "{shown}");
        assert!(!shown.contains("117") && !shown.contains("uu"), "{shown}");
    }

    #[test]
    fn a_password_matches_in_every_byte_or_not_at_all() {
        let password = Password([b'u'; PASSWORD_BYTES]);
        assert!(password.matches(&password));
        for index in 0..PASSWORD_BYTES {
            let mut other = password.clone();
            other.0[index] ^= 1;
            assert!(!password.matches(&other));
        }
    }

    #[test]
    fn a_state_that_makes_no_sense_is_not_loaded() {
        let mut bytes = Vec::new();
        with_passwords().save(&mut bytes);
        assert!(Security::load(&bytes).is_some_and(|it| it.locked && it.word_128() == 0x127));
        for length in 0..bytes.len() {
            assert!(Security::load(&bytes[..length]).is_none());
        }
        bytes.push(0);
        assert!(Security::load(&bytes).is_none());
        bytes.pop();
        bytes[0] = 8;
        assert!(Security::load(&bytes).is_none());
    }
}
