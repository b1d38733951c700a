//! `cargo xtask vm`: a real Linux guest on a Freewheel disk.
//!
//! `rig` puts a run together from `image`, `server` (what serves the disk), `guest` (QEMU), `job`
//! (the script inside) and follows it; `serial`, `marker`, `qmp` and `control` are the ways in and
//! out; `plain`, `drill` and `jobs` are what is run, and what counts as passed.

mod accel;
mod control;
mod drill;
mod guest;
mod image;
mod job;
mod jobs;
mod kernel;
mod marker;
mod plain;
mod qmp;
mod rig;
mod serial;
mod server;
mod stall;

use anyhow::{Result, bail};
use clap::{Args, FromArgMatches};

use crate::lab::Lab;
use crate::workspace;
use kernel::Kernel;
use rig::Setting;
use server::{Device, Engine};
pub(crate) use stall::obstacle as stall_obstacle;

#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    cargo xtask vm                                  the main job: format, write, verify, trim\n  \
    cargo xtask vm --job errors                     a job with checks (--job list names all)\n  \
    cargo xtask vm --drill                          a TRIM of 35 s, with both engines\n  \
    cargo xtask vm --drill --fault write#20:hang    a write that hangs until it is let go\n  \
    cargo xtask vm --drill --real-stall             a disk that hangs in the host's kernel\n  \
    cargo xtask vm --drill --against-qemu           side by side with QEMU's own AHCI\n\n\
    Logs lie in vm/ of cargo's target directory. FREEWHEEL_ACCEL=kvm|tcg decides how guests run; \
    otherwise KVM is used where a guest really runs with it.")]
pub(crate) struct VmArgs {
    /// A job with checks in place of the main job; `list` names them.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["drill", "device", "engine"])]
    job: Option<String>,
    /// The stuck-storage drill in place of the main job.
    #[arg(long)]
    drill: bool,
    /// Every drill: the slow TRIM, and a write and a read that hang.
    #[arg(long, requires = "drill", conflicts_with_all = ["fault", "against_qemu"])]
    all: bool,
    /// The drill on QEMU's own AHCI too, side by side (its VM freezes for minutes).
    #[arg(long, requires = "drill", conflicts_with = "fault")]
    against_qemu: bool,
    /// The disk's fault in place of a TRIM of 35 s, as `freewheel serve --disk fault=…` takes it.
    #[arg(long, requires = "drill", value_name = "SPEC")]
    fault: Option<String>,
    /// No fault, but storage that really stalls, in the host's kernel: the image lies on a FUSE
    /// file system (needs root). Everything hangs for longer than the guest waits.
    #[arg(long, requires = "drill", conflicts_with_all = ["fault", "all", "against_qemu", "device"])]
    real_stall: bool,
    /// Freewheel's engine. Without it the drill runs with both, one after the other.
    #[arg(long)]
    engine: Option<Engine>,
    /// The guest's kernel: 6.12, 7 (each with -full behind it for Debian's full kernel), or the path of an image with AHCI and SCSI disks built in.
    #[arg(long, default_value = "6.12", value_name = "6.12|7|PATH")]
    kernel: String,
    /// Repeat the guest's console on standard error.
    #[arg(long)]
    show_console: bool,
    /// Serve the disk by something else: for work on the guest's side.
    #[arg(long, hide = true)]
    device: Option<Other>,
    /// Further arguments for QEMU.
    #[arg(last = true, value_name = "QEMU ARGS")]
    qemu: Vec<String>,
}

impl VmArgs {
    /// From words as on the command line, for other tasks that run guests.
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let command = VmArgs::augment_args(clap::Command::new("vm").no_binary_name(true));
        Ok(VmArgs::from_arg_matches(&command.try_get_matches_from(words)?)?)
    }
}

/// Every job with checks and the kernels that it is to pass on.
pub(crate) fn jobs() -> impl Iterator<Item = (&'static str, &'static str)> {
    jobs::JOBS.iter().flat_map(|job| job.kernels.iter().map(|kernel| (job.name, *kernel)))
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Other {
    QemuAhci,
}

/// How long QEMU's storage takes for a TRIM: as long as Freewheel's in the drill.
const QEMU_TRIM_DELAY: u64 = 35;

/// `cargo xtask vm`.
pub(crate) fn main(args: &VmArgs) -> Result<bool> {
    if args.job.as_deref() == Some("list") {
        for job in jobs::JOBS {
            println!("{:12} {}", job.name, job.about);
        }
        return Ok(true);
    }
    let job = args.job.as_deref().map(jobs::find).transpose()?;
    if args.device.is_none() {
        workspace::build_freewheel()?;
    }
    let lab = Lab::ensure()?;
    let wanted = job.map_or(args.kernel.as_str(), |job| job.kernel(&args.kernel));
    let kernel = Kernel::find(&lab, wanted)?;
    let accel = accel::choose(&lab, &kernel)?;
    let setting =
        Setting { lab: &lab, accel, kernel: &kernel, args: &args.qemu, show: args.show_console };
    if let Some(job) = job {
        return jobs::run(&setting, job);
    }
    if args.drill {
        return drills(&setting, args);
    }
    let device = match args.device {
        Some(Other::QemuAhci) => Device::QemuAhci { trim_delay: None },
        None => Device::Freewheel {
            engine: args.engine.unwrap_or(Engine::IoUring),
            fault: None,
            stalls: false,
        },
    };
    plain::run(&setting, &device)
}

fn drills(setting: &Setting, args: &VmArgs) -> Result<bool> {
    let usual = if args.real_stall { stall::REAL_STALL } else { drill::TRIM_FAULT };
    let mut faults = vec![args.fault.as_deref().unwrap_or(usual)];
    if args.all {
        faults.extend(drill::HANGS);
    }
    let engines = match args.engine {
        Some(engine) => vec![engine],
        None => Engine::ALL.to_vec(),
    };
    let mut good = true;
    for fault in faults {
        let mut devices: Vec<Device> = match args.device {
            Some(Other::QemuAhci) => Vec::new(),
            None => engines
                .iter()
                .map(|engine| Device::Freewheel {
                    engine: *engine,
                    fault: (!args.real_stall).then(|| fault.to_owned()),
                    stalls: args.real_stall,
                })
                .collect(),
        };
        if args.against_qemu || args.device.is_some() {
            if !fault.starts_with("discard") {
                bail!("QEMU's own AHCI can only be compared with a slow TRIM: leave out --fault");
            }
            devices.push(Device::QemuAhci { trim_delay: Some(QEMU_TRIM_DELAY) });
        }
        let mut columns = Vec::new();
        for device in &devices {
            columns.push(drill::run(setting, device, fault)?);
        }
        println!();
        good &= drill::print(fault, setting, &columns);
    }
    Ok(good)
}
