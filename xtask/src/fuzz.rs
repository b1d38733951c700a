//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, by libFuzzer, for a time. Builds them with
//! coverage instrumentation (plain flags of a stable compiler), debug assertions and overflow
//! checks, and shares the time out between them. Leaves out what an input means: `fuzz/src` has that.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::children::Running;
use crate::{run, say, workspace};

/// What a build has to have for libFuzzer to see where an input leads.
const INSTRUMENTATION: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Longest input in bytes: some hundred events.
const INPUT_MAX_BYTES: u32 = 4096;
/// An input that runs for longer is a finding.
const INPUT_LIMIT_SECONDS: u32 = 25;
/// What libFuzzer and an instrumented process may use beyond the given time.
const GRACE: Duration = Duration::from_secs(180);

#[derive(clap::Args)]
#[command(after_help = "Examples: cargo xtask fuzz --minutes 10\n          \
    cargo xtask fuzz ata --replay target/fuzz/artifacts/ata/crash-…")]
pub(crate) struct FuzzArgs {
    /// Only this target; all of fuzz/targets otherwise.
    target: Option<String>,
    /// For how long, all targets together.
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    minutes: f64,
    /// How many targets run at a time.
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Run this input once, and show what it does.
    #[arg(long, value_name = "FILE", requires = "target")]
    replay: Option<PathBuf>,
}

impl FuzzArgs {
    /// Every target, two at a time, for so many minutes in all.
    pub(crate) fn all_for(minutes: f64) -> Self {
        Self { target: None, minutes, jobs: 2, replay: None }
    }
}

/// Why nothing can be fuzzed on this machine, if so.
pub(crate) fn obstacle() -> Option<String> {
    let named = std::env::var_os("CXX").is_some();
    let found = ["c++", "g++", "clang++"].iter().any(|name| run::find(name).is_some());
    (!named && !found)
        .then(|| "there is no C++ compiler, which libFuzzer needs: apt-get install g++".to_owned())
}

/// `cargo xtask fuzz`.
pub(crate) fn main(args: &FuzzArgs) -> Result<bool> {
    if let Some(why) = obstacle() {
        bail!(why);
    }
    let all = targets()?;
    let chosen = match &args.target {
        None => all,
        Some(name) if all.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no fuzz target {name}; there are {}", all.join(", ")),
    };
    let home = workspace::target_dir()?.join("fuzz");
    let programs = build(&home)?;
    if let (Some(input), [target]) = (&args.replay, &chosen[..]) {
        let status = Command::new(programs.join(target)).arg(input).status()?;
        return Ok(status.success());
    }
    let total = Duration::try_from_secs_f64(args.minutes * 60.0)
        .context("--minutes has to be a number of minutes")?;
    let jobs = args.jobs.clamp(1, chosen.len());
    let each = total.mul_f64(jobs as f64 / chosen.len() as f64);
    say::step(format_args!(
        "fuzzing {}: {:.0} s each, {jobs} at a time",
        chosen.join(", "),
        each.as_secs_f64()
    ));
    fuzz(&chosen, &programs, &home, each, jobs)
}

