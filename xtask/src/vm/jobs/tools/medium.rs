//! What is done to the medium: discards, a bad sector, a hidden end, a password, erasing.

use super::super::errors;
use super::{BYTES, Checks};

/// Of UNMAP, WRITE SAME, BLKZEROOUT and BLKDISCARD, libata lets programs use the last two.
pub(super) fn discards(checks: &mut Checks) {
    checks.of("fill").rc(0);
    checks.of("unmap").rc(9).line("UNMAP not supported");
    checks.of("write_same").rc(9).line("Write same(16): Illegal request, Invalid opcode");
    for name in ["untouched", "zeroout", "zeroout_zero", "discard", "discard_zero", "behind"] {
        checks.of(name).rc(0);
    }
}

/// WRITE UNCORRECTABLE, and what follows until the sector is written again.
pub(super) fn bad_sector(checks: &mut Checks, logical: u64) {
    let bad = (64 << 20) / logical + 16;
    let count = 4096 / logical;
    checks
        .of("make_bad")
        .rc(0)
        .field(&format!("Corrupting sector {bad} (WRITE_UNC_EXT as pseudo):"), "succeeded");
    // Since libata's sense data has no descriptors, hdparm shows it and goes on: medium error,
    // unrecovered read error.
    checks.of("read_bad").has("f0 00 03 40 51").has(" 11 04 00");
    checks.of("part_bad").rc(1).has("Input/output error");
    let lba =
        format!(":{:02x}:{:02x}:{:02x}/00:00:00:00:00/40", bad & 255, bad >> 8 & 255, bad >> 16);
    let sector = format!("I/O error, dev sda, sector {} op 0x0:(READ)", bad * logical / 512);
    checks
        .of("bad_kernel")
        .rc(0)
        .has(&format!("{lba} Emask 0x409 (media error) <F>"))
        .has("error: { UNC }")
        .has("Unrecovered read error")
        .has(&sector)
        .lacks("resetting link");
    checks.quiet("bad_kernel", &[&errors::REPORT[..], &[&sector]].concat());
    checks
        .of("bad_counts")
        .rc(0)
        .field_is("187 Reported_Uncorrect", "two: hdparm's and dd's", |seen| seen.ends_with(" 2"))
        .field_is("197 Current_Pending_Sector", "the marked ones", |seen| {
            seen.ends_with(&format!(" {count}"))
        });
    checks.of("bad_log").has(&format!("Error: UNC at LBA = 0x{bad:08x} = {bad}"));
    checks.of("repair").rc(0).field(&format!("re-writing sector {bad}:"), "succeeded");
    for next in 1..count {
        let key = format!("re-writing sector {}:", bad + next);
        checks.of(&format!("repair{next}")).rc(0).field(&key, "succeeded");
    }
    checks
        .of("read_repaired")
        .rc(0)
        .field(&format!("reading sector {bad}:"), "succeeded")
        .line("0000 0000 0000 0000 0000 0000 0000 0000")
        .lacks("SG_IO");
    checks
        .of("good_counts")
        .rc(0)
        .field_is("197 Current_Pending_Sector", "none", |seen| seen.ends_with(" 0"));
    checks.of("reads_repaired").rc(0);
}

/// The host protected area. When Linux meets its edge, it takes it away.
pub(super) fn hidden(checks: &mut Checks, logical: u64) {
    let all = BYTES / logical;
    let half = all / 2;
    let none = format!("{all}/{all}, HPA is disabled");
    let some = format!("{half}/{all}, HPA is enabled");
    checks.of("hpa_none").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks
        .of("hpa_set")
        .rc(0)
        .field("setting max visible sectors to", format!("{half} (temporary)"))
        .field("max sectors =", &some)
        .lacks("SG_IO");
    checks.of("hpa_is_set").rc(0).field("max sectors =", &some).lacks("SG_IO");
    checks.of("hpa_past").rc(0);
    let met = ["n_sectors mismatch", "probably late HPA lock", "revalidation failed (errno=-5)"];
    checks
        .of("hpa_kernel")
        .rc(0)
        .has("error: { IDNF }")
        .has(&format!("n_sectors mismatch {all} != {half}"))
        .has("probably late HPA lock, will try to unlock HPA")
        .has("ata1.00: configured for UDMA/133");
    checks.quiet("hpa_kernel", &[&errors::REPORT[..], &met].concat());
    checks.of("hpa_back").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks.of("hpa_is_back").rc(0).field("max sectors =", &none).lacks("SG_IO");
    checks.of("hpa_reads").rc(0);
}

/// A password: set, refused, taken away; and what is erased with it.
pub(super) fn security(checks: &mut Checks) {
    checks.of("security_set").rc(0).has("Issuing SECURITY_SET_PASS command").lacks("SG_IO");
    checks
        .of("security_is_set")
        .rc(0)
        .line("* Security Mode feature set")
        .line("enabled")
        .line("not locked")
        .line("not frozen")
        .line("Security level high");
    checks.of("security_unlock").rc(0).has("Issuing SECURITY_UNLOCK command").lacks("SG_IO");
    // Command aborted: 04h, 51h.
    checks.of("security_wrong").has("f0 00 0b 04 51");
    checks.of("security_disable").rc(0).has("Issuing SECURITY_DISABLE command").lacks("SG_IO");
    checks.of("security_is_off").rc(0).line("not enabled").line("Security Mode feature set");
    checks.of("security_fill").rc(0);
    checks.of("security_set_again").rc(0).lacks("SG_IO");
    checks.of("security_erase").rc(0).has("Issuing SECURITY_ERASE command").lacks("SG_IO");
    checks.of("security_zero").rc(0);
    checks.of("security_is_erased").rc(0).line("not enabled").line("not locked");
    checks.quiet("security_kernel", &[]);
}

/// Sanitize by block erase.
pub(super) fn sanitize(checks: &mut Checks) {
    checks.of("sanitize_idle").rc(0).field("State:", "SD0 Sanitize Idle").lacks("SG_IO");
    checks.of("sanitize_fill").rc(0);
    checks.of("sanitize_erase").rc(0).line("Operation started in background").lacks("SG_IO");
    checks.of("sanitize_through").rc(0);
    checks
        .of("sanitize_done")
        .rc(0)
        .field("State:", "SD0 Sanitize Idle")
        .line("Last Sanitize Operation Completed Without Error");
    checks.of("sanitize_zero").rc(0);
    checks.quiet("sanitize_kernel", &[]);
}
