//! See `freewheel_fuzz::atapi`.
#![no_main]

use freewheel_fuzz::{atapi, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&atapi::seeds()), |data: &[u8]| atapi::run(data));
