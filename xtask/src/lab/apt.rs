//! apt with a private state: its own lists, cache and an empty package status, so that it resolves
//! and downloads without touching the host, and without root rights. Of the host's configuration
//! only how to reach an archive is kept (proxies, retries); hooks and pins are not.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{recipe, sources};
use crate::{children::Running, run, say};

const KEYRINGS: &[&str] = &[
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

pub(crate) struct Apt {
    dir: PathBuf,
}

impl Apt {
    /// Lay out the private state in `dir`.
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let mirror = sources::mirror()?;
        let Some(keyring) = KEYRINGS.iter().find(|k| Path::new(k).is_file()) else {
            bail!(
                "Debian's signing keys are not on this machine ({})\n\
                 remedy: install the package debian-archive-keyring",
                KEYRINGS[1]
            );
        };
        for sub in ["state/lists/partial", "cache/archives/partial", "log", "parts"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        fs::write(dir.join("status"), "")?;
        let mut list = String::new();
        for suite in [recipe::RELEASE, recipe::BACKPORTS] {
            list += &format!("deb [arch=amd64 signed-by={keyring}] {mirror} {suite} main\n");
        }
        fs::write(dir.join("sources.list"), list)?;
        fs::write(
            dir.join("preferences"),
            format!(
                "Package: {}\nPin: release n={}\nPin-Priority: 900\n",
                recipe::FROM_BACKPORTS,
                recipe::BACKPORTS
            ),
        )?;
        let host = run::output(Command::new("apt-config").arg("dump"))?;
        fs::write(dir.join("apt.conf"), config(dir, &host))?;
        Ok(Self { dir: dir.to_owned() })
    }

    fn command(&self, program: &str) -> Command {
        let mut cmd = Command::new(program);
        cmd.env("APT_CONFIG", self.dir.join("apt.conf"))
            .env("LC_ALL", "C")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir(&self.dir);
        cmd
    }

    /// Fetch the package lists.
    pub(crate) fn update(&self) -> Result<()> {
        say::step(format_args!(
            "fetching the package lists of {} and {}",
            recipe::RELEASE,
            recipe::BACKPORTS
        ));
        run::output(self.command("apt-get").args(["update", "--error-on=any"]))
            .context(
                "the package lists can't be fetched: check the network, the machine's apt \
                 configuration, or FREEWHEEL_DEBIAN_MIRROR",
            )
            .map(drop)
    }

    /// Download packages with all that they depend on.
    pub(crate) fn download_closure(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let archives = self.dir.join("cache/archives");
        let plan = run::output(
            self.command("apt-get").args(["install", "--yes", "--print-uris"]).args(packages),
        )
        .context("apt can't resolve the lab's packages")?;
        let (count, bytes) = planned(&plan);
        say::step(format_args!("downloading {count} packages, {} MB", bytes / 1_000_000));
        self.download(
            &archives,
            bytes,
            self.command("apt-get").args(["install", "--yes", "--download-only"]).args(packages),
        )?;
        debs(&archives)
    }

    /// Download exactly these packages, `NAME=VERSION` each, into `into`.
    pub(crate) fn download_exactly(
        &self,
        packages: &[String],
        into: &Path,
    ) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(into)?;
        self.download(
            into,
            0,
            self.command("apt-get").current_dir(into).arg("download").args(packages),
        )?;
        debs(into)
    }

    fn download(&self, into: &Path, total: u64, cmd: &mut Command) -> Result<()> {
        let log_path = self.dir.join("log/download");
        let log = fs::File::create(&log_path)?;
        cmd.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut apt = Running::spawn("apt-get", cmd)?;
        let mut meter = say::Meter::new("downloaded");
        let status = loop {
            if let Some(status) = apt.ended()? {
                break status;
            }
            let mb = size(into) / 1_000_000;
            match total / 1_000_000 {
                0 => meter.at(format_args!("{mb} MB")),
                total => meter.at(format_args!("{mb} of {total} MB")),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        if !status.success() {
            let text = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("apt-get can't download:\n{}", run::tail(&text, 15));
        }
        Ok(())
    }

    /// The versions of a package that the archives have: stanzas of fields.
    pub(crate) fn show(&self, package: &str) -> Result<Vec<Vec<(String, String)>>> {
        let text = run::output(self.command("apt-cache").args(["show", package]))
            .with_context(|| format!("the archive has no package {package}"))?;
        Ok(stanzas(&text))
    }
}

/// apt's configuration: ours, and of the host's only the ways to reach an archive.
fn config(dir: &Path, host: &str) -> String {
    let d = dir.display();
    let mut text = String::new();
    for line in host.lines() {
        let keep = line.starts_with("Acquire::") && !line.starts_with("Acquire::IndexTargets");
        if keep && !line.starts_with("Acquire::Languages") {
            text.push_str(line);
            text.push('\n');
        }
    }
    text += &format!(
        "Dir::State \"{d}/state\";\n\
         Dir::State::status \"{d}/status\";\n\
         Dir::Cache \"{d}/cache\";\n\
         Dir::Log \"{d}/log\";\n\
         Dir::Etc::parts \"{d}/parts\";\n\
         Dir::Etc::main \"/dev/null\";\n\
         Dir::Etc::sourcelist \"{d}/sources.list\";\n\
         Dir::Etc::sourceparts \"{d}/parts\";\n\
         Dir::Etc::preferences \"{d}/preferences\";\n\
         Dir::Etc::preferencesparts \"{d}/parts\";\n\
         Debug::NoLocking \"true\";\n\
         APT::Architecture \"amd64\";\n\
         APT::Architectures {{ \"amd64\"; }};\n\
         APT::Install-Recommends \"false\";\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n"
    );
    text
}

/// Number and bytes of the packages in the output of `--print-uris`.
fn planned(text: &str) -> (usize, u64) {
    let sizes = text
        .lines()
        .filter(|l| l.starts_with('\''))
        .filter_map(|l| l.split_whitespace().nth(2)?.parse::<u64>().ok());
    sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size))
}

