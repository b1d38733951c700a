//! What a drill has found, on one screen.

use std::fmt::Write;

use freewheel_sim::drill::{Clause, Report, Times};

use super::style::{Style, duration};

/// The table of ways to reset, and the verdict on each clause. `faults` of the disk were in place all
/// the time.
pub(super) fn of(report: &Report, faults: usize, style: Style) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = table(&mut text, report, style);
    if faults > 0 {
        let _ = writeln!(text, "  {faults} faults of --disk were in place all the time.\n");
    }
    let _ = verdicts(&mut text, report, style);
    text
}

fn table(text: &mut String, report: &Report, style: Style) -> std::fmt::Result {
    let title =
        format!("  {:<20}{:>8}{:>12}{:>12}{:>12}", "way to reset", "resets", "p50", "p99", "max");
    writeln!(text, "\n{}", style.bold(&title))?;
    let mut row = |name: &str, times: &Times| {
        writeln!(
            text,
            "  {name:<20}{:>8}{:>12}{:>12}{:>12}",
            times.count(),
            duration(times.percentile_ns(50)),
            duration(times.percentile_ns(99)),
            duration(times.max_ns())
        )
    };
    for (way, times) in &report.ways {
        row(way.name(), times)?;
    }
    row("all", &report.resets)?;
    writeln!(
        text,
        "\n  {} commands hung in each round; {} orphans, {} fences, {} held in all.",
        report.commands_hung, report.orphans_total, report.fences_total, report.held_total
    )?;
    writeln!(
        text,
        "  The longest call into the controller took {}.",
        duration(report.longest_call_ns)
    )?;
    if let Some(blocked) = report.blocked_calls {
        writeln!(
            text,
            "  Of {} calls, {blocked} waited for a lock (at most {}); the longest computed for {}, the \
             longest reset for {}.",
            report.calls,
            duration(report.longest_blocked_call_ns),
            duration(report.longest_call_cpu_ns),
            duration(report.resets_cpu.max_ns())
        )?;
    }
    writeln!(text)
}

fn verdicts(text: &mut String, report: &Report, style: Style) -> std::fmt::Result {
    for clause in Clause::ALL {
        let verdict = report.verdicts.of(clause);
        let head = format!("{} {:<18}", clause.name(), clause.title());
        if verdict.ok() {
            let mark = style.good("✔");
            let checks = style.dim(&format!("({} checks)", verdict.checks));
            writeln!(text, "  {mark} {}{} {checks}", style.bold(&head), clause.promise())?;
            continue;
        }
        let mark = style.bad("✘");
        let why = match verdict.checks {
            0 => "was not checked".to_owned(),
            checks => format!("violated {} times in {checks} checks", verdict.violations_total),
        };
        writeln!(text, "  {mark} {}{}", style.bold(&head), style.bad(&why))?;
        for violation in &verdict.violations {
            writeln!(text, "       {violation}")?;
        }
    }
    let end = if report.ok() {
        style.good("The contract holds.")
    } else {
        style.bad("The contract is broken.")
    };
    writeln!(text, "\n  {end}")
}
