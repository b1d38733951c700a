//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cdrom::CdromSpec;
use crate::disk::DiskSpec;
use crate::exit;

/// A virtual SATA controller that keeps the VM turning when the storage stalls.
#[derive(Debug, Parser)]
#[command(name = "freewheel", version, about, after_help = exit::TABLE)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve one controller to a VMM over vfio-user
    #[command(after_help = SERVE_EXAMPLE)]
    Serve(ServeArgs),
    /// Look at, and steer, a controller that is being served
    #[command(after_help = CTL_EXAMPLE)]
    Ctl(CtlArgs),
    /// Prove the contract without a VM: stuck storage, every way to reset, a verdict on each clause
    #[command(after_help = DRILL_EXAMPLE)]
    Drill(DrillArgs),
}

const SERVE_EXAMPLE: &str = "\
Example:
  freewheel serve --socket /run/vm.sock --disk path=disk.img,cache=none
  qemu-system-x86_64 -machine q35,memory-backend=mem \\
    -object memory-backend-memfd,id=mem,size=1G,share=on \\
    -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"path\":\"/run/vm.sock\",\"type\":\"unix\"}}' …

Disk keys (a comma in a value is doubled):
  path=FILE                 the image: a raw file or a block device (required)
  format=raw                the image's format
  port=N                    the port of the controller, from 0; the next free one by default
  port=N.M                  device port M, 0 to 14, of a port multiplier on port N
  readonly=on|off           refuse writes
  cache=writeback|none|writethrough
  discard=on|off            offer TRIM, and pass it on
  logical=512|4096          logical sector size in bytes
  physical=BYTES            physical sector size in bytes
  serial=, model=, firmware=, wwn=0x…
  rotation=ssd|RPM
  queue=1..32               depth of native command queueing
  engine=auto|io_uring|threads
  state=on|off|PATH         keep what a drive keeps without power (power-on time, settings that
                            persist …) in a file; `on`: beside the image, with .freewheel-state
                            appended (off by default)
  fault=SPEC                inject a fault, e.g. discard#1:delay=35s or link:drop=2s; may be
                            repeated (all of them: docs/faults.md)

CD drive keys (disks and drives come and go while it runs: docs/hot-plug.md):
  path=FILE                 the image in it, such as an ISO file; none: the drive is empty
  port=N                    the port of the controller, from 0; the next free one by default
  serial=, vendor=, product=, firmware=, wwn=0x…
  cache=writeback|none      how its images are read
  engine=auto|io_uring|threads
  fault=SPEC                a fault of its images' storage, or of its link";

const CTL_EXAMPLE: &str = "\
Example:
  freewheel ctl --control /run/vm.ctl status
  freewheel ctl --control /run/vm.ctl attach --disk path=data.img,port=3
  freewheel ctl --control /run/vm.ctl detach --port 3
  freewheel ctl --control /run/vm.ctl insert --port 1 tools.iso";

const DRILL_EXAMPLE: &str = "\
Example:
  freewheel drill
  freewheel drill --engine threads --json
  freewheel drill --stall-with 'exec hangfs /mnt/h' --disk path=/mnt/h/disk --destroy-data";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Unix socket to serve vfio-user on
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: PathBuf,
    /// A disk; may be repeated
    #[arg(long = "disk", value_name = "KEY=VALUE,…")]
    pub(crate) disks: Vec<DiskSpec>,
    /// A CD drive, empty if no path is given (`--cdrom ''`); may be repeated
    #[arg(long = "cdrom", value_name = "KEY=VALUE,…")]
    pub(crate) cdroms: Vec<CdromSpec>,
    /// Ports of the controller, 1 to 32 (as many as the disks need, at least 6, by default)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub(crate) ports: Option<u8>,
    /// Unix socket for the control protocol (JSON-RPC 2.0, one object a line)
    #[arg(long, value_name = "PATH")]
    pub(crate) control: Option<PathBuf>,
    /// Keep serving when the VMM disconnects
    #[arg(long)]
    pub(crate) keep: bool,
    /// Seconds that the end waits for stuck storage before it names the ranges in doubt
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) deadline: u64,
}

#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    /// The control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: CtlVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlVerb {
    /// Print the whole live state as JSON
    Status,
    /// Add a fault to a disk, remove all faults, or release what they hold
    #[command(subcommand)]
    Fault(FaultVerb),
    /// Open a disk or a CD drive and attach it
    #[command(group = clap::ArgGroup::new("what").required(true))]
    Attach {
        /// A disk, as for `serve`
        #[arg(long, value_name = "KEY=VALUE,…", group = "what")]
        disk: Option<String>,
        /// A CD drive, as for `serve`
        #[arg(long, value_name = "KEY=VALUE,…", group = "what")]
        cdrom: Option<String>,
    },
    /// Detach a disk or CD drive once the guest leaves it alone; unmount it in the guest first
    Detach {
        /// Its port, N or N.M
        #[arg(long, value_name = "PORT")]
        port: crate::place::Place,
        /// At once, as if it had been pulled out
        #[arg(long, conflicts_with = "timeout")]
        force: bool,
        /// How long the guest may keep it busy
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
    /// Put a medium into a CD drive and close its tray
    Insert {
        /// The drive's port
        #[arg(long, value_name = "PORT")]
        port: crate::place::Place,
        /// The image
        path: PathBuf,
    },
    /// Open the tray of a CD drive and take the medium out
    Eject {
        /// The drive's port
        #[arg(long, value_name = "PORT")]
        port: crate::place::Place,
        /// Even if the guest has locked it
        #[arg(long)]
        force: bool,
    },
    /// End the server: cancel, wait for orphans up to the deadline, flush
    Shutdown,
}

#[derive(Debug, Subcommand)]
pub(crate) enum FaultVerb {
    /// Add a fault
    Add {
        /// The disk's port, N or N.M
        #[arg(long, default_value = "0", value_name = "PORT")]
        port: crate::place::Place,
        /// OP[@LBA[+COUNT]][#NTH][/PROBABILITY]:ACTION
        spec: String,
    },
    /// Remove every fault; what is held stays held
    Clear,
    /// Let everything that hangs or is delayed go on
    Release,
}

#[derive(Debug, Args)]
pub(crate) struct DrillArgs {
    /// The disk to use instead of a temporary file; its content is destroyed. With `fault=`, what is
    /// slow or reads short stays so throughout (docs/faults.md)
    #[arg(long, value_name = "KEY=VALUE,…", requires = "destroy_data")]
    pub(crate) disk: Option<DiskSpec>,
    /// Confirms that the content of --disk may be destroyed
    #[arg(long)]
    pub(crate) destroy_data: bool,
    /// What executes requests on the temporary file: auto, io_uring or threads
    #[arg(long, value_name = "ENGINE", value_parser = crate::disk::engine, conflicts_with = "disk")]
    pub(crate) engine: Option<freewheel_backends::file::EngineChoice>,
    /// Let PROGRAM, a shell command, make --disk hang, instead of injected faults. It mounts the
    /// storage, says `mounted`, and obeys commands on its standard input, as hangfs does
    #[arg(long, value_name = "PROGRAM", requires = "disk", hide_short_help = true)]
    pub(crate) stall_with: Option<String>,
    /// How often each way to reset is tried
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
    /// Print one JSON object instead of the timeline
    #[arg(long)]
    pub(crate) json: bool,
}
