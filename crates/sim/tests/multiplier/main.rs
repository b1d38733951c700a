//! A port multiplier and the disks behind it, by a guest driver at register level.

mod any_input;
mod contract;
mod enumeration;
mod errors;
mod plugging;
mod support;
mod switching;
