//! Images for the CD drive, and booting from one by firmware: an El Torito image with GRUB for
//! SeaBIOS and for UEFI, made here.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Checks, From, Job, Setting, boot};
use crate::run;
use crate::vm::job;

pub(super) const BIOS: Job = Job {
    name: "cd-bios",
    about: "SeaBIOS boots Linux from the CD drive",
    script: include_str!("../../../guest/cd-boot.sh"),
    disks: &[],
    beside: &["--cdrom", "path=@/boot.iso"],
    prepare: Some(prepare),
    from: From::Bios,
    judge: |checks| judge(checks, "pc"),
    kernels: &["6.12"],
    ..boot::BIOS
};

pub(super) const UEFI: Job = Job {
    name: "cd-uefi",
    about: "OVMF boots Linux from the CD drive",
    from: From::Uefi,
    judge: |checks| judge(checks, "efi"),
    ..BIOS
};

fn judge(checks: &mut Checks, platform: &str) {
    checks.of("cmdline").rc(0).has(&format!("loader=grub-{platform}"));
    let efi = if platform == "efi" { 0 } else { 1 };
    checks.of("efi").rc(efi);
    checks.of("model").rc(0).line("BD-ROM");
    // What the firmware loaded is what the CD holds.
    checks.of("manifest").rc(0).has("vmlinuz: OK").has("initrd: OK");
    checks.quiet("kernel", &[]);
}

/// The image of an EFI system partition, in units of 512 bytes.
const ESP_SECTORS: u64 = 4 << 11;

/// A CD with a kernel, the job, and a GRUB for either firmware.
fn prepare(setting: &Setting, job: &Job, scratch: &Path) -> Result<()> {
    let lab = setting.lab;
    let tree = scratch.join("boot");
    let files = tree.join("freewheel");
    fs::create_dir_all(&files)?;
    let (kernel, initrd) = (files.join("vmlinuz"), files.join("initrd"));
    fs::copy(&setting.kernel.image, &kernel)?;
    job::initramfs(&setting.kernel.initramfs, job.script, job.env, &initrd)?;
    let manifest = boot::sums(&[("vmlinuz", &kernel), ("initrd", &initrd)])?;
    fs::write(files.join("manifest"), manifest)?;

    let config = scratch.join("grub.cfg");
    fs::write(&config, boot::grub_config())?;
    let bios = ["biosdisk", "iso9660"];
    boot::grub(lab, "i386-pc-eltorito", &bios, &config, &tree.join("bios.img"))?;
    let efi = scratch.join("boot.efi");
    boot::grub(lab, "x86_64-efi", &["iso9660"], &config, &efi)?;
    let esp = tree.join("efi.img");
    fs::File::create(&esp)?.set_len(ESP_SECTORS * 512)?;
    let mtools = |program: &str, args: &[&str]| {
        run::output(lab.program(program)?.arg("-i").arg(&esp).args(args)).map(drop)
    };
    mtools("mformat", &["-T", &ESP_SECTORS.to_string(), "::"])?;
    mtools("mmd", &["::/EFI", "::/EFI/BOOT"])?;
    mtools("mcopy", &[&efi.to_string_lossy(), "::/EFI/BOOT/BOOTX64.EFI"])?;

    let bios = ["-b", "bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"];
    let uefi = ["-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot"];
    let options = [&bios[..], &uefi[..]].concat();
    burn(setting, "FWBOOT", &options, &tree, &scratch.join("boot.iso"))
}

/// Make an ISO 9660 image with Rock Ridge of a directory.
pub(super) fn burn(
    setting: &Setting,
    volume: &str,
    options: &[&str],
    tree: &Path,
    to: &Path,
) -> Result<()> {
    run::output(
        setting
            .lab
            .program("xorriso")?
            .args(["-as", "mkisofs", "-quiet", "-R", "-V", volume])
            .args(options)
            .arg("-o")
            .arg(to)
            .arg(tree),
    )
    .context("can't make the CD's image")
    .map(drop)
}
