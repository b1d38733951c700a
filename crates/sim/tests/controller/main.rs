//! The guest driver against the real controller, disk and engine, on a disk in memory.

mod any_input;
mod data;
mod errors;
mod fetching;
mod interrupts;
mod late;
mod port_command;
mod registers;
mod resets;
mod start_up;
mod support;
