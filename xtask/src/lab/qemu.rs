//! Which QEMU: the one that FREEWHEEL_QEMU names, else the system's where it is new enough and has
//! the device, else the lab's own.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::elf::{LIBRARIES, Prefix};
use crate::run;

/// `vfio-user-pci` came with this version.
const OLDEST: (u32, u32) = (10, 1);

pub(crate) enum Qemu {
    System { program: PathBuf, version: (u32, u32) },
    Lab,
}

impl Qemu {
    pub(crate) fn choose() -> Result<Self> {
        if let Some(program) = std::env::var_os("FREEWHEEL_QEMU").filter(|p| !p.is_empty()) {
            let program = PathBuf::from(program);
            return match usable(&program) {
                Ok(version) => Ok(Self::System { program, version }),
                Err(why) => bail!(
                    "FREEWHEEL_QEMU={}: {why}\nremedy: name another QEMU, or unset FREEWHEEL_QEMU \
                     to use the lab's own",
                    program.display()
                ),
            };
        }
        Ok(match run::find("qemu-system-x86_64") {
            Some(program) => match usable(&program) {
                Ok(version) => Self::System { program, version },
                Err(_) => Self::Lab,
            },
            None => Self::Lab,
        })
    }

    pub(crate) fn is_system(&self) -> bool {
        matches!(self, Self::System { .. })
    }

    pub(crate) fn command(&self, lab: &Prefix) -> Result<Command> {
        match self {
            Self::System { program, .. } => Ok(Command::new(program)),
            Self::Lab => {
                let mut cmd = lab.command("qemu-system-x86_64")?;
                cmd.env("QEMU_MODULE_DIR", lab.path(LIBRARIES).join("qemu"));
                for dir in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
                    cmd.arg("-L").arg(lab.path(dir));
                }
                Ok(cmd)
            }
        }
    }
}

impl fmt::Display for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System { program, version } => {
                write!(f, "QEMU {}.{} ({})", version.0, version.1, program.display())
            }
            Self::Lab => write!(f, "QEMU of the lab"),
        }
    }
}

/// The version, or why it can't be used.
fn usable(program: &PathBuf) -> Result<(u32, u32), String> {
    let text = run::output(Command::new(program).arg("--version")).map_err(|e| e.to_string())?;
    let Some(version) = version(&text) else {
        return Err("its version can't be read".into());
    };
    if version < OLDEST {
        return Err(format!(
            "QEMU {}.{} is too old: vfio-user needs {}.{}",
            version.0, version.1, OLDEST.0, OLDEST.1
        ));
    }
    let devices =
        run::output(Command::new(program).args(["-device", "help"])).map_err(|e| e.to_string())?;
    if !devices.contains("\"vfio-user-pci\"") {
        return Err("it was built without the device vfio-user-pci".into());
    }
    Ok(version)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let rest = text.split("version ").nth(1)?;
    let mut parts = rest.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions() {
        assert_eq!(version("QEMU emulator version 11.1.3 (Debian 1:11)"), Some((11, 1)));
        assert_eq!(version("QEMU emulator version 7.2.22"), Some((7, 2)));
        assert_eq!(version("nonsense"), None);
    }
}
