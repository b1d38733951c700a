//! Booting from a Freewheel disk by firmware: an image made here, with GRUB for SeaBIOS and for
//! UEFI on the same disk (GPT with a BIOS boot partition and an EFI system partition), made without
//! root rights, mounts or loop devices.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Checks, Disk, From, Job, Setting};
use crate::lab::Lab;
use crate::run;
use crate::vm::guest::APPEND;
use crate::vm::image::Image;
use crate::vm::job;

const DISK: &[Disk] = &[Disk { mib: 256, keys: "" }];

pub(super) const BIOS: Job = Job {
    name: "boot-bios",
    about: "SeaBIOS boots Linux from the disk",
    script: include_str!("../../../guest/boot.sh"),
    after_power_cycle: None,
    env: "",
    disks: DISK,
    beside: &[],
    prepare: None,
    from: From::Bios,
    kernels: &["6.12", "7"],
    port_multiplier: false,
    limit: Duration::from_secs(150),
    judge: |checks| judge(checks, "pc"),
};

pub(super) const UEFI: Job = Job {
    name: "boot-uefi",
    about: "OVMF boots Linux from the disk",
    from: From::Uefi,
    judge: |checks| judge(checks, "efi"),
    ..BIOS
};

fn judge(checks: &mut Checks, platform: &str) {
    // GRUB puts the platform that it was built for into the command line.
    checks.of("cmdline").rc(0).has(&format!("loader=grub-{platform}"));
    let efi = if platform == "efi" { 0 } else { 1 };
    checks.of("efi").rc(efi);
    checks.of("model").rc(0).line("Freewheel Disk");
    // What the firmware loaded is what the disk holds.
    checks.of("manifest").rc(0).has("vmlinuz: OK").has("initrd: OK");
    checks.of("table").rc(0).has("sda1").has("sda2").has("sda3");
    checks.quiet("kernel", &[]);
}

const SECTOR_BYTES: u64 = 512;
/// GRUB's core image lies right behind the partition table.
const CORE_LBA: u64 = 34;
const ESP_LBA: u64 = 2048;
const ESP_SECTORS: u64 = 200 << 11;

/// In boot.img: the LBA of the core image's first sector (GRUB's `GRUB_BOOT_MACHINE_KERNEL_SECTOR`).
const BOOT_IMG_CORE_LBA: u64 = 0x5c;
/// boot.img ends where the disk's signature and the partition table begin.
const BOOT_IMG_BYTES: usize = 440;
/// At the end of the core image's first sector: the LBA of its second one.
const CORE_IMG_REST_LBA: u64 = 0x1f4;

/// Put a partition table, GRUB, a kernel and the job onto an image.
pub(super) fn install(setting: &Setting, job: &Job, image: &Image, scratch: &Path) -> Result<()> {
    let lab = setting.lab;
    partition(lab, image)?;
    let config = scratch.join("grub.cfg");
    fs::write(&config, grub_config())?;
    let core = grub(lab, "i386-pc", &["biosdisk"], &config, &scratch.join("core.img"))?;
    let disk = File::options().write(true).open(image.path())?;
    let mut boot = fs::read(lab.file("usr/lib/grub/i386-pc/boot.img")?)?;
    boot.truncate(BOOT_IMG_BYTES);
    disk.write_all_at(&boot, 0)?;
    disk.write_all_at(&CORE_LBA.to_le_bytes(), BOOT_IMG_CORE_LBA)?;
    disk.write_all_at(&core, CORE_LBA * SECTOR_BYTES)?;
    let rest = CORE_LBA * SECTOR_BYTES + CORE_IMG_REST_LBA;
    disk.write_all_at(&(CORE_LBA + 1).to_le_bytes(), rest)?;

    let efi = scratch.join("boot.efi");
    grub(lab, "x86_64-efi", &[], &config, &efi)?;
    let initrd = scratch.join("initrd");
    job::initramfs(&setting.kernel.initramfs, job.script, job.env, &initrd)?;
    let manifest = scratch.join("manifest");
    let kernel = &setting.kernel.image;
    fs::write(&manifest, sums(&[("vmlinuz", kernel), ("initrd", &initrd)])?)?;

    let esp = format!("{}@@{}", image.path().display(), ESP_LBA * SECTOR_BYTES);
    let mtools = |program: &str, args: &[&str]| {
        run::output(lab.program(program)?.args(["-i", &esp]).args(args)).map(drop)
    };
    mtools("mformat", &["-F", "-T", &ESP_SECTORS.to_string(), "::"])?;
    mtools("mmd", &["::/EFI", "::/EFI/BOOT", "::/freewheel"])?;
    for (from, to) in [
        (efi.as_path(), "::/EFI/BOOT/BOOTX64.EFI"),
        (kernel, "::/freewheel/vmlinuz"),
        (&initrd, "::/freewheel/initrd"),
        (&manifest, "::/freewheel/manifest"),
    ] {
        mtools("mcopy", &[&from.to_string_lossy(), to])?;
    }
    Ok(())
}

