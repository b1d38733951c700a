//! `cargo xtask lab`: what real guests need, installed beside the host and shared by all clones.
//!
//! Debian packages are resolved by apt with a private state, unpacked (not installed) into a
//! prefix, and run through the prefix's own loader: no root rights, no chroot, no name spaces.
//! `recipe` says what goes in, `sources` finds the mirror, `apt` downloads and unpacks, `kernel`
//! and `initramfs` make what a guest boots, `qemu` decides which QEMU runs it.

mod apt;
mod cpio;
mod elf;
mod initramfs;
mod kernel;
mod qemu;
mod recipe;
mod sources;

pub(crate) use cpio::Archive;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::children::Scratch;
use crate::{run, say};
use qemu::Qemu;

#[derive(clap::Args)]
#[command(
    after_help = "The lab lies in $FREEWHEEL_LAB, else in $XDG_CACHE_HOME/freewheel/lab-HASH \
    (~/.cache without XDG_CACHE_HOME), so that clones share it; HASH is the recipe's.\n\
    $FREEWHEEL_DEBIAN_MIRROR overrides the Debian mirror, which is otherwise the one that the \
    machine's apt is set up with. $FREEWHEEL_QEMU names a QEMU to use.\n\n\
    Example: cargo xtask lab"
)]
pub(crate) struct LabArgs {
    /// Throw the lab away and make it again.
    #[arg(long)]
    force: bool,
    /// Print the lab's directory on standard output when done.
    #[arg(long)]
    print_path: bool,
}

/// A lab that is ready for use.
pub(crate) struct Lab {
    dir: PathBuf,
    qemu: Qemu,
}

/// `cargo xtask lab`.
pub(crate) fn main(args: &LabArgs) -> Result<bool> {
    let qemu = Qemu::choose()?;
    if args.force {
        let dir = location(&qemu)?;
        // Only what is certainly a lab is thrown away, whatever FREEWHEEL_LAB says.
        if dir.join(STAMP).is_file() {
            fs::remove_dir_all(&dir).with_context(|| format!("can't remove {}", dir.display()))?;
        }
    }
    let lab = Lab::ensure()?;
    let versions = recipe::KERNELS.iter().map(|kernel| lab.kernel_version(kernel.name));
    let versions: Vec<String> = versions.collect::<Result<_>>()?;
    say::step(format_args!(
        "lab ready in {}: {}; kernels {}",
        lab.dir.display(),
        lab.qemu,
        versions.join(", ")
    ));
    if args.print_path {
        println!("{}", lab.dir.display());
    }
    Ok(true)
}

const STAMP: &str = "stamp";

impl Lab {
    /// The lab, made first if it isn't there.
    pub(crate) fn ensure() -> Result<Self> {
        let qemu = Qemu::choose()?;
        let dir = location(&qemu)?;
        let recipe = recipe::text(qemu.is_system());
        match fs::read_to_string(dir.join(STAMP)) {
            Ok(stamp) if stamp == recipe => {}
            Ok(_) => {
                say::step("the lab was made from another recipe: making it again");
                fs::remove_dir_all(&dir)
                    .with_context(|| format!("can't remove {}", dir.display()))?;
                make(&dir, &qemu, &recipe)?;
            }
            Err(_) => make(&dir, &qemu, &recipe)?,
        }
        let lab = Self { dir, qemu };
        Ok(lab)
    }

    /// The lab's directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// A program of the lab, run through the lab's own loader and libraries.
    pub(crate) fn program(&self, name: &str) -> Result<Command> {
        elf::Prefix::new(self.root()).command(name)
    }

    /// A file of the lab's packages, by its path from the root.
    pub(crate) fn file(&self, path: &str) -> Result<PathBuf> {
        let path = self.root().join(path);
        if !path.exists() {
            bail!("{} is missing from the lab: run `cargo xtask lab --force`", path.display());
        }
        Ok(path)
    }

    /// QEMU, with the paths to its firmware and modules set.
    pub(crate) fn qemu(&self) -> Result<Command> {
        self.qemu.command(&elf::Prefix::new(self.root()))
    }

