//! `freewheel-sim`: the simulation as a program. `cargo xtask sim` builds and runs it.
//!
//! Results go to standard output, progress and mistakes to standard error.

#![forbid(unsafe_code)]

mod args;
mod sabotages;
mod traces;

use std::process::ExitCode;
use std::thread::available_parallelism;

use args::{Args, Task};
use freewheel_sim::simulator::{Campaign, ENOUGH, Run, Summary, Violation, run_campaign, shrink};

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            print!("{}", args::HELP);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("error: {mistake}\n  remedy: freewheel-sim --help shows what there is");
            return ExitCode::from(2);
        }
    };
    // A panic of the code under test is a finding, and is reported as one.
    std::panic::set_hook(Box::new(|_| {}));
    let good = match &args.task {
        Task::Seeds => seeds(&args),
        Task::One(seed) => one(*seed, args.trace),
        Task::CheckTrace(file) => match traces::check(file) {
            Ok(same) => same,
            Err(mistake) => {
                eprintln!("error: {mistake}");
                return ExitCode::from(2);
            }
        },
        Task::Sabotage(name) => match sabotages::run(name.as_deref(), threads(&args)) {
            Ok(good) => good,
            Err(mistake) => {
                eprintln!("error: {mistake}");
                return ExitCode::from(2);
            }
        },
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn threads(args: &Args) -> usize {
    args.threads.unwrap_or_else(|| available_parallelism().map_or(1, |count| count.get()))
}

fn seeds(args: &Args) -> bool {
    let threads = threads(args);
    let summary = run_campaign(&Campaign {
        first: args.first,
        seeds: args.seeds,
        at_most: args.at_most,
        threads,
        guest_only: false,
    });
    print_summary(&summary, threads);
    let mut good = true;
    if let Some((seed, violation)) = &summary.failure {
        good = false;
        report(*seed, violation);
    } else {
        println!("no violation");
    }
    if args.coverage {
        println!("\n{}", summary.coverage.text());
        let holes = summary.coverage.holes();
        match holes.len() {
            0 => println!("no reachable cell is at zero"),
            count => println!("{count} reachable cells are at zero: {}", holes.join("; ")),
        }
        good &= holes.is_empty();
    }
    good
}

fn print_summary(summary: &Summary, threads: usize) {
    let stats = &summary.stats;
    let seconds = summary.took.as_secs_f64().max(1e-9);
    let speed = summary.seeds as f64 / seconds;
    println!(
        "{} seeds in {seconds:.1} s on {threads} threads: {speed:.0} seeds/s, {:.0} a thread",
        summary.seeds,
        speed / threads as f64
    );
    if let Some(cpu) = cpu_seconds().filter(|cpu| *cpu > 0.05) {
        let each = summary.seeds as f64 / cpu;
        println!(
            "{cpu:.1} s of processor time: {each:.0} seeds/s a core that has nothing else to do"
        );
    }
    println!(
        "{} operations ({:.0} a seed, at least {}; {} seeds below {ENOUGH}), {} resets ({} with commands in flight; {} seeds without), {} errors",
        stats.operations,
        stats.operations as f64 / summary.seeds.max(1) as f64,
        summary.fewest_operations.unwrap_or(0),
        summary.short,
        stats.resets,
        stats.resets_in_flight,
        summary.without_reset,
        stats.errors
    );
    println!(
        "{} orphans, {} fences, {} holds, {} crashes, {} events checked",
        stats.orphans, stats.fences, stats.holds, stats.crashes, stats.events
    );
    println!("{}", stats.faults.text());
}

/// Processor time of this process so far, where the system tells (proc(5), fields 14 and 15, in
/// hundredths of a second on every Linux).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).map_while(|field| field.parse::<f64>().ok());
    Some((times.next()? + times.next()?) / 100.0)
}

fn one(seed: u64, trace: bool) -> bool {
    let run = Run::of_seed(seed);
    let outcome = if trace {
        let outcome = run.trace();
        traces::lines(seed, &run, &outcome).iter().for_each(|line| println!("{line}"));
        outcome
    } else {
        println!("seed {seed}: {:?}, {} steps", run.config, run.steps.len());
        run.execute()
    };
    match &outcome.violation {
        None => {
            println!("no violation: {:?}", outcome.stats);
            true
        }
        Some(violation) => {
            report(seed, violation);
            false
        }
    }
}

/// A seed that failed, with the shortest story that fails in the same way.
fn report(seed: u64, violation: &Violation) {
    println!("VIOLATION in seed {seed}: {violation}");
    let run = Run::of_seed(seed);
    let short = shrink(&run, violation.kind);
    println!(
        "the shortest run that still fails has {} steps (of {}), with {:?}:",
        short.steps.len(),
        run.steps.len(),
        short.config
    );
    for line in short.story().trace {
        println!("{line}");
    }
    println!("to see it again: cargo xtask sim --seed {seed}");
}
