//! The socket that peers connect to.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, lstat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// How many connections one call refuses at most.
const REFUSE_BATCH: usize = 16;

/// Why a path cannot be listened on. Nothing has been created or changed.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Another process serves this path.
    #[error("socket {0} is in use by a running server")]
    InUse(PathBuf),
    /// There is a file of another kind at this path, which is not for this program to remove.
    #[error("{0} exists and is not a socket")]
    NotASocket(PathBuf),
    /// The path does not fit into a socket address (107 bytes).
    #[error("socket path {0} is too long")]
    TooLong(PathBuf),
    /// The system refused.
    #[error("socket {path}: {errno}")]
    Os {
        /// Where.
        path: PathBuf,
        /// Why.
        errno: Errno,
    },
}

/// A Unix stream socket that listens at a path, and removes the path when it is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and inode of our socket, so that a successor's is not removed.
    identity: Option<(u64, u64)>,
}

impl Listener {
    /// Listens at a path. The socket of a server that is gone is removed first.
    pub fn bind(path: &Path) -> Result<Self, ListenError> {
        let os = |errno| ListenError::Os { path: path.to_owned(), errno };
        let address = SocketAddrUnix::new(path).map_err(|errno| match errno {
            Errno::NAMETOOLONG => ListenError::TooLong(path.to_owned()),
            errno => os(errno),
        })?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(os)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address)?;
                bind(&socket, &address).map_err(|errno| match errno {
                    Errno::ADDRINUSE => ListenError::InUse(path.to_owned()),
                    errno => os(errno),
                })?;
            }
            bound => bound.map_err(os)?,
        }
        let identity = lstat(path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        let listener = Self { socket, path: path.to_owned(), identity };
        listen(&listener.socket, 8).map_err(os)?;
        Ok(listener)
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the next peer, if one is waiting.
    ///
    /// # Errors
    /// If this process may open no more descriptors, the peer stays in the queue and the listener
    /// readable: the owner should not poll it again at once.
    pub fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        loop {
            match accept_with(&self.socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                Ok(socket) => return Ok(Some(socket)),
                Err(Errno::AGAIN) => return Ok(None),
                // The peer has given up already, or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Closes the connections that are waiting: there is one already, and a controller has one
    /// peer. Returns how many there were, of a bounded batch.
    pub fn refuse(&self) -> Result<usize, Errno> {
        let mut refused = 0;
        while refused < REFUSE_BATCH && self.accept()?.is_some() {
            refused += 1;
        }
        if refused > 0 {
            tracing::warn!("refused {refused} connection(s): the controller is in use");
        }
        Ok(refused)
    }
}

/// Removes what is at the path if it is a socket that nobody listens on.
///
/// The probe connects a datagram socket: the kernel finds the live socket behind the path before
/// it compares the types, so a live server answers EPROTOTYPE without noticing anything. (A real
/// connection would end a server that serves only one.)
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), ListenError> {
    let os = |errno| ListenError::Os { path: path.to_owned(), errno };
    match lstat(path) {
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(os(errno)),
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Socket => {
            return Err(ListenError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None).map_err(os)?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => {}
        Err(Errno::NOENT) => return Ok(()),
        Ok(()) | Err(Errno::PROTOTYPE | Errno::AGAIN) => {
            return Err(ListenError::InUse(path.to_owned()));
        }
        Err(errno) => return Err(os(errno)),
    }
    tracing::info!("removing the socket that a server left at {}", path.display());
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(os(Errno::from_io_error(&error).unwrap_or(Errno::IO)))
        }
        _ => Ok(()),
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let ours = lstat(&self.path).ok().map(|stat| (stat.st_dev, stat.st_ino));
        if ours.is_some() && ours == self.identity {
            // If it cannot be removed, the next server will find it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
