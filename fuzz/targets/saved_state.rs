//! See `freewheel_fuzz::saved_state`.
#![no_main]

use freewheel_fuzz::{saved_state, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&saved_state::seeds()), |data: &[u8]| saved_state::run(data));
