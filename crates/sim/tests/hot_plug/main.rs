//! Disks, drives and discs that come and go, by a guest driver at register level.

mod cycles;
mod drive;
mod hanging;
mod support;
