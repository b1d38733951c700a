//! Disks, drives and discs that come and go, by a guest driver at register level.

mod drive;
mod hanging;
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
mod support;
