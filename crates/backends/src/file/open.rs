//! Opening an image.
//!
//! Everything that may wait (path look-up, locking, probing) happens here, before a device thread
//! has to do with it.

use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use freewheel_block::{Backend, BackendInfo, DiscardSupport, IoBuf, PAGE_BYTES};
use rustix::io::Errno;

use super::backend::FileBackend;
use super::detect::{self, FileSystem, MediumKind};
use super::error::OpenError;
use super::lock::lock;
use super::medium::Medium;
use super::policy::Policy;
use super::pool::Pool;
use super::ring::Ring;
use super::sync::Arc;
use super::wake::Wake;

/// The most requests at a time.
pub const MAX_QUEUE_DEPTH: u16 = 1024;

/// How the host caches the image. See [the module](crate::file).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// The page cache; durable after a flush.
    #[default]
    Writeback,
    /// O_DIRECT: no page cache; durable after a flush.
    None,
    /// The page cache, with each change durable before it completes.
    Writethrough,
}

/// What executes requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// io_uring if it is to be had, otherwise threads.
    #[default]
    Auto,
    /// io_uring, or an error.
    IoUring,
    /// Threads.
    Threads,
}

/// How to open an image.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// Refuse writes, and share the image with other readers.
    pub read_only: bool,
    /// Host caching.
    pub cache: Cache,
    /// What executes requests.
    pub engine: EngineChoice,
    /// Pass discards on (punch holes, trim).
    pub discard: bool,
    /// The logical sector that the device model shows: the size must be a multiple.
    pub sector_bytes: u32,
    /// Requests at a time, 1 to [`MAX_QUEUE_DEPTH`]; brought into that range.
    pub queue_depth: u16,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            cache: Cache::Writeback,
            engine: EngineChoice::Auto,
            discard: true,
            sector_bytes: 512,
            queue_depth: 64,
        }
    }
}

/// An open image.
pub struct OpenFile {
    /// What executes its requests.
    pub backend: Box<dyn Backend>,
    /// Readable whenever [`Backend::poll`] has something; `poll` clears it. For the owner's poll
    /// loop. io_uring may interrupt that loop's wait with EINTR, without a signal: it has to go on.
    pub wake: OwnedFd,
    /// What executes requests: `io_uring` or `threads`.
    pub engine: &'static str,
    /// What was found out, for people.
    pub notes: Vec<String>,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile")
            .field("info", self.backend.info())
            .field("notes", &self.notes)
            .finish_non_exhaustive()
    }
}

