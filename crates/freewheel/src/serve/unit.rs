//! Disks and drives as the loop and the status know them. The device itself belongs to the HBA, or,
//! once it has been taken off, to [`Custody`](super::custody::Custody).

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::shutdown::Flush;
use super::state_file::Writer;
use crate::cdrom::ImageOptions;
use crate::place::Place;

/// One file, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of the file at `path`. May block.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        // Two nodes of one block device are the same storage.
        let (device, inode) = match metadata.rdev() {
            0 => (metadata.dev(), metadata.ino()),
            rdev => (u64::MAX, rdev),
        };
        Some(Self { device, inode })
    }
}

/// An image that is open.
pub(super) struct Image {
    pub(super) path: String,
    pub(super) identity: Option<Identity>,
    pub(super) read_only: bool,
    /// Readable when its engine has something to be polled for.
    pub(super) wake: OwnedFd,
}

/// A disk, or a drive with or without a medium.
pub(super) struct Unit {
    pub(super) place: Place,
    pub(super) image: Option<Image>,
    /// How a drive opens its images; `None` for a disk.
    pub(super) drive: Option<ImageOptions>,
    pub(super) sector_bytes: u64,
    /// The state file of a disk.
    pub(super) state: Option<Writer>,
    /// How far the flush at the end is.
    pub(super) flush: Flush,
}

impl Unit {
    /// For people.
    pub(super) fn name(&self) -> &str {
        self.image.as_ref().map_or("(no medium)", |image| &image.path)
    }
}
