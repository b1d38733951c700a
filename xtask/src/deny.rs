//! cargo-deny: licences, bans and sources of the dependencies. It is installed once into the shared
//! cache, which takes minutes, if the machine has none. Advisories need a database from the
//! network, which not every machine reaches: they are a check of their own.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::children::Running;
use crate::test::Ended;
use crate::{lab, run, say, workspace};

/// Licences, bans and sources.
pub(crate) fn check() -> Result<Ended> {
    if !workspace::root().join("deny.toml").is_file() {
        bail!("the repository has no deny.toml, so its dependencies can't be checked");
    }
    let program = match find() {
        Some(program) => program,
        None => match install() {
            Ok(program) => program,
            Err(err) => {
                return Ok(Ended::NotRun(format!("cargo-deny can't be installed: {err:#}")));
            }
        },
    };
    let checks = ["bans", "licenses", "sources"];
    let status = deny(program, &checks).status().context("can't start cargo-deny")?;
    if !status.success() {
        bail!("cargo deny check {} ended with {status}", checks.join(" "));
    }
    Ok(Ended::Passed)
}

/// Known vulnerabilities of dependencies.
pub(crate) fn advisories() -> Result<Ended> {
    let Some(program) = find() else {
        return Ok(Ended::NotRun("there is no cargo-deny".to_owned()));
    };
    let out = deny(program, &["advisories"]).output().context("can't start cargo-deny")?;
    let text = String::from_utf8_lossy(&out.stderr);
    if out.status.success() {
        Ok(Ended::Passed)
    } else if text.contains("failed to fetch advisory database") {
        Ok(Ended::NotRun("their database can't be fetched from here".to_owned()))
    } else {
        bail!("cargo deny check advisories:\n{}", run::tail(&text, 40));
    }
}

fn deny(program: PathBuf, checks: &[&str]) -> Command {
    let mut cmd = Command::new(program);
    cmd.current_dir(workspace::root())
        .args(["--color", "never", "check"])
        .args(checks)
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null());
    cmd
}

fn home() -> Result<PathBuf> {
    Ok(lab::cache()?.join("tools"))
}

fn find() -> Option<PathBuf> {
    let own = home().ok()?.join("bin/cargo-deny");
    let cargo_home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    run::find("cargo-deny")
        .or_else(|| [own, cargo_home.join("bin/cargo-deny")].into_iter().find(|p| p.is_file()))
}

fn install() -> Result<PathBuf> {
    say::step("installing cargo-deny into the cache (once; takes some minutes)");
    let home = home()?;
    std::fs::create_dir_all(&home)?;
    let log = home.join("cargo-deny.log");
    let file = std::fs::File::create(&log)?;
    let mut cmd = workspace::cargo();
    cmd.args(["install", "--locked", "cargo-deny", "--root"])
        .arg(&home)
        // The build is thrown away; it must not get mixed up with the workspace's.
        .env_remove("CARGO_TARGET_DIR")
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let mut cargo = Running::spawn("cargo install", &mut cmd)?;
    let mut meter = say::Meter::new("cargo install cargo-deny");
    let until = Instant::now() + Duration::from_secs(20 * 60);
    let status = loop {
        if let Some(status) = cargo.ended()? {
            break status;
        }
        if Instant::now() > until {
            bail!("it was not through after 20 minutes");
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        meter.at(text.lines().last().unwrap_or_default().trim());
        std::thread::sleep(Duration::from_millis(200));
    };
    drop(meter);
    let program = home.join("bin/cargo-deny");
    if !status.success() || !program.is_file() {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("cargo install ended with {status}:\n{}", run::tail(&text, 5));
    }
    Ok(program)
}
