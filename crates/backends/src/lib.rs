//! Storage that executes what [`freewheel_block::Engine`] asks for.
//!
//! [`mod@file`] opens raw image files and block devices, driven by io_uring or by a pool of threads.
//! The `conformance` feature adds the cases that every backend must pass (`conformance`).
//!
//! Left out on purpose: formats and network protocols (qcow2, NBD and RBD come as modules of their
//! own beside `file`), fault injection (`freewheel_block::fault`), and any knowledge of device
//! models.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod file;
