//! What the fuzz targets do with an input. Each target is a function from bytes to a panic, or none;
//! `targets/` hands them to libFuzzer. See `README.md` in this folder.
//!
//! An input is a list of events in a format that costs a mutation little: an opcode byte, then
//! fields of fixed size; what the input is too short for is zero. The seeds are written by the same
//! hand ([`Writer`]), so that the format needs no other description.

pub mod ata;
pub mod atapi;
pub mod fis;
pub mod hba;
pub mod saved_state;
pub mod storage;
pub mod vfio_user;

#[path = "../../crates/ata/tests/disk/ledger.rs"]
mod ledger;

use std::path::Path;

/// Reads an input.
pub struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    /// The whole of `data`.
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let part = self.slice(N);
        bytes[..part.len()].copy_from_slice(part);
        bytes
    }

    /// Up to `len` bytes.
    pub fn slice(&mut self, len: usize) -> &'a [u8] {
        let (part, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        part
    }

    /// A byte.
    pub fn u8(&mut self) -> u8 {
        self.array::<1>()[0]
    }

    /// Two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

/// Writes an input, for seeds.
#[derive(Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Appends bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The input.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Writes `seeds` into the directory that `FREEWHEEL_FUZZ_SEEDS` names, if it does: before libFuzzer
/// reads its corpus, so that naming the same directory twice is enough.
///
/// # Panics
/// If it cannot: a run without its seeds would look like one with them.
pub fn write_seeds(seeds: &[(&str, Vec<u8>)]) {
    let Some(dir) = std::env::var_os("FREEWHEEL_FUZZ_SEEDS") else { return };
    for (name, seed) in seeds {
        std::fs::write(Path::new(&dir).join(format!("seed-{name}")), seed).expect("seeds");
    }
}