    /// The kernel image and the initramfs archives (tools, modules) to boot it with.
    pub(crate) fn kernel(&self, name: &str) -> Result<(PathBuf, Vec<PathBuf>)> {
        let dir = self.dir.join("kernel").join(name);
        let image = dir.join("vmlinuz");
        if !image.is_file() {
            bail!("the lab has no kernel {name:?}: it has 6.12, 7, 6.12-full and 7-full");
        }
        Ok((image, vec![self.tools(), dir.join("modules.cpio")]))
    }

    /// The archive with the guest's programs, which fits any kernel.
    pub(crate) fn tools(&self) -> PathBuf {
        self.dir.join("tools.cpio")
    }

    pub(crate) fn kernel_version(&self, name: &str) -> Result<String> {
        let file = self.dir.join("kernel").join(name).join("version");
        let text =
            fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
        Ok(text.trim().to_owned())
    }
}

/// Where the lab lies: by default it carries the recipe's hash, so that clones at different
/// commits don't take turns at making it.
fn location(qemu: &Qemu) -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("FREEWHEEL_LAB") {
        return std::path::absolute(dir).context("FREEWHEEL_LAB is no usable path");
    }
    let name = format!("lab-{:08x}", recipe::hash(&recipe::text(qemu.is_system())));
    Ok(cache()?.join(name))
}

/// The directory for things that are slow to make and shared by all clones.
pub(crate) fn cache() -> Result<PathBuf> {
    let base =
        match std::env::var_os("XDG_CACHE_HOME").filter(|d| !d.is_empty()) {
            Some(dir) => PathBuf::from(dir),
            None => PathBuf::from(std::env::var_os("HOME").context(
                "neither XDG_CACHE_HOME nor HOME is set: set FREEWHEEL_LAB to a directory",
            )?)
            .join(".cache"),
        };
    Ok(base.join("freewheel"))
}

/// Make the lab beside its place, then move it there in one step: a half-made lab never counts.
fn make(dir: &Path, qemu: &Qemu, recipe: &str) -> Result<()> {
    check_host()?;
    let parent = dir.parent().context("the lab's path has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("can't create {}", parent.display()))?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        bail!(
            "{} exists and is no lab: it is left as it is; remove it, or set FREEWHEEL_LAB to \
             another directory",
            dir.display()
        );
    }
    let building = Scratch::within(parent)?;
    let new = building.path().join("lab");
    fs::create_dir_all(&new)?;

    say::step(format_args!("making the lab in {} (once)", dir.display()));
    let apt = apt::Apt::new(&building.path().join("apt"))?;
    apt.update()?;
    let debs = apt.download_closure(&recipe::packages(qemu.is_system()))?;
    let root = new.join("root");
    apt::unpack(&debs, &root)?;
    let prefix = elf::Prefix::new(root);
    say::step("building the initramfs");
    initramfs::tools(&prefix, &new.join("tools.cpio"))?;
    for kernel in recipe::KERNELS {
        kernel::install(&apt, &prefix, kernel, &new.join("kernel").join(kernel.name))?;
    }
    fs::write(new.join(STAMP), recipe)?;

    if dir.exists() {
        let _ = fs::remove_dir(dir);
    }
    if let Err(err) = fs::rename(&new, dir) {
        // Somebody else made the same lab meanwhile: theirs is as good.
        if !fs::read_to_string(dir.join(STAMP)).is_ok_and(|s| s == recipe) {
            return Err(err).with_context(|| format!("can't move the lab to {}", dir.display()));
        }
    }
    Ok(())
}

fn check_host() -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the lab needs Linux on x86-64: run the guest tests on such a machine");
    }
    let missing: Vec<&str> = ["apt-get", "apt-cache", "apt-config", "dpkg-deb"]
        .into_iter()
        .filter(|p| run::find(p).is_none())
        .collect();
    if !missing.is_empty() {
        bail!(
            "the lab is made from Debian packages, and {} not found here\n\
             remedy: install apt and dpkg with debian-archive-keyring (most distributions package \
             them: `dnf install apt dpkg debian-keyring`, `pacman -S apt dpkg \
             debian-archive-keyring`) and set FREEWHEEL_DEBIAN_MIRROR to a Debian mirror's URL",
            match missing.as_slice() {
                [one] => format!("{one} is"),
                many => format!("{} are", many.join(", ")),
            }
        );
    }
    Ok(())
}
