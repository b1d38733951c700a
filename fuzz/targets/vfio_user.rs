//! See `freewheel_fuzz::vfio_user`.
#![no_main]

use freewheel_fuzz::{vfio_user, write_seeds};

libfuzzer_sys::fuzz_target!(init: write_seeds(&vfio_user::seeds()), |data: &[u8]| vfio_user::run(data));