/// Control data as stanzas of fields; comments are dropped, continuation lines joined by a space.
pub(crate) fn stanzas(text: &str) -> Vec<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            if !fields.is_empty() {
                all.push(std::mem::take(&mut fields));
            }
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_owned(), value.trim().to_owned()));
        }
    }
    all
}

fn size(dir: &Path) -> u64 {
    let partial = fs::read_dir(dir.join("partial")).into_iter().flatten();
    fs::read_dir(dir)
        .into_iter()
        .flatten()
        .chain(partial)
        .flatten()
        .filter_map(|e| e.metadata().ok())
        .filter(fs::Metadata::is_file)
        .map(|m| m.len())
        .sum()
}

fn debs(dir: &Path) -> Result<Vec<PathBuf>> {
    let unique: BTreeSet<PathBuf> = fs::read_dir(dir)?
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.extension().is_some_and(|e| e == "deb"))
        .collect();
    if unique.is_empty() {
        bail!("apt-get downloaded nothing into {}", dir.display());
    }
    Ok(unique.into_iter().collect())
}

/// Unpack packages into a prefix, without installing them.
pub(crate) fn unpack(debs: &[PathBuf], into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut meter = say::Meter::new("unpacked");
    for (done, deb) in debs.iter().enumerate() {
        meter.at(format_args!("{done} of {}", debs.len()));
        run::output(Command::new("dpkg-deb").arg("-x").arg(deb).arg(into))
            .with_context(|| format!("can't unpack {}", deb.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_join_lines() {
        let got = stanzas("A: 1\n 2\n#x\nB:3\n\n\nA: 4\n");
        assert_eq!(got.len(), 2);
        assert_eq!(got[0][0], ("A".into(), "1 2".into()));
        assert_eq!(got[1][0].1, "4");
    }

    #[test]
    fn plan_is_added_up() {
        let text = "Reading…\n'http://m/x.deb' x.deb 10 MD5Sum:0\n'http://m/y.deb' y.deb 5 \n";
        assert_eq!(planned(text), (2, 15));
    }

    #[test]
    fn only_ways_to_the_archive_are_kept() {
        let host = "APT::Update::Post-Invoke:: \"rm x\";\nAcquire::http::Proxy \"http://p\";\n\
            Acquire::IndexTargets::deb \"\";\n";
        let text = config(Path::new("/d"), host);
        assert!(text.starts_with("Acquire::http::Proxy \"http://p\";\nDir::State \"/d/state\";"));
        assert!(!text.contains("rm x"));
    }
}
