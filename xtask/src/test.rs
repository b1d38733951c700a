//! `cargo xtask test`: everything that must pass before a change lands, in order of cost. The last
//! line on standard output is `N passed, N failed`; what could not be run is said, and counted as
//! skipped, never as passed. Leaves out how each part works: cargo's own tools, the program's
//! `drill`, and `vm`.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::children::Running;
use crate::lab::Lab;
use crate::sim::{self, SimArgs};
use crate::vm::{self, VmArgs};
use crate::{conformance, deny, fuzz, say, workspace};

#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask test --quick")]
pub(crate) struct TestArgs {
    /// Leave out the real guests, and everything that has to be installed first.
    #[arg(long)]
    quick: bool,
    /// Run only the steps whose name has this in it.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// How a step ended.
pub(crate) enum Ended {
    Passed,
    /// It could not be run, and why.
    NotRun(String),
}

type Run = Box<dyn Fn() -> Result<Ended>>;

/// `cargo xtask test`.
pub(crate) fn main(args: &TestArgs) -> Result<bool> {
    let start = Instant::now();
    let mut report = Vec::new();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, run) in steps(args.quick) {
        if args.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        println!("=== {name}");
        let began = Instant::now();
        let ended = run();
        let took = began.elapsed().as_secs_f64();
        let line = match ended {
            Ok(Ended::Passed) => {
                passed += 1;
                format!("passed   {took:6.1} s  {name}")
            }
            Ok(Ended::NotRun(why)) => {
                skipped += 1;
                format!("NOT RUN  {took:6.1} s  {name}: {why}")
            }
            Err(err) => {
                failed += 1;
                say::failure(&err);
                format!("FAILED   {took:6.1} s  {name}")
            }
        };
        println!("=== {line}");
        report.push(line);
    }
    println!("\nin {:.0} s:", start.elapsed().as_secs_f64());
    for line in report {
        println!("  {line}");
    }
    let none = passed + failed + skipped == 0;
    if none {
        eprintln!("error: no step has {:?} in its name", args.only.as_deref().unwrap_or(""));
    }
    println!();
    match skipped {
        0 => println!("{passed} passed, {failed} failed"),
        _ => println!("{passed} passed, {failed} failed, {skipped} skipped"),
    }
    Ok(failed == 0 && !none)
}

fn steps(quick: bool) -> Vec<(String, Run)> {
    let mut steps: Vec<(String, Run)> = Vec::new();
    let mut add = |name: &str, run: Run| steps.push((name.to_owned(), run));
    add("format", cargo(&["fmt", "--all", "--check"], 2));
    add("lints", cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], 20));
    add("unit and integration tests", cargo(&["test", "--workspace"], 30));
    // Without the feature the models are not even compiled.
    let backends = ["-p", "freewheel-backends"];
    let strict = ["--all-targets", "--all-features", "--", "-D", "warnings"];
    add("lints of the models", cargo(&[&["clippy"], &backends[..], &strict[..]].concat(), 20));
    let model = ["--features", "model-check", "--test", "model"];
    add("model checking", cargo(&[&["test"], &backends[..], &model[..]].concat(), 20));
    add("simulation: 20,000 seeds, and nothing left unvisited", simulation(&["--coverage"]));
    add("simulation: every sabotage is found", simulation(&["--sabotage", "all"]));
    let saboteur = ["-p", "freewheel-sim", "--features", "sabotage"];
    let hunt = ["--test", "sabotage"];
    add(
        "simulation: sabotages are shrunk",
        cargo(&[&["test"], &saboteur[..], &hunt[..]].concat(), 10),
    );
    let strict = ["--all-targets", "--", "-D", "warnings"];
    add("lints of the sabotages", cargo(&[&["clippy"], &saboteur[..], &strict[..]].concat(), 10));
    add("drill, no VM", Box::new(drill));
    add("conformance table", Box::new(conformance_table));
    if quick {
        return steps;
    }
    add("format of the fuzz targets", cargo(&["fmt", "--check", "--manifest-path", FUZZ], 2));
    let strict = ["--lib", "--bins", "--", "-D", "warnings"];
    let lints = [&["clippy", "--manifest-path", FUZZ, "--target-dir", "target/fuzz"], &strict[..]];
    add("lints of the fuzz targets", if_fuzzing(cargo(&lints.concat(), 20)));
    add("fuzzing: five minutes, all targets", if_fuzzing(Box::new(fuzzing)));
    add("dependencies", Box::new(deny::check));
    add("dependencies: advisories", Box::new(deny::advisories));
    add("lab", Box::new(lab));
    // One guest at a time: the drills measure gaps, and two guests fill two cores.
    for kernel in ["6.12", "7"] {
        add(&format!("guest: main job, kernel {kernel}"), vm(&["--kernel", kernel]));
    }
    add("guest: main job, kernel 6.12, threads", vm(&["--engine", "threads"]));
    for (job, kernel) in vm::jobs() {
        let run = vm(&["--job", job, "--kernel", kernel]);
        add(&format!("guest: job {job}, kernel {kernel}"), run);
    }
    add("guest: drills, kernel 6.12", vm(&["--drill", "--all"]));
    add("guest: real stall", Box::new(real_stall));
    add("guest: drill, kernel 7", vm(&["--drill", "--kernel", "7", "--engine", "io_uring"]));
    steps
}

