//! The tray and what lies in it: insert, eject, the host's lock, and how the host learns of each.
//!
//! A medium is an engine over an image. Whoever takes it out gets the engine back with whatever the
//! storage still owes it, so that its orphans outlive the drive's use of it (contract C4, C7).

use alloc::boxed::Box;

use freewheel_block::{BackendInfo, Engine, Nanos};

use super::Drive;
use super::sector::USER_BYTES;
use super::sense::Sense;

/// The kind of disc that an image passes for; its size decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disc {
    /// Up to 80 minutes.
    Cd,
    /// Up to two layers of a DVD.
    Dvd,
    /// Whatever is larger.
    Bd,
}

/// Sectors of an 80-minute CD.
const CD_MAX_SECTORS: u32 = 80 * 60 * 75;
/// Sectors of a DVD-ROM with two layers (ECMA-267).
const DVD_MAX_SECTORS: u32 = 4_173_824;

/// An image in the drive.
pub(crate) struct Medium {
    pub(crate) engine: Engine,
    /// Blocks of 2,048 bytes; at least one. 2^32 of them would have no READ CAPACITY.
    pub(crate) sectors: u32,
}

impl Medium {
    pub(crate) fn disc(&self) -> Disc {
        match self.sectors {
            sectors if sectors <= CD_MAX_SECTORS => Disc::Cd,
            sectors if sectors <= DVD_MAX_SECTORS => Disc::Dvd,
            _ => Disc::Bd,
        }
    }
}

/// Why an image cannot be inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// There is one already.
    #[error("there is a medium in the drive; eject it first")]
    Occupied,
    /// It has no whole block.
    #[error("the image has {0} bytes, less than one block of 2048")]
    Empty(u64),
    /// Its blocks cannot be numbered.
    #[error("the image has {0} bytes; a drive's medium has at most 8 TiB")]
    TooLarge(u64),
}

/// The host has locked the medium into the drive (PREVENT ALLOW MEDIUM REMOVAL).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the guest has locked the medium; it has been asked to let go of it")]
pub struct Locked;

/// The tray, and what the host is still to be told of it.
pub(crate) struct Bay {
    medium: Option<Medium>,
    open: bool,
    /// PREVENT without, and with, the persistent bit.
    pub(crate) prevented: bool,
    pub(crate) prevented_persistently: bool,
    /// Unit attention conditions.
    reset_attention: bool,
    change_attention: bool,
    /// Media events (MMC-6, GET EVENT STATUS NOTIFICATION), and whether the host has been told
    /// that there are any.
    pub(crate) removal: bool,
    pub(crate) new_media: bool,
    pub(crate) eject_request: bool,
    pub(crate) notice_due: bool,
    /// The medium went while a command read it.
    pub(crate) lost: bool,
}

impl Bay {
    pub(crate) fn empty() -> Self {
        Self {
            medium: None,
            open: false,
            prevented: false,
            prevented_persistently: false,
            reset_attention: true,
            change_attention: false,
            removal: false,
            new_media: false,
            eject_request: false,
            notice_due: false,
            lost: false,
        }
    }

    /// A reset is reported, and unlocks the tray; the medium stays, and so do its events.
    pub(crate) fn reset(&mut self) {
        self.reset_attention = true;
        self.prevented = false;
        self.prevented_persistently = false;
    }

    pub(crate) fn medium(&self) -> Option<&Medium> {
        self.medium.as_ref()
    }

    pub(crate) fn medium_mut(&mut self) -> Option<&mut Medium> {
        self.medium.as_mut()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.prevented || self.prevented_persistently
    }

    /// The medium that can be read, or why there is none.
    pub(crate) fn ready(&self) -> Result<&Medium, Sense> {
        match &self.medium {
            _ if self.open => Err(Sense::TRAY_OPEN),
            None => Err(Sense::NO_MEDIUM),
            Some(medium) => Ok(medium),
        }
    }

