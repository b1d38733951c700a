//! What an ATA disk does, seen from its cable: commands in, FISes and data out.

mod any_input;
mod buffer;
mod epc;
mod errors;
mod identify;
mod identify_words;
mod ledger;
mod lives;
mod logs;
mod power;
mod protected_area;
mod queue;
mod queue_more;
mod resets;
mod sanitize;
mod saved;
mod security;
mod self_tests;
mod settings;
mod smart;
mod smart_errors;
mod support;
mod transfers;
mod trim;
mod uncorrectable;