/// The targets: one file each.
fn targets() -> Result<Vec<String>> {
    let dir = workspace::root().join("fuzz/targets");
    let entries = std::fs::read_dir(&dir).with_context(|| format!("no {}", dir.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// Builds all targets; returns where they are.
fn build(home: &Path) -> Result<PathBuf> {
    say::step("building the fuzz targets (release, instrumented)");
    // With an explicit target the flags do not reach build scripts and macros.
    let host = host()?;
    let mut cmd = workspace::cargo();
    cmd.args(["build", "--release", "--bins", "--manifest-path", "fuzz/Cargo.toml"])
        .args(["--target", &host, "--target-dir"])
        .arg(home.join("build"))
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTATION.join("\u{1f}"));
    run::output(&mut cmd).context("the fuzz targets do not build")?;
    Ok(home.join("build").join(host).join("release"))
}

fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let text = run::output(Command::new(rustc).current_dir(workspace::root()).arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// A target that runs.
struct Campaign {
    target: String,
    running: Running,
    log: PathBuf,
    artifacts: PathBuf,
}

impl Campaign {
    fn start(target: &str, programs: &Path, home: &Path, time: Duration) -> Result<Self> {
        let folder = |name: &str| {
            let dir = home.join(name).join(target);
            std::fs::create_dir_all(&dir).map(|()| dir)
        };
        let (corpus, artifacts) = (folder("corpus")?, folder("artifacts")?);
        let log = home.join(format!("{target}.log"));
        let file = std::fs::File::create(&log)?;
        let mut prefix = OsString::from("-artifact_prefix=");
        prefix.push(artifacts.join("_").with_file_name(""));
        let mut cmd = Command::new(programs.join(target));
        cmd.arg(&corpus)
            .arg(prefix)
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .arg(format!("-max_len={INPUT_MAX_BYTES}"))
            .arg(format!("-timeout={INPUT_LIMIT_SECONDS}"))
            .env("FREEWHEEL_FUZZ_SEEDS", &corpus)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let running = Running::spawn("fuzz target", &mut cmd)?;
        Ok(Self { target: target.to_owned(), running, log, artifacts })
    }

    /// Says how it went; true if nothing was found.
    fn judge(&self, success: bool) -> bool {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let Self { target, artifacts, .. } = self;
        if success {
            println!("{target:<10} {}", summary(&text));
            return true;
        }
        println!("{target:<10} FOUND SOMETHING");
        let from = text.find("panicked at").or_else(|| text.find("==ERROR")).unwrap_or(0);
        let story: String = text[from..].lines().take(6).map(|it| format!("    {it}\n")).collect();
        print!("{story}");
        let written = text.lines().find_map(|line| line.split("Test unit written to ").nth(1));
        match written {
            Some(file) => println!(
                "    input:  {file}\n    replay: cargo xtask fuzz {target} --replay {file}"
            ),
            None => println!("    inputs, if any, are in {}", artifacts.display()),
        }
        println!("    log:    {}", self.log.display());
        false
    }
}

/// The last line of libFuzzer's that counts, in words.
fn summary(log: &str) -> String {
    let word_after = |line: &str, key: &str| {
        let mut words = line.split_whitespace().skip_while(|word| *word != key);
        words.nth(1).map(str::to_owned)
    };
    let last = log.lines().rev().find(|line| line.starts_with('#') && line.contains(" cov: "));
    let Some(line) = last else { return "no run was reported".to_owned() };
    let runs = line.trim_start_matches('#').split_whitespace().next().unwrap_or("?");
    let edges = word_after(line, "cov:").unwrap_or_default();
    let inputs = word_after(line, "corp:").unwrap_or_default();
    let inputs = inputs.split('/').next().unwrap_or_default();
    format!("nothing found in {runs} runs ({edges} edges seen, {inputs} inputs kept)")
}

fn fuzz(
    targets: &[String],
    programs: &Path,
    home: &Path,
    each: Duration,
    jobs: usize,
) -> Result<bool> {
    let mut waiting = targets.iter();
    let mut running: Vec<(Campaign, Instant)> = Vec::new();
    let mut clean = true;
    loop {
        while running.len() < jobs
            && let Some(target) = waiting.next()
        {
            running.push((Campaign::start(target, programs, home, each)?, Instant::now()));
        }
        if running.is_empty() {
            return Ok(clean);
        }
        let mut still = Vec::new();
        for (mut campaign, since) in running {
            match campaign.running.ended()? {
                Some(status) => clean &= campaign.judge(status.success()),
                None if since.elapsed() > each + GRACE => {
                    bail!("fuzz target {} does not end", campaign.target)
                }
                None => still.push((campaign, since)),
            }
        }
        running = still;
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_of_libfuzzer_is_summed_up() {
        let log = "INFO: Seed: 1\n#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0\n\
            #900\tDONE   cov: 31 ft: 40 corp: 12/340b lim: 40 exec/s: 300 rss: 40Mb\nDone 900 runs\n";
        assert_eq!(summary(log), "nothing found in 900 runs (31 edges seen, 12 inputs kept)");
        assert_eq!(summary("nothing of the kind"), "no run was reported");
    }

    #[test]
    fn every_layer_has_a_target_and_every_target_is_built() {
        let manifest = std::fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        let targets = targets().unwrap();
        for target in ["ata", "atapi", "fis", "hba", "saved_state", "vfio_user"] {
            assert!(targets.iter().any(|name| name == target), "{target}");
        }
        for target in targets {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
    }
}
