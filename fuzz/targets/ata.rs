//! See `freewheel_fuzz::ata`.
#![no_main]

use freewheel_fuzz::{ata, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&ata::seeds()), |data: &[u8]| ata::run(data));
