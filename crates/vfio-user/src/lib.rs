//! A vfio-user server for one PCI function: the transport between a virtual machine monitor and
//! the AHCI controller.
//!
//! ```text
//!   QEMU, Cloud Hypervisor
//!        │ Unix socket: messages, memfds, eventfds          guest memory (mmap'd memfds)
//!        ▼                                                        ▲
//!   ┌─ server ────────────────────────────────────┐               │
//!   │ Listener ─► Connection                       │        ┌─ dma ┴──────┐
//!   │   │  bytes ─► codec ─► Request ─► handler ───┼──map──►│ DmaSpace    │
//!   │   │  bytes ◄─ codec ◄─ reply   ◄──┘ │  │     │        └──────▲──────┘
//!   │   │                                 │  │     │               │ read, write
//!   │   │            ┌────────────────────┘  │     │               │
//!   │   │            ▼                       ▼     │               │
//!   │   │     pci::PciConfig ──route──► Interrupts─┼─► eventfds    │
//!   └───┼──────────────────────────────────────────┘               │
//!       │ BAR5 accesses                                            │
//!       ▼                                                          │
//!   Device (the HBA): mmio_read, mmio_write, reset ────────────────┘
//! ```
//!
//! - [`codec`]: the protocol's messages, as a pure function from bytes to values and back.
//! - [`pci`]: the configuration space of the function, a pure state machine.
//! - [`dma`]: the guest memory that the peer has mapped for us.
//! - [`server`]: sockets, connections and interrupts, driven by the owner's poll loop.
//! - [`client`]: a small blocking client for tests and measurements.
//!
//! Nothing here blocks: sockets are read and written without waiting, an unmap or a reset never
//! waits for anything, and a peer that stops reading stops being read from. Nothing here trusts
//! the peer: no allocation is sized by it, and whatever it sends ends in a reply or in a typed
//! [`server::Disconnect`].
//!
//! Left out on purpose: the poll loop itself (the program has one for all its descriptors), any
//! knowledge of AHCI beyond its PCI identity, live migration, and DMA by messages (guest memory
//! must be shared; the error says so).

#![deny(unsafe_code)]

pub mod client;
pub mod codec;
pub mod dma;
pub mod error;
mod mapping;
pub mod pci;
pub mod server;

pub use dma::DmaSpace;
pub use error::{DmaError, MapError};
pub use pci::{PciConfig, PciIdentity};
pub use server::{Connection, Device, Disconnect, Interrupt, Listener};
