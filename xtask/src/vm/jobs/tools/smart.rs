//! SMART: attributes, a self-test, logs.

use super::Checks;

/// SMART: what it says, and a self-test.
pub(super) fn judge(checks: &mut Checks, logical: u64) {
    let sizes = match logical {
        4096 => "4096 bytes logical/physical".to_owned(),
        _ => format!("{logical} bytes logical, 4096 bytes physical"),
    };
    for (name, flags) in [
        ("smart_a", ["0x0033", "0x0032", "0x0013", "0x003a"]),
        ("smart_x", ["PO--CK", "-O--CK", "PO--C-", "-O-RCK"]),
    ] {
        let [reallocated, old_age, pending, crc] = flags;
        let of = checks
            .of(name)
            .rc(0)
            .field("Device Model:", "Freewheel Test")
            .field("Serial Number:", "FWTOOLS0001")
            .field("LU WWN Device Id:", "5 000c50 015ea71aa")
            .field("Firmware Version:", "FW1.0")
            .field("User Capacity:", "268,435,456 bytes [268 MB]")
            .field(if logical == 4096 { "Sector Size:" } else { "Sector Sizes:" }, &sizes)
            .field("Rotation Rate:", "Solid State Device")
            .field("TRIM Command:", "Available, deterministic, zeroed")
            .field("ATA Version is:", "ACS-4 T13/BSR INCITS 529 revision 5")
            .field("SATA Version is:", "SATA 3.2, 6.0 Gb/s (current: 6.0 Gb/s)")
            .line("SMART support is: Available - device has SMART capability.")
            .line("SMART support is: Enabled")
            .field("SMART overall-health self-assessment test result:", "PASSED")
            .has("Self-test execution status: ( 0)")
            .line("Self-test supported.")
            .line("Selective Self-test supported.")
            .field("Error logging capability:", "(0x01) Error logging supported.")
            .field("SMART Attributes Data Structure revision number:", 16);
        let of = of
            .field_is("5 Reallocated_Sector_Ct", "no sector", attribute(reallocated, "100", 0))
            .field_is("9 Power_On_Hours", "less than one", attribute(old_age, "100", 0))
            .field_is("12 Power_Cycle_Count", "one", attribute(old_age, "100", 1))
            .field_is("187 Reported_Uncorrect", "none", attribute(old_age, "100", 0))
            .field_is("197 Current_Pending_Sector", "none", attribute(pending, "100", 0))
            .field_is("199 UDMA_CRC_Error_Count", "none", attribute(crc, "100", 0));
        of.has("No Errors Logged").has("No self-tests have been logged.").lacks("not supported by");
    }
    checks
        .of("smart_x")
        .line("Rd look-ahead is: Enabled")
        .line("Write cache is: Enabled")
        .line("APM feature is: Disabled")
        .field("ATA Security is:", "Disabled, NOT FROZEN [SEC1]")
        .field("SMART Extended Comprehensive Error Log Version:", "1 (5 sectors)")
        .field("SMART Extended Self-test Log Version:", "1 (1 sectors)");
    checks.of("smart_test").rc(0).line("Testing has begun.").has("Please wait 1 minutes");
    checks.of("smart_test_through").rc(0);
    for name in ["smart_log", "smart_xlog"] {
        checks
            .of(name)
            .rc(0)
            .line("# 1 Short offline Completed without error 00% 0 -")
            .lacks("# 2");
    }
    let directory = checks
        .of("smart_directory")
        .rc(0)
        .line("General Purpose Log Directory Version 1")
        .has("SMART Log Directory Version 1");
    [
        "0x00 GPL,SL R/O 1 Log Directory",
        "0x01 SL R/O 1 Summary SMART error log",
        "0x03 GPL R/O 5 Ext. Comprehensive SMART error log",
        "0x04 GPL,SL R/O 7 Device Statistics log",
        "0x06 SL R/O 1 SMART self-test log",
        "0x07 GPL R/O 1 Extended self-test log",
        "0x10 GPL R/O 1 NCQ Command Error log",
        "0x11 GPL R/O 1 SATA Phy Event Counters log",
        "0x30 GPL,SL R/O 9 IDENTIFY DEVICE data log",
        "0x80-0x9f GPL,SL R/W 16 Host vendor specific log",
    ]
    .iter()
    .fold(directory, |of, line| of.line(line));
    checks.of("smart_error").rc(0).has_times("No Errors Logged", 2);
    checks
        .of("smart_statistics")
        .rc(0)
        .line("0x01 0x008 4 1 --- Lifetime Power-On Resets")
        .line("0x01 0x010 4 0 --- Power-on Hours")
        .has("--- Logical Sectors Written")
        .has("--- Number of Read Commands")
        .line("0x04 0x008 4 0 --- Number of Reported Uncorrectable Errors")
        .line("0x06 0x018 4 0 --- Number of Interface CRC Errors");
    checks
        .of("smart_phy")
        .rc(0)
        .line("0x0001 4 0 Command failed due to ICRC error")
        .has("Device-to-host register FISes sent due to a COMRESET");
}

/// Judges an attribute: its flags, its value, and its raw value at the end of the line.
fn attribute(flags: &str, value: &str, raw: u64) -> impl FnOnce(&str) -> bool {
    move |seen| {
        let words: Vec<&str> = seen.split_whitespace().collect();
        words.starts_with(&[flags, value]) && words.last() == Some(&raw.to_string().as_str())
    }
}
