//! `cargo xtask conformance`: `docs/conformance.md` says what this controller does of AHCI, ATA and
//! SATA, row by row; this checks it against the code, so that neither can go on without the other.
//!
//! - What there is comes from the code: a disk is asked what it takes (`probe`), so are an ATAPI
//!   drive (`packet`), a port multiplier (`multiplier`) and the PCI configuration space (`pci`), and
//!   the definitions of registers, bits, FIS types, PCI capabilities and sense codes are read from
//!   their source (`source`).
//! - Each item has exactly one row, and each row an item, under the same name.
//! - Each row names a section of a specification, and a test that is there.
//!
//! Left out: whether the test proves what the row says. That is for people to judge.

mod document;
mod multiplier;
mod packet;
mod pci;
mod probe;
mod source;

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use document::{Document, Status};

use crate::{say, workspace};

/// The document.
const PATH: &str = "docs/conformance.md";

#[derive(clap::Args)]
#[command(after_help = "Example: cargo xtask conformance")]
pub(crate) struct ConformanceArgs {
    /// Print what the code has, as rows to fill in, instead of checking.
    #[arg(long)]
    pub(crate) list: bool,
}

/// How an item was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An opcode of the command table, which may be there to be refused in its own way.
    Opcode,
    /// A device takes it, or shows it.
    Taken,
    /// It is defined; whether it is used, nothing here can tell.
    Defined,
}

/// Something that the code has, and that needs a row.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Item {
    /// How much it says that the code has it.
    kind: Kind,
    /// Its name in the code; empty if it has none there.
    name: String,
    /// The section that its documentation names, if it does.
    section: String,
}

/// All there is, by the key that a row has in its first column.
type Items = BTreeMap<String, Item>;

/// `cargo xtask conformance`.
pub(crate) fn main(args: &ConformanceArgs) -> Result<bool> {
    let items = items()?;
    if args.list {
        for (key, item) in &items {
            println!("{}", blank_row(key, item));
        }
        return Ok(true);
    }
    let text = std::fs::read_to_string(workspace::root().join(PATH))
        .with_context(|| format!("can't read {PATH}"))?;
    let (document, mut complaints) = Document::parse(&text);
    complaints.extend(compare(&items, &document));
    complaints.extend(tests(&document)?);
    for complaint in &complaints {
        println!("{PATH}: {complaint}");
    }
    if complaints.is_empty() {
        say::step(format_args!("{PATH}: {} rows agree with the code", document.rows.len()));
    } else {
        println!("{} complaints; docs/conformance.md has the rules at its top", complaints.len());
    }
    Ok(complaints.is_empty())
}

fn items() -> Result<Items> {
    let mut items = probe::items()?;
    items.extend(packet::items()?);
    items.extend(multiplier::items()?);
    items.extend(pci::items());
    items.extend(source::items()?);
    Ok(items)
}

fn blank_row(key: &str, item: &Item) -> String {
    format!("| {key} | {} | yes | | | {} |", item.name, item.section)
}

/// Whether code and document have the same.
fn compare(items: &Items, document: &Document) -> Vec<String> {
    let mut complaints = Vec::new();
    for (key, item) in items {
        let mut rows = document.rows.iter().filter(|row| row.keys.contains(key));
        let Some(row) = rows.next() else {
            complaints.push(format!("add a row for {key}: {}", blank_row(key, item)));
            continue;
        };
        if let Some(other) = rows.next() {
            complaints.push(format!("line {}: {key} has a row already", other.line));
        }
        let in_doc = &row.name;
        if row.status != Status::No && !item.name.is_empty() && *in_doc != item.name {
            let name = &item.name;
            complaints.push(format!("line {}: {key} is {name:?}, not {in_doc:?}", row.line));
        }
        if !row.section.contains(&item.section) {
            let section = &item.section;
            complaints.push(format!("line {}: {key} is in section {section}", row.line));
        }
    }
    for row in &document.rows {
        // What is aborted by design, or is not there, has nothing in the code. Of several words some
        // may be zero on every disk that was asked.
        if row.status == Status::Yes && !row.keys.iter().any(|key| items.contains_key(key)) {
            complaints.push(format!("line {}: the code has no {}", row.line, row.keys.join(", ")));
        }
        let denies = |kind| match row.status {
            Status::Yes => false,
            Status::Aborted => kind == Kind::Taken,
            Status::No => kind != Kind::Defined,
        };
        if let Some(key) =
            row.keys.iter().find(|key| items.get(*key).is_some_and(|item| denies(item.kind)))
        {
            complaints.push(format!("line {}: the code has {key}", row.line));
        }
    }
    complaints
}

