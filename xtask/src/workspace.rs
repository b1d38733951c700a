//! Where this workspace and its build output lie, and building the program under test.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::{run, say};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The cargo that runs us, else the one in PATH.
pub(crate) fn cargo() -> Command {
    let mut cmd = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cmd.current_dir(root());
    cmd
}

/// Cargo's target directory, as configured.
pub(crate) fn target_dir() -> Result<PathBuf> {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    if let Some(dir) = DIR.get() {
        return Ok(dir.clone());
    }
    let text = run::output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))
        .context("can't find cargo's target directory")?;
    let meta: serde_json::Value = serde_json::from_str(&text)?;
    let dir =
        meta["target_directory"].as_str().context("`cargo metadata` names no target directory")?;
    Ok(DIR.get_or_init(|| PathBuf::from(dir)).clone())
}

/// Build `hangfs` in release mode and return the program's path.
pub(crate) fn build_hangfs() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    say::step("building hangfs (release)");
    run::output(cargo().args(["build", "--release", "--package", "freewheel-hangfs"]))
        .context("hangfs does not build")?;
    let path = target_dir()?.join("release/hangfs");
    Ok(BUILT.get_or_init(|| path).clone())
}

/// Build `freewheel` in release mode and return the program's path.
pub(crate) fn build_freewheel() -> Result<PathBuf> {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = BUILT.get() {
        return Ok(path.clone());
    }
    say::step("building freewheel (release)");
    run::output(cargo().args(["build", "--release", "--package", "freewheel"]))
        .context("freewheel does not build")?;
    let path = target_dir()?.join("release/freewheel");
    Ok(BUILT.get_or_init(|| path).clone())
}
