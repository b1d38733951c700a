//! A thousand cycles of plugging in and pulling out, in a process of their own: its memory is measured.

#[path = "hot_plug/cycles.rs"]
mod cycles;
#[allow(dead_code, unused_imports, reason = "other tests use the rest")]
#[path = "hot_plug/support.rs"]
mod support;