fn partition(lab: &Lab, image: &Image) -> Result<()> {
    let table = format!(
        "label: gpt\nfirst-lba: {CORE_LBA}\n\
         start={CORE_LBA}, size={}, type=21686148-6449-6E6F-744E-656564454649, name=grub\n\
         start={ESP_LBA}, size={ESP_SECTORS}, type=uefi, name=esp\n\
         type=linux, name=data\n",
        ESP_LBA - CORE_LBA
    );
    let mut child = lab
        .program("sfdisk")?
        .arg("--quiet")
        .arg(image.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("can't start sfdisk")?;
    child.stdin.take().context("sfdisk has no input")?.write_all(table.as_bytes())?;
    let out = child.wait_with_output()?;
    let why = String::from_utf8_lossy(&out.stderr);
    anyhow::ensure!(out.status.success(), "sfdisk ended with {}: {}", out.status, why.trim());
    Ok(())
}

/// What GRUB does by itself, without a menu.
pub(super) fn grub_config() -> String {
    format!(
        "serial --unit=0 --speed=115200\n\
         terminal_input serial console\n\
         terminal_output serial console\n\
         search --no-floppy --file --set=root /freewheel/vmlinuz\n\
         echo \"GRUB on $grub_platform, from $root\"\n\
         linux /freewheel/vmlinuz {APPEND} loader=grub-$grub_platform\n\
         initrd /freewheel/initrd\n\
         boot\n"
    )
}

/// Make a GRUB for a platform (`i386-pc-eltorito` is that of BIOS, in one piece for a CD), with its
/// configuration in it.
pub(super) fn grub(
    lab: &Lab,
    platform: &str,
    more: &[&str],
    config: &Path,
    to: &Path,
) -> Result<Vec<u8>> {
    let modules =
        ["part_gpt", "fat", "search", "linux", "normal", "serial", "terminal", "echo", "boot"];
    run::output(
        lab.program("grub-mkimage")?
            .args(["-O", platform, "-p", "/freewheel", "-d"])
            .arg(lab.file(&format!("usr/lib/grub/{}", platform.trim_end_matches("-eltorito")))?)
            .arg("-o")
            .arg(to)
            .arg("-c")
            .arg(config)
            .args(modules)
            .args(more),
    )
    .context("can't make GRUB")?;
    Ok(fs::read(to)?)
}

/// Check sums as `md5sum -c` reads them.
pub(super) fn sums(files: &[(&str, &Path)]) -> Result<String> {
    let mut text = String::new();
    for (name, path) in files {
        let line = run::output(std::process::Command::new("md5sum").arg(path))?;
        let sum = line.split_whitespace().next().context("md5sum printed nothing")?;
        text += &format!("{sum}  {name}\n");
    }
    Ok(text)
}

/// QEMU's arguments for OVMF, with variables of its own.
pub(super) fn uefi(lab: &Lab, scratch: &Path) -> Result<Vec<String>> {
    let variables = scratch.join("variables.fd");
    fs::copy(lab.file("usr/share/OVMF/OVMF_VARS_4M.fd")?, &variables)?;
    let code = lab.file("usr/share/OVMF/OVMF_CODE_4M.fd")?;
    let flash = |options: &str, file: &Path| {
        ["-drive".to_owned(), format!("if=pflash,format=raw{options},file={}", file.display())]
    };
    Ok([flash(",readonly=on", &code), flash("", &variables)].concat())
}
