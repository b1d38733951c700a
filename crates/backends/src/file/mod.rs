//! Raw images: regular files and block devices.
//!
//! ```text
//!   FileBackend (device thread; never blocks)
//!     ├─ Ring       requests that io_uring can take without waiting for the storage
//!     ├─ Pool       every other request; as many threads as requests, started at open
//!     └─ SyncGroup  everybody who waits for durability; one fdatasync at a time
//!            └── Medium: the open file and what was found out about it
//! ```
//!
//! The two engines differ only in what goes through the ring; `threads` simply has none. What may
//! go through it, and why no more does, is written down in `policy`.
//!
//! # Caching and durability
//! * `writeback`: the kernel's page cache; durable after a flush (`fdatasync`).
//! * `none`: `O_DIRECT`; durable after a flush, or by itself with FUA where the file system does
//!   that in one step.
//! * `writethrough`: the page cache, and every write, discard and write-zeroes is completed only
//!   after an `fdatasync` that began after it.
//!
//! Once an `fdatasync` has failed, the kernel has dropped the pages it could not write, and would
//! report the next one as a success. So the first failure is kept, whoever asked for that flush:
//! from then on flushes and durable writes fail until the image is opened again.
//!
//! # Dropping a backend with requests in flight
//! Nothing is waited for. The buffers that the kernel may still write to are leaked, and threads
//! that hang are left behind with what they hold. The open file, and so its lock, lasts until the
//! last of them is done: while an abandoned write may still land, nobody else can open the image.

mod backend;
mod detect;
mod error;
mod lock;
mod medium;
mod open;
mod policy;
mod pool;
mod queue;
mod ring;
mod sabotage;
mod sync;
mod sync_group;
mod sys;
mod wake;

pub use error::OpenError;
pub use open::{Cache, EngineChoice, FileOptions, MAX_QUEUE_DEPTH, OpenFile, open};