/// Opens the raw image at `path`, a regular file or a block device.
///
/// # Errors
/// See [`OpenError`]. A failed call has created and changed nothing, and leaves nothing open.
pub fn open(path: &Path, options: &FileOptions) -> Result<OpenFile, OpenError> {
    let sector = options.sector_bytes;
    if !(sector.is_power_of_two() && (512..=PAGE_BYTES as u32).contains(&sector)) {
        return Err(OpenError::BadSector { sector_bytes: sector });
    }
    let direct = options.cache == Cache::None;
    let (file, kind) = open_file(path, options.read_only, direct)?;
    let mut notes: Vec<String> = Vec::new();
    notes.extend(lock(&file, path, options.read_only)?.map(String::from));

    let align = alignment(&file, path, kind, direct)?;
    let size_bytes = size(&file, path, kind, u64::from(sector), align)?;
    let policy = Policy {
        kind,
        file_system: match kind {
            MediumKind::File => FileSystem::of(&file),
            MediumKind::Block => FileSystem::Other,
        },
        direct,
    };
    if direct {
        try_direct(&file, path, align)?;
    }

    // Probed last, because a hole punched beyond the end may still touch the time stamps.
    let (can_discard, write_zeroes, reads_zeroes) = match kind {
        _ if options.read_only => (false, false, false),
        MediumKind::File => {
            let punch = detect::can_punch(&file, size_bytes);
            (punch, punch, true)
        }
        MediumKind::Block => (detect::can_blk_discard(&file), true, false),
    };
    let discard = (can_discard && options.discard).then_some(DiscardSupport {
        align_bytes: match kind {
            MediumKind::File => 1,
            MediumKind::Block => align,
        },
        reads_zeroes,
    });

    let queue_depth = options.queue_depth.clamp(1, MAX_QUEUE_DEPTH);
    let io_error =
        |doing| move |source: io::Error| OpenError::Io { path: path.to_owned(), doing, source };
    let wake = Wake::new().map_err(io_error("making an eventfd"))?;
    let medium = Arc::new(Medium::new(file, kind));
    let ring = ring(&medium, &wake, queue_depth, options.engine, &mut notes)?;
    let engine = if ring.is_some() { "io_uring" } else { "threads" };
    notes.push(format!(
        "{}, {}, {align}-byte alignment, discard {}, write-zeroes {}",
        match kind {
            MediumKind::Block => "block device",
            MediumKind::File => policy.file_system.name(),
        },
        match options.cache {
            Cache::Writeback => "page cache",
            Cache::None => "O_DIRECT",
            Cache::Writethrough => "page cache, written through",
        },
        if discard.is_some() { "on" } else { "off" },
        if write_zeroes { "on" } else { "off" },
    ));

    let write_through = options.cache == Cache::Writethrough;
    let info = BackendInfo {
        engine_name: engine.into(),
        size_bytes,
        io_align_bytes: align,
        read_only: options.read_only,
        fua: write_through || policy.native_fua(),
        discard,
        write_zeroes,
        queue_depth,
    };
    let owners = wake.try_clone().map_err(io_error("copying an eventfd"))?;
    let wake = Arc::new(wake);
    // One more than requests, for a sync that nobody waits for any more.
    let threads = usize::from(queue_depth) + 1;
    let pool = Pool::new(medium, Arc::clone(&wake), threads)
        .map_err(|source| OpenError::NoThreads { threads, source })?;
    let backend = FileBackend::new(info, policy, write_through, ring, pool, wake);
    tracing::info!(path = %path.display(), engine, notes = ?notes, "image opened");
    Ok(OpenFile { backend: Box::new(backend), wake: owners, engine, notes })
}

fn open_file(path: &Path, read_only: bool, direct: bool) -> Result<(File, MediumKind), OpenError> {
    let owned = || path.to_owned();
    let failed =
        |doing| move |source: io::Error| open_error(path.to_owned(), read_only, doing, source);
    // Before opening: opening a pipe could wait for ever, and a tape would rewind.
    let found = std::fs::metadata(path).map_err(failed("stat"))?.file_type();
    let kind = medium_kind(found).map_err(|found| OpenError::WrongType { path: owned(), found })?;

    let mut flags = libc::O_NOCTTY; // std adds O_CLOEXEC
    if direct {
        flags |= libc::O_DIRECT;
    }
    if kind == MediumKind::Block && !read_only {
        flags |= libc::O_EXCL; // refuses a device that is mounted
    }
    let file =
        OpenOptions::new().read(true).write(!read_only).custom_flags(flags).open(path).map_err(
            |error| match error.raw_os_error() {
                Some(libc::EINVAL) if direct => OpenError::NoDirectIo { path: owned() },
                Some(libc::EBUSY) => OpenError::Busy { path: owned() },
                _ => failed("opening")(error),
            },
        )?;
    // Somebody may have put something else there meanwhile.
    let opened = file.metadata().map_err(failed("stat"))?.file_type();
    match medium_kind(opened) {
        Ok(opened) if opened == kind => Ok((file, kind)),
        Ok(_) => Err(OpenError::WrongType { path: owned(), found: "being replaced" }),
        Err(found) => Err(OpenError::WrongType { path: owned(), found }),
    }
}

