//! A kernel of the lab: its image, and an initramfs archive with the few modules that the guest
//! needs. Debian's newer kernels are split over several packages; both ways are handled.

use std::collections::BTreeSet;
use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::apt::{self, Apt};
use super::cpio::Archive;
use super::elf::Prefix;
use super::recipe::{BACKPORTS, GUEST_MODULES, Kernel};
use crate::children::Scratch;
use crate::{run, say};

/// Download a kernel and put `vmlinuz`, `modules.cpio` and `version` into `into`.
pub(crate) fn install(apt: &Apt, prefix: &Prefix, kernel: &Kernel, into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let packages = packages(apt, kernel)?;
    say::step(format_args!("downloading {}", packages.join(" ")));
    let work = Scratch::within(into)?;
    let debs = apt.download_exactly(&packages, &work.path().join("debs"))?;
    let root = work.path().join("root");
    apt::unpack(&debs, &root)?;

    // depmod and modprobe look into lib/modules; packages of a merged /usr bring usr/lib/modules.
    let modules = [root.join("lib/modules"), root.join("usr/lib/modules")]
        .into_iter()
        .find(|d| d.is_dir())
        .context("the kernel's packages bring no modules")?;
    let version = fs::read_dir(&modules)?
        .next()
        .context("the kernel's packages bring an empty directory of modules")??
        .file_name()
        .to_string_lossy()
        .into_owned();
    let image = [
        root.join("boot").join(format!("vmlinuz-{version}")),
        modules.join(&version).join("vmlinuz"),
    ]
    .into_iter()
    .find(|p| p.is_file())
    .context("the kernel's packages bring no image")?;
    fs::copy(image, into.join("vmlinuz"))?;
    if modules != root.join("lib/modules") {
        fs::create_dir_all(root.join("lib"))?;
        fs::rename(&modules, root.join("lib/modules"))?;
    }
    run::output(prefix.command("depmod")?.arg("-b").arg(&root).arg(&version))?;
    archive(&root.join("lib/modules").join(&version), &version, &into.join("modules.cpio"))?;
    fs::write(into.join("version"), format!("{version}\n"))?;
    Ok(())
}

/// The packages of the newest kernel of the wanted version, `NAME=VERSION` each.
fn packages(apt: &Apt, kernel: &Kernel) -> Result<Vec<String>> {
    let stanzas = apt.show(kernel.package)?;
    let versions: Vec<&str> = stanzas.iter().filter_map(|s| field(s, "Version")).collect();
    let meta = stanzas
        .iter()
        .find(|s| field(s, "Version").is_some_and(|v| v.starts_with(kernel.version)))
        .with_context(|| {
            format!(
                "the Debian mirror has no kernel {}x ({} there: {}): is it an old copy without \
                 {BACKPORTS}? Set FREEWHEEL_DEBIAN_MIRROR to a current mirror",
                kernel.version,
                kernel.package,
                versions.join(", ")
            )
        })?;
    let mut found = Vec::new();
    let mut wanted = parts(meta);
    while let Some(name) = wanted.pop() {
        let stanzas = apt.show(&name)?;
        let stanza = stanzas.first().context("apt-cache shows nothing")?;
        let version = field(stanza, "Version").context("a package without a version")?;
        let exact = format!("{name}={version}");
        if !found.contains(&exact) {
            found.push(exact);
            wanted.extend(parts(stanza));
        }
    }
    if found.is_empty() {
        bail!("{} depends on no kernel", kernel.package);
    }
    Ok(found)
}

fn field<'a>(stanza: &'a [(String, String)], name: &str) -> Option<&'a str> {
    stanza.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
}

/// The dependencies of a package that are parts of a kernel (by their name, with a version in it).
fn parts(stanza: &[(String, String)]) -> Vec<String> {
    field(stanza, "Depends")
        .unwrap_or_default()
        .split(',')
        .filter_map(|d| d.split_whitespace().next())
        .filter(|name| {
            ["linux-image-", "linux-binary-", "linux-modules-"]
                .iter()
                .filter_map(|start| name.strip_prefix(start))
                .any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })
        .map(str::to_owned)
        .collect()
}

fn archive(modules: &Path, version: &str, to: &Path) -> Result<()> {
    let mut archive = Archive::new(BufWriter::new(fs::File::create(to)?));
    let base = format!("usr/lib/modules/{version}");
    let dep = fs::read_to_string(modules.join("modules.dep"))?;
    for name in closure(&dep, GUEST_MODULES) {
        archive.host_file(&format!("{base}/{name}"), &modules.join(&name), 0o644)?;
    }
    for entry in fs::read_dir(modules)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_file() && name.starts_with("modules.") {
            archive.host_file(&format!("{base}/{name}"), &path, 0o644)?;
        }
    }
    archive.finish()?;
    Ok(())
}

/// Files of modules and of all that they depend on, from `modules.dep`. Unknown names are skipped:
/// they are built into the kernel, or it lacks them.
fn closure(dep: &str, wanted: &[&str]) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for line in dep.lines() {
        let Some((file, needs)) = line.split_once(':') else {
            continue;
        };
        let name = file.rsplit('/').next().unwrap_or(file);
        let name = name.split('.').next().unwrap_or(name).replace('-', "_");
        if wanted.contains(&name.as_str()) {
            files.insert(file.to_owned());
            files.extend(needs.split_whitespace().map(str::to_owned));
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closure_takes_dependencies() {
        let dep = "kernel/a/ahci.ko.xz: kernel/a/libahci.ko.xz kernel/a/libata.ko.xz\n\
            kernel/b/virtio-blk.ko.xz:\nkernel/c/other.ko.xz: kernel/a/libata.ko.xz\n";
        let got = closure(dep, &["ahci", "virtio_blk", "ext4"]);
        assert_eq!(got.len(), 4);
        assert!(!got.contains("kernel/c/other.ko.xz"));
    }

    #[test]
    fn parts_of_a_kernel() {
        let stanza = apt::stanzas(
            "Depends: dracut | initramfs-tools (>= 0.1), linux-base-7.3.4+deb13-cloud-amd64 (= 7), \
             linux-binary-7.3.4+deb13-cloud-amd64 (= 7), linux-modules-cloud-amd64 (= 7), \
             linux-modules-7.3.4+deb13-cloud-amd64 (= 7)\n",
        );
        assert_eq!(
            parts(&stanza[0]),
            ["linux-binary-7.3.4+deb13-cloud-amd64", "linux-modules-7.3.4+deb13-cloud-amd64"]
        );
    }
}
