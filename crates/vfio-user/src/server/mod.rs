//! The server: a socket that listens, the one connection it serves, and its interrupts.
//!
//! Everything is driven by the owner's poll loop:
//!
//! 1. When the [`Listener`] is readable, [`Listener::accept`] and make a [`Connection`]; while
//!    there is one already, [`Listener::refuse`].
//! 2. Poll the connection's descriptor (level-triggered) for what [`Connection::wants_read`] and
//!    [`Connection::wants_write`] say, and call [`Connection::on_ready`]. It handles a bounded
//!    batch of messages and returns; what is left makes the descriptor ready again.
//! 3. When the device changes its interrupt outside of that call (a command has completed), call
//!    [`Connection::set_interrupt`].
//! 4. On a [`Disconnect`], reset the device and drop the connection. With it go all mappings of
//!    guest memory and all eventfds.
//!
//! What QEMU's client expects, and the specification does not say:
//!
//! - Version 0.0 is announced, and a higher one refused: [`crate::codec::VersionRequest::answer`].
//! - No reply may be longer than its request, except to REGION_READ.
//! - A header must be readable in one piece. Each reply is therefore sent by a system call of its
//!   own, whose first bytes are its header; replies are never joined.
//! - A register read is synchronous and holds up the whole VM, so requests are answered in the
//!   order in which they come and within the call that read them.
//!
//! Left out: DMA by messages, ioeventfds, the twin socket, migration. A resample eventfd (SET_IRQS
//! with UNMASK and an eventfd) is refused; QEMU under KVM then does without it and says so.

mod connection;
mod device;
mod handler;
mod irq;
mod listener;
mod stream;

pub use connection::Connection;
pub use device::{Device, Interrupt};
pub use irq::IrqError;
pub use listener::{ListenError, Listener};
pub use stream::{Disconnect, ProtocolError};
