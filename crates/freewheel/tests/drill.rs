//! `freewheel drill` as a process: which faults it takes, and that its verdicts are true with them.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn drill(dir: &Path, keys: &str) -> Output {
    let path = dir.join("disk.img");
    std::fs::File::create(&path).and_then(|file| file.set_len(64 << 20)).expect("an image");
    Command::new(env!("CARGO_BIN_EXE_freewheel"))
        .args(["drill", "--json", "--rounds", "2", "--destroy-data"])
        .args(["--disk", &format!("path={},{keys}", path.display())])
        .stdin(Stdio::null())
        .output()
        .expect("freewheel starts")
}

#[test]
fn slow_storage_and_short_reads_break_no_clause() {
    let dir = tempfile::tempdir().expect("a directory");
    for (faults, count) in
        [("fault=any:delay=1ms", 1), ("fault=read:short,fault=write/0.2:delay=5ms", 2)]
    {
        let output = drill(dir.path(), faults);
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{faults}: {text}{errors}");
        let report: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&report["ok"], &report["lasting_faults"]), (&true.into(), &count.into()));
    }
}

#[test]
fn faults_stay_in_place_although_the_drill_clears_its_own() {
    let dir = tempfile::tempdir().expect("a directory");
    // Each of its rounds reads what is fenced, reads all chunks back in two batches, and more; and clears
    // the drill's own faults before that.
    let start = std::time::Instant::now();
    let output = drill(dir.path(), "fault=read:delay=20ms");
    let took = start.elapsed();
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], true, "{report}");
    let rounds = report["rounds"].as_u64().expect("a number") * 7;
    let least = std::time::Duration::from_millis(3 * 20 * rounds);
    assert!(took >= least, "{took:?}: reads were late in fewer than all rounds ({least:?})");
}

#[test]
fn what_would_make_verdicts_untrue_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for (fault, name) in [
        ("write#3:hang", "`hang`"),
        ("read:error=EIO", "`error`"),
        ("any:short", "`short`"),
        ("read:corrupt", "`corrupt`"),
        ("any:delay=1s", "`delay`"),
        ("link:stuck", "`link`"),
    ] {
        let output = drill(dir.path(), &format!("fault={fault}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{fault}: {errors}");
        assert!(errors.contains(name) && errors.contains("remedy:"), "{fault}: {errors}");
        assert!(output.stdout.is_empty(), "nothing was drilled");
    }
}
