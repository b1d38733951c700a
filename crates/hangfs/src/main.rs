//! `hangfs MOUNTPOINT [OPTIONS]`: see the library, and [`freewheel_hangfs::USAGE`].

use std::process::ExitCode;

use freewheel_hangfs::{Options, USAGE};

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match Options::parse(words) {
        Ok(options) => options.serve(),
        Err(cause) => {
            eprintln!("hangfs: {cause}");
            eprintln!("remedy: see `hangfs --help`");
            ExitCode::from(2)
        }
    }
}
