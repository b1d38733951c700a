//! Whether KVM really runs a guest here: on some machines its device opens and the guest never
//! gets anywhere. A tiny guest is booted to see, once per boot of the host.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::guest::{Accel, Boot, Guest, Start};
use super::job::Job;
use super::kernel::Kernel;
use super::serial::What;
use crate::children::Scratch;
use crate::lab::Lab;
use crate::say;

pub(crate) fn choose(lab: &Lab, kernel: &Kernel) -> Result<Accel> {
    match std::env::var("FREEWHEEL_ACCEL").as_deref() {
        Ok("kvm") => return Ok(Accel::Kvm),
        Ok("tcg") => return Ok(Accel::Tcg),
        Ok(other) if !other.is_empty() => {
            bail!("FREEWHEEL_ACCEL={other} is unknown: set it to kvm or tcg, or unset it")
        }
        _ => {}
    }
    if OpenOptions::new().read(true).write(true).open("/dev/kvm").is_err() {
        return Ok(Accel::Tcg);
    }
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let note = lab.dir().join("accel");
    let known = fs::read_to_string(&note).unwrap_or_default();
    if let Some(name) = known.strip_prefix(boot.trim()) {
        return Ok(if name.trim() == Accel::Kvm.name() { Accel::Kvm } else { Accel::Tcg });
    }
    say::step("trying whether KVM runs a guest here");
    let accel = if runs(lab, kernel)? { Accel::Kvm } else { Accel::Tcg };
    say::step(format_args!("guests run with {}", accel.name()));
    // Only a short cut for the next time.
    let _ = fs::write(&note, format!("{} {}\n", boot.trim(), accel.name()));
    Ok(accel)
}

fn runs(lab: &Lab, kernel: &Kernel) -> Result<bool> {
    let scratch = Scratch::new()?;
    let guest = Guest::start(&Boot {
        lab,
        accel: Accel::Kvm,
        start: Start::Kernel {
            image: &kernel.image,
            initramfs: &kernel.initramfs,
            script: Job::Probe.script(),
            env: "",
        },
        args: &[],
        scratch: scratch.path(),
        logs: Path::new(scratch.path()),
    })?;
    let until = Instant::now() + Duration::from_secs(10);
    while let Some(event) = guest.next(until) {
        match event.what {
            What::Marker(marker) if marker.get("boot").is_some() => return Ok(true),
            What::Closed => break,
            _ => {}
        }
    }
    Ok(false)
}
