//! The world around a controller, without a VM: guest memory that notices what a device does to
//! it, a guest driver at register level, a disk in memory, a clock that only moves when told, and
//! the [`drill`] that puts the contract (`docs/contract.md`) to the test on any backend.
//!
//! ```text
//!   Driver ──registers──► Machine { Hba ─► Device ─► Engine ─► backend }
//!     └─command list, PRDT, data─► GuestRam ◄─DMA──┘
//! ```
//!
//! The driver talks to the controller as an operating system does: through registers and memory
//! only. Everything is deterministic; time and waiting come from an [`Environment`].
//!
//! The [`simulator`] is another world, built for speed: a random workload with an oracle, many
//! thousand runs a second, for finding what nobody thought of.
//!
//! Left out: files and real clocks (the program supplies an [`Environment`] of its own).

#![forbid(unsafe_code)]

mod clock;
pub mod drill;
mod driver;
mod machine;
mod memory_disk;
mod ram;
pub mod simulator;

pub use clock::{Environment, Usage, VirtualClock};
pub use driver::{
    Command, Completions, Direction, Driver, DriverError, Identity, Layout, NcqError, PrdtEntry,
    ResetOutcome, ResetWay, enable_hba, reset_hba,
};
pub use machine::Machine;
pub use memory_disk::{LogEntry, MemoryDisk, MemoryDiskConfig, PendingIo};
pub use ram::{Access, Breach, GuestRam};
