//! What the lab is made of. The text of all this is the lab's stamp: change anything here and the
//! lab is made again.

/// Raise it when the way the lab is made changes in a way that the lists below don't show.
const VERSION: u32 = 1;

/// The Debian release that the packages come from.
pub(crate) const RELEASE: &str = "trixie";
/// And its backports, for QEMU and the newer kernel.
pub(crate) const BACKPORTS: &str = "trixie-backports";

/// QEMU itself: left out where the system's is good enough.
const QEMU: &[&str] = &["qemu-system-x86", "seabios", "ipxe-qemu"];

/// What the host's side and the guest's initramfs are made from.
const PACKAGES: &[&str] = &[
    "busybox-static",
    "e2fsprogs",
    "eject",
    "fdisk",
    "fio",
    "genisoimage",
    "grub-common",
    "grub-efi-amd64-bin",
    "grub-pc-bin",
    "hdparm",
    "kmod",
    "libcdio-utils",
    "mtools",
    "nbdkit",
    "ovmf",
    "qemu-utils",
    "sg3-utils",
    "smartmontools",
    "util-linux",
    "wodim",
    "xorriso",
];

/// Packages that must come from the backports.
pub(crate) const FROM_BACKPORTS: &str = "qemu-* seabios ovmf ipxe-qemu";

/// The guest's programs beside busybox; `*` stands for any ending.
pub(crate) const GUEST_PROGRAMS: &[&str] = &[
    "blkdiscard",
    "cd-info",
    "e2fsck",
    "eject",
    "fio",
    "fstrim",
    "hdparm",
    "isoinfo",
    "kmod",
    "lsblk",
    "mke2fs",
    "mkfs.ext4",
    "modprobe",
    "sg_*",
    "smartctl",
    "wodim",
];

/// The guest's kernel modules, without their dependencies. One that a kernel has built in, or
/// not at all, is left out.
pub(crate) const GUEST_MODULES: &[&str] = &[
    "ahci",
    "ext4",
    "isofs",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859_1",
    "sd_mod",
    "sg",
    "sr_mod",
    "vfat",
    "virtio_blk",
];

/// A kernel of the lab.
pub(crate) struct Kernel {
    /// How `--kernel` calls it.
    pub(crate) name: &'static str,
    /// The meta package that depends on it.
    pub(crate) package: &'static str,
    /// The major (and minor) version wanted of it.
    pub(crate) version: &'static str,
}

/// The cloud kernels: small, with `ahci` as a module and ext4 built in. They lack port multipliers
/// (`CONFIG_SATA_PMP`), which the full ones have.
pub(crate) const KERNELS: &[Kernel] = &[
    Kernel { name: "6.12", package: "linux-image-cloud-amd64", version: "6.12." },
    Kernel { name: "7", package: "linux-image-cloud-amd64", version: "7." },
    Kernel { name: "6.12-full", package: "linux-image-amd64", version: "6.12." },
    Kernel { name: "7-full", package: "linux-image-amd64", version: "7." },
];

pub(crate) fn packages(system_qemu: bool) -> Vec<&'static str> {
    let qemu = if system_qemu { &[][..] } else { QEMU };
    [PACKAGES, qemu].concat()
}

/// The whole recipe as text.
pub(crate) fn text(system_qemu: bool) -> String {
    let mut text = format!("version {VERSION}\nrelease {RELEASE} {BACKPORTS} {FROM_BACKPORTS}\n");
    text += &format!("packages {}\n", packages(system_qemu).join(" "));
    text += &format!("programs {}\n", GUEST_PROGRAMS.join(" "));
    text += &format!("modules {}\n", GUEST_MODULES.join(" "));
    for k in KERNELS {
        text += &format!("kernel {} {} {}\n", k.name, k.package, k.version);
    }
    text
}

/// FNV-1a: a short name for a recipe, the same on every machine.
pub(crate) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |h: u32, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::{hash, text};

    #[test]
    fn recipes_differ_by_their_qemu() {
        assert_ne!(hash(&text(true)), hash(&text(false)));
        assert_eq!(hash("a"), 0xe40c_292c);
    }
}
