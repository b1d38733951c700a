//! What a disk is, beneath any device model: operations, the engine that runs them, and the
//! trait that storage implements.
//!
//! ```text
//!   device model (ATA disk, virtio-blk)
//!        │  Request              ▲  Answer: exactly one per request
//!        ▼                       │
//!   ┌─ Engine ───────────────────────────────────────────────┐
//!   │  operations  queued ─► held behind a fence ─► running   │
//!   │  slots       free ─► submitted ─► orphaned ─► free      │
//!   │  fences      LBA ranges that an orphan may still change │
//!   └────────────────────────────────────────────────────────┘
//!        │  Io (owns its buffer) ▲  Done (gives it back)
//!        ▼                       │
//!   Backend, perhaps behind layers such as fault::FaultLayer
//! ```
//!
//! The engine keeps the project's contract (`docs/contract.md`): cancelling never waits for the
//! backend, a cancelled operation touches neither guest memory nor newer data, and every resource
//! is bounded. Everything here is a pure state machine: time is a parameter, guest memory is
//! reached through [`Client`], and a backend is whatever implements [`Backend`].
//!
//! Left out on purpose: threads, files, clocks, sockets (crates above and beside supply them), and
//! any knowledge of ATA or virtio.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

/// Whether the named way of breaking the contract is chosen: never, without the feature `sabotage`.
#[cfg(feature = "sabotage")]
#[macro_export]
macro_rules! sabotaged {
    ($which:ident) => {
        $crate::sabotage::is_chosen($crate::sabotage::Sabotage::$which)
    };
}

/// Whether the named way of breaking the contract is chosen: never, without the feature `sabotage`.
#[cfg(not(feature = "sabotage"))]
#[macro_export]
#[doc(hidden)]
macro_rules! sabotaged {
    ($which:ident) => {
        $crate::never()
    };
}

/// What is not chosen: nothing is, without the feature `sabotage`.
#[cfg(not(feature = "sabotage"))]
#[doc(hidden)]
#[inline(always)]
pub const fn never() -> bool {
    false
}

mod backend;
mod buffer;
mod engine;
pub mod fault;
mod fence;
mod operation;
mod status;

pub use backend::{Backend, BackendInfo, DiscardSupport, Done, Io, IoId};
pub use buffer::{IoBuf, PAGE_BYTES};
#[cfg(feature = "sabotage")]
pub use engine::sabotage;
pub use engine::{Client, Engine, EngineConfig, GuestMemoryError, OpError, OpToken, SubmitError};
pub use operation::{ByteRange, IoError, Nanos, OpKind, Request};
pub use status::{Counters, EngineStatus, OpState, OpStatus, OrphanStatus, TraceEvent, TraceKind};
