//! The HBA at the level of registers, with devices that do what a test tells them to.

mod any_order;
mod bad_input;
mod causes;
mod coalescing;
mod enclosure;
mod hand_off;
mod hot_plug;
mod messages;
mod multiplier;
mod power;
mod recovery;
mod support;
