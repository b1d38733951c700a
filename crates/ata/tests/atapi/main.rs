//! Tests of the ATAPI drive, by what a controller sees of it.

mod answers;
mod any_input;
mod commands;
mod identify;
mod media;
mod protocol;
mod reading;
mod support;