fn medium_kind(found: FileType) -> Result<MediumKind, &'static str> {
    if found.is_file() {
        Ok(MediumKind::File)
    } else if found.is_block_device() {
        Ok(MediumKind::Block)
    } else if found.is_dir() {
        Err("a directory")
    } else if found.is_char_device() {
        Err("a character device")
    } else if found.is_fifo() {
        Err("a pipe")
    } else if found.is_socket() {
        Err("a socket")
    } else {
        Err("something else")
    }
}

fn open_error(path: PathBuf, read_only: bool, doing: &'static str, source: io::Error) -> OpenError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Missing { path },
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::Permission { path, read_only }
        }
        _ => OpenError::Io { path, doing, source },
    }
}

/// What offsets and lengths have to be multiples of.
fn alignment(file: &File, path: &Path, kind: MediumKind, direct: bool) -> Result<u64, OpenError> {
    let direct_align = if direct {
        detect::direct_align_bytes(file, kind)
            .filter(|align| *align <= PAGE_BYTES as u64)
            .ok_or_else(|| OpenError::NoDirectIo { path: path.to_owned() })?
    } else {
        1
    };
    if kind == MediumKind::File {
        return Ok(direct_align);
    }
    // Zeroing and discarding take whole sectors there, even where reading and writing, by way of
    // the page cache, would not care.
    let sector_bytes = detect::sector_bytes(file);
    if sector_bytes > PAGE_BYTES as u64 {
        return Err(OpenError::HugeSector { path: path.to_owned(), sector_bytes });
    }
    Ok(sector_bytes.max(direct_align))
}

fn size(
    mut file: &File,
    path: &Path,
    kind: MediumKind,
    sector_bytes: u64,
    align_bytes: u64,
) -> Result<u64, OpenError> {
    let size = match kind {
        MediumKind::File => file.metadata().map(|meta| meta.len()),
        MediumKind::Block => file.seek(SeekFrom::End(0)),
    };
    let size_bytes = size.map_err(|source| OpenError::Io {
        path: path.to_owned(),
        doing: "finding its size",
        source,
    })?;
    if size_bytes == 0 {
        return Err(OpenError::Empty { path: path.to_owned() });
    }
    for (multiple_bytes, because) in
        [(sector_bytes, "the sector size"), (align_bytes, "the alignment that its storage needs")]
    {
        if !size_bytes.is_multiple_of(multiple_bytes) {
            return Err(OpenError::BadSize {
                path: path.to_owned(),
                size_bytes,
                // The remedy should satisfy both.
                multiple_bytes: sector_bytes.max(align_bytes),
                because,
            });
        }
    }
    Ok(size_bytes)
}

/// Some file systems take O_DIRECT at open and refuse it at the first read.
fn try_direct(file: &File, path: &Path, align_bytes: u64) -> Result<(), OpenError> {
    let mut buf = IoBuf::new(0, PAGE_BYTES);
    loop {
        match rustix::io::pread(file, &mut buf.bytes_mut()[..align_bytes as usize], 0) {
            Err(Errno::INTR) => {}
            Err(Errno::INVAL) => {
                return Err(OpenError::NoDirectIo { path: path.to_owned() });
            }
            Err(errno) => {
                return Err(OpenError::Io {
                    path: path.to_owned(),
                    doing: "reading its first block",
                    source: errno.into(),
                });
            }
            Ok(_) => return Ok(()),
        }
    }
}

/// The ring, if it is wanted and to be had.
fn ring(
    medium: &Arc<Medium>,
    wake: &Wake,
    queue_depth: u16,
    choice: EngineChoice,
    notes: &mut Vec<String>,
) -> Result<Option<Ring>, OpenError> {
    if choice == EngineChoice::Threads {
        return Ok(None);
    }
    match Ring::new(Arc::clone(medium), wake, queue_depth) {
        Ok(ring) => Ok(Some(ring)),
        Err(source) if choice == EngineChoice::IoUring => Err(OpenError::NoIoUring { source }),
        Err(error) => {
            tracing::warn!(%error, "io_uring is not available, using threads");
            notes.push(format!("threads, because io_uring is not available: {error}"));
            Ok(None)
        }
    }
}
