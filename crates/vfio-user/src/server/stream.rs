//! The socket: messages in, replies out, without ever waiting and without reading ahead.
//!
//! Descriptors arrive with the bytes they were sent with. Each message is read as exactly its
//! header, then exactly its payload, so that they cannot land on another message.

use crate::codec::{Header, HeaderError, MAX_FDS, MAX_PAYLOAD};
use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, recvmsg, send,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use thiserror::Error;

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Disconnect {
    /// The peer has closed it between two messages.
    #[error("the peer has closed the connection")]
    Clean,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Protocol(#[from] ProtocolError),
    /// The socket failed.
    #[error("the socket failed: {0}")]
    Io(#[from] Errno),
}

/// How a peer broke the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// A header that cannot be one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The connection was closed inside a message.
    #[error("closed inside a message")]
    Truncated,
    /// More descriptors with one message than were agreed on.
    #[error("more than {MAX_FDS} descriptors in one message")]
    TooManyDescriptors,
    /// A reply to a request that was never made.
    #[error("a reply where a command was expected")]
    UnexpectedReply,
    /// The first message is not VERSION.
    #[error("command {0} before VERSION")]
    VersionExpected(u16),
    /// VERSION once more, or with the wish for no reply.
    #[error("VERSION out of place")]
    VersionOutOfPlace,
    /// VERSION is malformed, or asks for another major version.
    #[error("the proposed version or its capabilities cannot be accepted")]
    VersionRefused,
}

/// A message as it came.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) fds: Vec<OwnedFd>,
}

/// What is being read.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Header,
    Payload(Header),
}

/// One stream socket to a peer.
#[derive(Debug)]
pub(super) struct Stream {
    socket: OwnedFd,
    stage: Stage,
    head: [u8; Header::SIZE],
    /// Fixed at the largest payload; pages that are never used are never touched.
    payload: Box<[u8]>,
    /// How much of the header or payload is there.
    have: usize,
    fds: Vec<OwnedFd>,
    /// The reply that the socket did not take whole, and how much of it is sent.
    out: Vec<u8>,
    sent: usize,
}

impl Stream {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            stage: Stage::Header,
            head: [0; Header::SIZE],
            payload: vec![0; MAX_PAYLOAD].into_boxed_slice(),
            have: 0,
            fds: Vec::new(),
            out: Vec::new(),
            sent: 0,
        }
    }

    /// Reads on until a message is complete; none if the socket has no more for now.
    pub(super) fn receive(&mut self) -> Result<Option<Message>, Disconnect> {
        loop {
            match self.stage {
                Stage::Header => {
                    if !self.fill(Header::SIZE)? {
                        return Ok(None);
                    }
                    let header = Header::decode(&self.head).map_err(ProtocolError::from)?;
                    self.stage = Stage::Payload(header);
                    self.have = 0;
                }
                Stage::Payload(header) => {
                    if !self.fill(header.payload_len())? {
                        return Ok(None);
                    }
                    self.stage = Stage::Header;
                    self.have = 0;
                    return Ok(Some(Message { header, fds: std::mem::take(&mut self.fds) }));
                }
            }
        }
    }

    /// The payload of the message that was received last.
    pub(super) fn payload(&self, header: &Header) -> &[u8] {
        &self.payload[..header.payload_len()]
    }

    /// Reads until `want` bytes of the current stage are there; false if it must wait for more.
    fn fill(&mut self, want: usize) -> Result<bool, Disconnect> {
        while self.have < want {
            let at_boundary = matches!(self.stage, Stage::Header) && self.have == 0;
            match self.receive_some(want) {
                Ok(0) if at_boundary => return Err(Disconnect::Clean),
                Ok(0) => return Err(ProtocolError::Truncated.into()),
                Ok(n) => self.have += n,
                Err(Disconnect::Io(Errno::AGAIN)) => return Ok(false),
                Err(Disconnect::Io(Errno::INTR)) => {}
                // The peer is gone, and had not read all of our replies.
                Err(Disconnect::Io(Errno::CONNRESET)) if at_boundary => {
                    return Err(Disconnect::Clean);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// One system call: bytes up to `want`, and the descriptors that come with them.
    fn receive_some(&mut self, want: usize) -> Result<usize, Disconnect> {
        let buf = match self.stage {
            Stage::Header => &mut self.head[self.have..want],
            Stage::Payload(_) => &mut self.payload[self.have..want],
        };
        // One more than allowed, so that one too many is seen rather than cut off.
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_FDS + 1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let got = recvmsg(&self.socket, &mut [IoSliceMut::new(buf)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                self.fds.extend(fds);
            }
        }
        if self.fds.len() > MAX_FDS {
            return Err(ProtocolError::TooManyDescriptors.into());
        }
        if got.flags.contains(ReturnFlags::CTRUNC) {
            // There was room for all of them: this process may open no more.
            return Err(Errno::MFILE.into());
        }
        Ok(got.bytes)
    }

    /// Whether a reply is waiting for the peer to read.
    pub(super) fn blocked(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends a reply, or keeps what the socket does not take. Only to be called when nothing is
    /// kept; the buffer is swapped for an empty one if it is kept, so that it can be used again.
    pub(super) fn send(&mut self, reply: &mut Vec<u8>) -> Result<(), Disconnect> {
        debug_assert!(!self.blocked());
        std::mem::swap(&mut self.out, reply);
        self.sent = 0;
        self.flush()?;
        if !self.blocked() {
            // Give the allocation back.
            std::mem::swap(&mut self.out, reply);
        }
        Ok(())
    }

    /// Sends what is kept, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> Result<(), Disconnect> {
        while self.sent < self.out.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match send(&self.socket, &self.out[self.sent..], flags) {
                Ok(n) => self.sent += n,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Disconnect::Clean),
                Err(errno) => return Err(errno.into()),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
