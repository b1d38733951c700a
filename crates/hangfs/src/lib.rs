//! A FUSE file system with one file, `disk`, whose requests hang on command: a disk that stalls
//! *in the kernel*, which no fault that a program injects into itself can do.
//!
//! It is served by a process of its own ([`Options::serve`], or the program `hangfs`), so that the
//! kernel can end its requests when that process dies: a process whose threads wait for a file
//! system that it serves itself can't even be killed. [`HangFs`] is such a process as seen by
//! whoever started it.
//!
//! # Commands
//!
//! One a line on standard input, each answered with a line on standard output:
//!
//! | command | answer | |
//! |---|---|---|
//! | `hang KIND…` | `ok` | what arrives from now on hangs: `open`, `read`, `write`, `fsync`, `fallocate`, `close`, `create` (of another file, which fails when it is released) |
//! | `clear` | `ok` | nothing new hangs; what hangs goes on hanging |
//! | `release` | a number | nothing new hangs, and what hangs is executed, late: so many |
//! | `pending [KIND]` | a number | so many requests hang |
//! | `fail-fsync`, `heal-fsync` | `ok` | from now on an fsync fails with EIO, or no longer |
//!
//! The first line on standard output is `mounted`, or `error: …`. At the end of the input, and at
//! the end of its life ([`Options::life`]), it unmounts and exits; what still hangs fails then.
//!
//! Left out: any second file, any change of size, and durability: it forgets its memory when it
//! ends (a backing file stays).

mod client;
mod content;
mod options;
mod server;

pub use client::HangFs;
pub use options::{Options, USAGE};