/// Whether every test that a row names is there.
fn tests(document: &Document) -> Result<Vec<String>> {
    let tests = source::Tests::find()?;
    let mut complaints = Vec::new();
    for row in &document.rows {
        for test in &row.tests {
            if let Err(why) = tests.check(test) {
                complaints.push(format!("line {}: {test}: {why}", row.line));
            }
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "| Item | Name | Status | How | Tests | Section |\n|---|---|---|---|---|---|\n";

    /// What is said of these rows, and of those that are good.
    fn judge(rows: &str) -> Vec<String> {
        judge_all(&format!("{READ}{CAP}{CACHE}{rows}"))
    }

    fn judge_all(rows: &str) -> Vec<String> {
        let item = |kind, name: &str, section: &str| Item {
            kind,
            name: name.into(),
            section: section.into(),
        };
        let items = Items::from([
            ("25h".to_owned(), item(Kind::Opcode, "READ DMA EXT", "")),
            ("CAP".to_owned(), item(Kind::Defined, "", "3.1.1")),
            ("EFh/02h".to_owned(), item(Kind::Taken, "", "")),
        ]);
        let (document, mut complaints) = Document::parse(&format!("{HEAD}{rows}"));
        complaints.extend(compare(&items, &document));
        complaints
    }

    const READ: &str = "| 25h | READ DMA EXT | yes | at once | `a::b` | ACS-4 7.20 |\n";
    const CAP: &str = "| CAP | | yes | fixed | `a::b` | AHCI 3.1.1 |\n";

    const CACHE: &str = "| EFh/02h | | yes | at once | `a::b` | ACS-4 |\n";

    #[test]
    fn a_document_that_agrees_is_left_alone() {
        assert_eq!(judge(""), Vec::<String>::new());
    }

    #[test]
    fn what_the_code_has_needs_a_row_and_only_one() {
        let complaints = judge_all(&format!("{READ}{CACHE}"));
        assert_eq!(complaints, ["add a row for CAP: | CAP |  | yes | | | 3.1.1 |"]);
        assert!(judge(READ)[0].contains("25h has a row already"));
    }

    #[test]
    fn a_row_needs_the_code_a_test_and_a_section() {
        let complaints = |row: &str| judge(row).concat();
        assert!(complaints("| 26h | X | yes | y | `a::b` | s |\n").contains("the code has no 26h"));
        assert!(
            complaints("| 27h | X | aborted by design | y | | s |\n").contains("names no test")
        );
        assert!(complaints("| 27h | X | aborted by design | y | `a::b` | |\n").contains("section"));
        assert!(complaints("| 27h | X | soon | y | `a::b` | s |\n").contains("\"soon\""));
    }

    #[test]
    fn names_and_sections_are_those_of_the_code() {
        let read = READ.replace("DMA", "PIO");
        let complaints = judge_all(&format!("{read}{CAP}{CACHE}")).concat();
        assert!(complaints.contains("25h is \"READ DMA EXT\""), "{complaints}");
        let cap = CAP.replace("3.1.1", "3.1.2");
        let complaints = judge_all(&format!("{READ}{cap}{CACHE}")).concat();
        assert!(complaints.contains("in section 3.1.1"), "{complaints}");
    }

    #[test]
    fn what_a_disk_takes_is_neither_refused_nor_absent() {
        let cache = CACHE.replace("| yes |", "| aborted by design |");
        let complaints = judge_all(&format!("{READ}{CAP}{cache}")).concat();
        assert!(complaints.contains("the code has EFh/02h"), "{complaints}");
        // A command may be in the table to be refused, as NOP is.
        let read = READ.replace("| yes |", "| aborted by design |");
        assert_eq!(judge_all(&format!("{read}{CAP}{CACHE}")), Vec::<String>::new());
        let absent =
            "\n| Item | Name | Why not | Section |\n|---|---|---|---|\n| 25h | x | y | s |\n";
        let complaints = judge_all(&format!("{CAP}{CACHE}{absent}")).concat();
        assert!(complaints.contains("the code has 25h"), "{complaints}");
    }
}
