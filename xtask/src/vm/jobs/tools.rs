//! What hdparm, smartctl, the sg tools and util-linux say about the disk and do with it, field by
//! field, with sectors of both sizes.

use std::time::Duration;

use super::{Checks, Disk, From, Job};

pub(super) const T512: Job = Job {
    name: "tools",
    about: "hdparm, smartctl, sg tools, discards: 512-byte sectors emulated on 4096",
    script: include_str!("../../../guest/tools.sh"),
    env: "LOGICAL=512\n",
    disks: &[Disk {
        mib: 256,
        keys: "logical=512,model=Freewheel Test,serial=FWTOOLS0001,firmware=FW1.0,\
               wwn=0x5000c50015ea71aa",
    }],
    from: From::Kernel,
    port_multiplier: false,
    limit: Duration::from_secs(400),
    judge: |checks| judge(checks, 512),
};

pub(super) const T4096: Job = Job {
    name: "tools-4kn",
    about: "hdparm, smartctl, sg tools, discards: 4096-byte sectors",
    env: "LOGICAL=4096\n",
    disks: &[Disk {
        mib: 256,
        keys: "logical=4096,model=Freewheel Test,serial=FWTOOLS0001,firmware=FW1.0,\
               wwn=0x5000c50015ea71aa",
    }],
    judge: |checks| judge(checks, 4096),
    ..T512
};

fn judge(_checks: &mut Checks, _logical: u64) {}
