//! See `freewheel_fuzz::hba`.
#![no_main]

use freewheel_fuzz::{hba, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&hba::seeds()), |data: &[u8]| hba::run(data));