fn cargo(args: &[&'static str], minutes: u64) -> Run {
    let args = args.to_vec();
    Box::new(move || {
        let mut cmd = workspace::cargo();
        cmd.args(&args);
        to_the_end("cargo", &mut cmd, minutes)
    })
}

/// Real guests, as `cargo xtask vm` with these arguments runs them.
fn vm(args: &[&'static str]) -> Run {
    let args = args.to_vec();
    Box::new(move || match vm::main(&VmArgs::parse(&args)?)? {
        true => Ok(Ended::Passed),
        false => bail!("a guest's run failed"),
    })
}

/// The simulation, as `cargo xtask sim` with these arguments runs it.
fn simulation(args: &[&'static str]) -> Run {
    let args = args.to_vec();
    Box::new(move || match sim::main(&SimArgs::parse(&args)?)? {
        true => Ok(Ended::Passed),
        false => bail!("the simulation found something"),
    })
}

/// The manifest of the fuzz targets, which are a workspace of their own.
const FUZZ: &str = "fuzz/Cargo.toml";

/// `run`, where libFuzzer can be built.
fn if_fuzzing(run: Run) -> Run {
    Box::new(move || match fuzz::obstacle() {
        Some(why) => Ok(Ended::NotRun(why)),
        None => run(),
    })
}

fn fuzzing() -> Result<Ended> {
    match fuzz::main(&fuzz::FuzzArgs::all_for(5.0))? {
        true => Ok(Ended::Passed),
        false => bail!("a fuzz target found something"),
    }
}

fn conformance_table() -> Result<Ended> {
    match conformance::main(&conformance::ConformanceArgs { list: false })? {
        true => Ok(Ended::Passed),
        false => bail!("docs/conformance.md and the code don't agree"),
    }
}

/// A guest on storage that hangs in the host's kernel, where that can be had.
fn real_stall() -> Result<Ended> {
    match vm::stall_obstacle() {
        Some(why) => Ok(Ended::NotRun(why)),
        None => vm(&["--drill", "--real-stall"])(),
    }
}

fn lab() -> Result<Ended> {
    Lab::ensure().map(|_| Ended::Passed)
}

fn to_the_end(name: &'static str, cmd: &mut Command, minutes: u64) -> Result<Ended> {
    let mut running = Running::spawn(name, cmd.stdin(Stdio::null()))?;
    let status = running.wait(Duration::from_secs(minutes * 60))?;
    if !status.success() {
        bail!("{} ended with {status}", command_line(cmd));
    }
    Ok(Ended::Passed)
}

fn command_line(cmd: &Command) -> String {
    let program = std::path::Path::new(cmd.get_program());
    let mut line = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for arg in cmd.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

/// `freewheel drill` with both engines: every verdict must be true.
fn drill() -> Result<Ended> {
    let program = workspace::build_freewheel()?;
    for engine in ["io_uring", "threads"] {
        let out = Command::new(&program)
            .args(["drill", "--json", "--engine", engine])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("can't start freewheel drill")?;
        let text = String::from_utf8_lossy(&out.stdout);
        println!("{engine}: {}", text.trim());
        if !out.status.success() {
            bail!("freewheel drill with {engine} ended with {}", out.status);
        }
        let json: serde_json::Value = serde_json::from_str(&text)
            .with_context(|| format!("freewheel drill --json with {engine} printed no JSON"))?;
        let mut verdicts = Vec::new();
        collect_verdicts(&json, false, &mut verdicts);
        if verdicts.is_empty() {
            bail!("freewheel drill with {engine} gave no verdict");
        }
        if verdicts.contains(&false) {
            bail!("freewheel drill with {engine}: a verdict is false");
        }
    }
    Ok(Ended::Passed)
}

/// Every truth value below a key that is called a verdict.
fn collect_verdicts(json: &serde_json::Value, inside: bool, found: &mut Vec<bool>) {
    match json {
        serde_json::Value::Bool(b) if inside => found.push(*b),
        serde_json::Value::Array(all) => {
            for value in all {
                collect_verdicts(value, inside, found);
            }
        }
        serde_json::Value::Object(all) => {
            for (key, value) in all {
                collect_verdicts(value, inside || key.starts_with("verdict"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_found_wherever_they_are() {
        let json = serde_json::json!({
            "verdicts": {"C1": true, "C2": {"ok": false}},
            "runs": [{"verdict": true, "other": false}],
        });
        let mut found = Vec::new();
        collect_verdicts(&json, false, &mut found);
        found.sort_unstable();
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn quick_has_no_guests() {
        assert!(steps(true).iter().all(|(name, _)| !name.starts_with("guest")));
        assert!(steps(false).iter().any(|(name, _)| name.contains("kernel 7")));
        assert!(steps(false).iter().any(|(name, _)| name.contains("job errors")));
    }
}