    /// The unit attention to be reported, which is so just once.
    pub(crate) fn take_attention(&mut self) -> Option<Sense> {
        if core::mem::take(&mut self.reset_attention) {
            Some(Sense::RESET)
        } else if core::mem::take(&mut self.change_attention) {
            Some(Sense::MEDIUM_CHANGED)
        } else {
            None
        }
    }

    /// A tray with a medium in it has closed.
    fn arrived(&mut self) {
        self.change_attention = !freewheel_block::sabotaged!(ChangeUnsaid);
        self.new_media = true;
        self.notice_due = true;
    }

    /// The medium is out of reach; nothing is left to be said of its arrival.
    fn departed(&mut self) {
        self.change_attention = false;
        self.new_media = false;
        self.eject_request = false;
        self.removal = true;
        self.notice_due = true;
    }

    /// The host opens the tray; the medium lies in it until it is taken or the tray is closed.
    pub(crate) fn open(&mut self) -> Result<(), Sense> {
        if self.is_locked() {
            return Err(Sense::REMOVAL_PREVENTED);
        }
        if !self.open {
            self.open = true;
            self.departed();
        }
        Ok(())
    }

    /// The host closes the tray.
    pub(crate) fn close(&mut self) {
        if core::mem::take(&mut self.open) && self.medium.is_some() {
            self.arrived();
        }
    }
}

impl Drive {
    /// Whether an image of this kind can be inserted now.
    pub fn check_insert(&self, image: &BackendInfo) -> Result<(), InsertError> {
        let size_bytes = image.size_bytes;
        let sectors = size_bytes / USER_BYTES as u64;
        if self.bay.medium.is_some() {
            return Err(InsertError::Occupied);
        }
        match u32::try_from(sectors) {
            Ok(0) => Err(InsertError::Empty(size_bytes)),
            Ok(_) => Ok(()),
            Err(_) => Err(InsertError::TooLarge(size_bytes)),
        }
    }

    /// Puts `engine`'s image into the drive and closes the tray; the host is told. A part of a
    /// block at the image's end is not there for the host. The engine comes back if it cannot be.
    pub fn insert(&mut self, engine: Engine) -> Result<(), (InsertError, Box<Engine>)> {
        if let Err(why) = self.check_insert(engine.info()) {
            return Err((why, Box::new(engine)));
        }
        let sectors = (engine.info().size_bytes / USER_BYTES as u64) as u32;
        self.bay.medium = Some(Medium { engine, sectors });
        self.bay.open = false;
        self.bay.arrived();
        Ok(())
    }

    /// Opens the tray and takes the medium out, at once, whatever the storage does (C1). A command
    /// that is reading it ends with an error from the next [`poll`](crate::Device::poll).
    ///
    /// If the host has locked the medium, it is asked to let go of it, and nothing else happens;
    /// with `force`, its lock does not count.
    pub fn eject(&mut self, force: bool, now: Nanos) -> Result<Option<Engine>, Locked> {
        if self.bay.is_locked() && !force {
            self.bay.eject_request = true;
            self.bay.notice_due = true;
            return Err(Locked);
        }
        if !self.bay.open {
            self.bay.departed();
        }
        self.bay.open = true;
        self.bay.prevented = false;
        self.bay.prevented_persistently = false;
        self.answer = None;
        // Whoever has the engine polls it.
        self.kick_due = None;
        self.bay.lost = self.reading.is_some() && !freewheel_block::sabotaged!(EjectForgetsHost);
        Ok(self.bay.medium.take().map(|medium| {
            let mut engine = medium.engine;
            if !freewheel_block::sabotaged!(EjectKeepsReading) {
                engine.cancel_all(now);
            }
            engine
        }))
    }

    /// Whether the tray is open: the host may have opened it.
    pub fn is_tray_open(&self) -> bool {
        self.bay.open
    }

    /// Whether the host has locked the tray.
    pub fn is_locked(&self) -> bool {
        self.bay.is_locked()
    }

    /// Whether there is a medium, in an open or a closed tray.
    pub fn has_medium(&self) -> bool {
        self.bay.medium.is_some()
    }
}
