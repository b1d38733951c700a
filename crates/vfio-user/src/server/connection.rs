//! A connection: messages in, calls to the device, replies out, within bounds.

use super::device::{Device, Interrupt};
use super::handler::Function;
use super::stream::{Disconnect, ProtocolError, Stream};
use crate::codec::{Command, Request, encode_error, encode_reply};
use crate::dma::DmaSpace;
use crate::pci::PciConfig;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;

/// How many messages one call of [`Connection::on_ready`] handles at most.
const BATCH_MESSAGES: usize = 64;
/// How many bytes of payload it takes, after which no further message is begun.
const BATCH_BYTES: usize = 256 << 10;
/// How many refused messages are worth a warning on one connection; a peer that goes on fills no
/// log.
const WARNINGS: u32 = 8;

/// A connected peer, and the PCI function as it sees it.
///
/// At most one reply is ever kept: while the peer does not read it, nothing more is read from the
/// peer, so that what it can make this process hold is bounded by one message each way.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    function: Function,
    negotiated: bool,
    ended: Option<Disconnect>,
    reply: Vec<u8>,
    warnings_left: u32,
}

impl Connection {
    /// Serves a function with this configuration space to the peer at the other end of a stream
    /// socket. The space is reset first: each peer starts with a function after power-on.
    #[must_use]
    pub fn new(socket: OwnedFd, mut config: PciConfig) -> Self {
        config.reset();
        Self {
            stream: Stream::new(socket),
            function: Function::new(config),
            negotiated: false,
            ended: None,
            reply: Vec::new(),
            warnings_left: WARNINGS,
        }
    }

    /// Does what the socket is ready for: sends what was kept, then handles up to a batch of
    /// messages. Never waits; a call without need is cheap.
    ///
    /// # Errors
    /// When the connection has ended, and then with the same reason at each further call. The
    /// owner resets the device and drops the connection.
    pub fn on_ready(&mut self, device: &mut dyn Device) -> Result<(), Disconnect> {
        if let Some(reason) = self.ended {
            return Err(reason);
        }
        self.batch(device).inspect_err(|&reason| {
            self.ended = Some(reason);
            match reason {
                Disconnect::Clean => tracing::info!("{reason}"),
                Disconnect::Protocol(_) | Disconnect::Io(_) => tracing::warn!("{reason}"),
            }
        })
    }

    /// Whether the descriptor is to be polled for reading.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.ended.is_none() && !self.stream.blocked()
    }

    /// Whether the descriptor is to be polled for writing.
    #[must_use]
    pub fn wants_write(&self) -> bool {
        self.ended.is_none() && self.stream.blocked()
    }

    /// Whether the peer has agreed on a version.
    #[must_use]
    pub fn negotiated(&self) -> bool {
        self.negotiated
    }

    /// Follows a change of the device's interrupt: fires the eventfd that the guest has set up,
    /// now or as soon as it may be fired.
    pub fn set_interrupt(&mut self, level: bool, messages: u32) {
        self.function.set_interrupt(Interrupt { level, messages });
    }

    /// Guest memory, for completions that are not an answer to a message.
    #[must_use]
    pub fn dma(&self) -> &DmaSpace {
        self.function.dma()
    }

    /// The configuration space, to look at.
    #[must_use]
    pub fn pci(&self) -> &PciConfig {
        self.function.pci()
    }

    fn batch(&mut self, device: &mut dyn Device) -> Result<(), Disconnect> {
        self.stream.flush()?;
        let mut bytes = 0;
        for _ in 0..BATCH_MESSAGES {
            if self.stream.blocked() || bytes > BATCH_BYTES {
                break;
            }
            let Some(message) = self.stream.receive()? else {
                break;
            };
            bytes += message.header.payload_len();
            self.handle(message, device)?;
            if device.is_over_time() {
                break;
            }
        }
        Ok(())
    }

    fn handle(
        &mut self,
        message: super::stream::Message,
        device: &mut dyn Device,
    ) -> Result<(), Disconnect> {
        let super::stream::Message { header, mut fds } = message;
        if header.is_reply() {
            return Err(ProtocolError::UnexpectedReply.into());
        }
        let is_version = header.command == Command::Version as u16;
        match (self.negotiated, is_version) {
            (false, false) => return Err(ProtocolError::VersionExpected(header.command).into()),
            (true, true) => return Err(ProtocolError::VersionOutOfPlace.into()),
            (false, true) if header.no_reply() => {
                return Err(ProtocolError::VersionOutOfPlace.into());
            }
            _ => {}
        }
        let payload = self.stream.payload(&header);
        tracing::trace!("{header:?} {} descriptor(s)", fds.len());
        let result = match Request::decode(&header, payload) {
            Err(error) => Err(Refusal { errno: Errno::INVAL, why: error.to_string() }),
            Ok(request) => self.function.handle(&request, &mut fds, payload.len(), device),
        };
        match result {
            Ok(reply) => encode_reply(&mut self.reply, &header, &reply.borrow(&self.function)),
            Err(refusal) => {
                let Refusal { errno, why } = &refusal;
                if self.warnings_left > 0 {
                    self.warnings_left -= 1;
                    tracing::warn!("refused command {}: {why}", header.command);
                } else {
                    tracing::debug!("refused command {}: {why}", header.command);
                }
                encode_error(&mut self.reply, &header, *errno);
                if is_version {
                    // The peer is told, if its socket has room, and that is the end.
                    self.stream.send(&mut self.reply)?;
                    return Err(ProtocolError::VersionRefused.into());
                }
            }
        }
        self.negotiated = true;
        if header.no_reply() { Ok(()) } else { self.stream.send(&mut self.reply) }
    }
}

/// Why a request gets an error reply.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) errno: Errno,
    pub(super) why: String,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
