//! The guest's programs as an initramfs archive: busybox, the tools that tests need, and their
//! libraries. It has no `/init`: that comes with each job, so that a changed script needs no new
//! lab. Kernel modules are in an archive of their own (`kernel`).

use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::path::Path;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::elf::{LIBRARIES, LOADER, Prefix};
use super::recipe::GUEST_PROGRAMS;

/// Write the archive to `to`.
pub(crate) fn tools(prefix: &Prefix, to: &Path) -> Result<()> {
    let out = fs::File::create(to).with_context(|| format!("can't write {}", to.display()))?;
    let mut archive = Archive::new(BufWriter::new(out));
    for dir in ["dev", "proc", "sys", "tmp", "run", "mnt", "etc", "var"] {
        archive.directory(dir)?;
    }
    archive.character("dev/console", (5, 1))?;
    for (name, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("etc/mtab", "/proc/self/mounts"),
    ] {
        archive.symlink(name, target)?;
    }
    archive.host_file("usr/bin/busybox", &prefix.path("usr/bin/busybox"), 0o755)?;
    archive.symlink("usr/bin/sh", "busybox")?;
    archive.host_file(LOADER, &prefix.path(LOADER), 0o755)?;
    archive.host_file("etc/mke2fs.conf", &prefix.path("etc/mke2fs.conf"), 0o644)?;

    let mut libraries = BTreeSet::new();
    for wanted in GUEST_PROGRAMS {
        let found = matching(prefix, wanted)?;
        if found.is_empty() {
            bail!("the guest's program {wanted} is in none of the lab's packages");
        }
        for name in found {
            let path = prefix.path(&name);
            let data = fs::read(&path).with_context(|| format!("can't read {}", path.display()))?;
            archive.file(&name, &data, 0o755)?;
            if data.starts_with(b"\x7fELF") {
                libraries.extend(prefix.libraries(&path)?);
            }
        }
    }
    for (name, path) in libraries {
        let name = format!("{LIBRARIES}/{}", name.to_string_lossy());
        archive.host_file(&name, &path, 0o755)?;
    }
    archive.finish()?;
    Ok(())
}

/// The programs that a name of the recipe stands for, by their paths from the root.
fn matching(prefix: &Prefix, wanted: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in Prefix::PROGRAMS {
        for entry in fs::read_dir(prefix.path(dir))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let fits = match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            };
            if fits {
                found.push(format!("{dir}/{name}"));
            }
        }
    }
    found.sort();
    Ok(found)
}
