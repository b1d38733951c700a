//! The HBA at the level of registers, with devices that do what a test tells them to.

mod causes;
mod hot_plug;
mod power;
mod support;
