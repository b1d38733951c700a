//! Why an image cannot be opened.

use std::io;
use std::path::PathBuf;

/// Why [`open`](crate::file::open) refused an image. Nothing has been created or changed.
///
/// Displayed as `cause; remedy` in one line; [`OpenError::cause`] and [`OpenError::remedy`] give
/// the halves.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no such file.
    Missing {
        /// The image.
        path: PathBuf,
    },
    /// It is neither a regular file nor a block device.
    WrongType {
        /// The image.
        path: PathBuf,
        /// What it is instead.
        found: &'static str,
    },
    /// The operating system denies access.
    Permission {
        /// The image.
        path: PathBuf,
        /// Whether reading alone was asked for.
        read_only: bool,
    },
    /// Somebody else has it open.
    Locked {
        /// The image.
        path: PathBuf,
        /// Whether reading alone was asked for, so that only a writer is in the way.
        read_only: bool,
    },
    /// The kernel holds the block device: a mount, a volume, a RAID member.
    Busy {
        /// The image.
        path: PathBuf,
    },
    /// It is empty.
    Empty {
        /// The image.
        path: PathBuf,
    },
    /// Its size is not a multiple of what it must be.
    BadSize {
        /// The image.
        path: PathBuf,
        /// Its size.
        size_bytes: u64,
        /// What the size must be a multiple of.
        multiple_bytes: u64,
        /// Why: the sector size, or O_DIRECT.
        because: &'static str,
    },
    /// The sector size is no power of two from 512 to 4096.
    BadSector {
        /// What was asked for.
        sector_bytes: u32,
    },
    /// The block device has sectors larger than a page.
    HugeSector {
        /// The image.
        path: PathBuf,
        /// Its logical sector.
        sector_bytes: u64,
    },
    /// Its file system, or the way it is laid out, has no O_DIRECT.
    NoDirectIo {
        /// The image.
        path: PathBuf,
    },
    /// io_uring was asked for by name and is not to be had.
    NoIoUring {
        /// What the kernel said.
        source: io::Error,
    },
    /// There can't be as many threads as requests at a time.
    NoThreads {
        /// How many were to be started.
        threads: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else the operating system reported.
    Io {
        /// The image.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl OpenError {
    /// What is wrong, in one line.
    pub fn cause(&self) -> String {
        match self {
            Self::Missing { path } => format!("image {}: there is no such file", path.display()),
            Self::WrongType { path, found } => {
                format!("image {}: it is {found}, not a file or a block device", path.display())
            }
            Self::Permission { path, read_only } => format!(
                "image {}: no permission to {} it",
                path.display(),
                if *read_only { "read" } else { "read and write" }
            ),
            Self::Locked { path, read_only: true } => {
                format!("image {}: another process has it open for writing", path.display())
            }
            Self::Locked { path, read_only: false } => {
                format!("image {}: another process has it open", path.display())
            }
            Self::Busy { path } => format!(
                "image {}: the block device is mounted, part of a volume, or open for exclusive use",
                path.display()
            ),
            Self::Empty { path } => format!("image {}: it is empty", path.display()),
            Self::BadSize { path, size_bytes, multiple_bytes, because } => format!(
                "image {}: its size of {size_bytes} bytes is not a multiple of {multiple_bytes} ({because})",
                path.display()
            ),
            Self::BadSector { sector_bytes } => {
                format!("a sector of {sector_bytes} bytes is not possible")
            }
            Self::HugeSector { path, sector_bytes } => format!(
                "image {}: its sectors of {sector_bytes} bytes are larger than 4096",
                path.display()
            ),
            Self::NoDirectIo { path } => {
                format!(
                    "image {}: its storage does not support O_DIRECT (cache=none)",
                    path.display()
                )
            }
            Self::NoIoUring { source } => format!("io_uring is not available: {source}"),
            Self::NoThreads { threads, source } => {
                format!("{threads} threads for an image could not be started: {source}")
            }
            Self::Io { path, doing, source } => {
                format!("image {}: {doing} failed: {source}", path.display())
            }
        }
    }

    /// What to do about it, in one line.
    pub fn remedy(&self) -> String {
        match self {
            Self::Missing { path } => {
                format!("check the path, or create it: truncate -s 10G {}", path.display())
            }
            Self::WrongType { .. } => "name a raw image file or a block device".into(),
            Self::Permission { read_only: true, .. } => {
                "run as a user who may read it, or change its permissions".into()
            }
            Self::Permission { read_only: false, .. } => {
                "run as a user who may write it, change its permissions, or use readonly=on".into()
            }
            Self::Locked { path, read_only } => format!(
                "end that process (find it with: lsof {0}){1}",
                path.display(),
                if *read_only { "" } else { ", or share it with readonly=on at both sides" }
            ),
            Self::Busy { path } => format!(
                "unmount it, or see who holds it with: lsblk {}",
                path.display()
            ),
            Self::Empty { path } => format!("give it a size: truncate -s 10G {}", path.display()),
            Self::BadSize { path, multiple_bytes, .. } => format!(
                "round its size up: truncate -s %{multiple_bytes} {}",
                path.display()
            ),
            Self::BadSector { .. } => "use 512 or 4096".into(),
            Self::HugeSector { .. } => "put a file system with an image file on it".into(),
            Self::NoDirectIo { .. } => "use cache=writeback or cache=writethrough".into(),
            // A user's rings all count as locked memory.
            Self::NoIoUring { source } if source.kind() == io::ErrorKind::OutOfMemory => {
                "raise the limit on locked memory (ulimit -l), or use engine=threads".into()
            }
            Self::NoIoUring { .. } => {
                "use engine=auto or engine=threads, or allow it: sysctl kernel.io_uring_disabled=0, \
                 and a seccomp profile that permits io_uring_setup"
                    .into()
            }
            Self::NoThreads { .. } => {
                "raise the limit on threads (ulimit -u, or pids.max of the cgroup)".into()
            }
            Self::Io { .. } => "check the storage and the kernel log (dmesg)".into(),
        }
    }
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause(), self.remedy())
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoIoUring { source }
            | Self::NoThreads { source, .. }
            | Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
