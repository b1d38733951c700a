//! See `freewheel_fuzz::fis`.
#![no_main]

use freewheel_fuzz::{fis, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&fis::seeds()), |data: &[u8]| fis::run(data));
