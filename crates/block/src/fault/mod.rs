//! Injected faults: a layer over any backend that makes it late, stuck, failing, short or wrong, on
//! demand. `docs/faults.md` has a section on each fault.
//!
//! [`FaultSpec`] is the grammar that people type. [`FaultLayer`] is a stack of parts that each do
//! one thing; a request passes them from the top, and its completion from the bottom:
//!
//! ```text
//!   engine
//!     │  rules     which faults fire for this request: counted, drawn and decided once
//!     │  hang      keeps it until it is released
//!     │  delay     keeps it for a time
//!     │  error     answers for the storage
//!     │  corrupt   damages a write's data ↓, a read's ↑
//!     │  short     asks for less ↓, gives the request back whole ↑
//!     ▼
//!   backend
//! ```
//!
//! What fires is decided by counting and by generators that start from a seed: the same requests
//! meet the same faults. Everything is bounded: faults by [`MAX_FAULTS`], requests that are kept or
//! remembered by the number that the engine hands over at a time.
//!
//! Left out: faults of the link. The grammar has them, but they belong to a port
//! (`freewheel_ahci::Hba::inject_link_fault`).

mod corrupt;
mod delay;
mod error;
mod hang;
mod layer;
mod random;
mod rules;
mod short;
mod spec;
#[cfg(test)]
mod tests;

pub use layer::FaultLayer;
pub use rules::{MAX_FAULTS, UnsupportedFault};
pub use spec::{FaultAction, FaultParseError, FaultSpec, LinkFault, OpMatch};
