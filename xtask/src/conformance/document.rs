//! `docs/conformance.md` as rows. Every table whose first column is headed *Item* counts; other
//! tables and all text are for people only.

/// The columns of a table of what is there.
const COLUMNS: [&str; 6] = ["Item", "Name", "Status", "How", "Tests", "Section"];
/// The columns of a table of what is not there and not claimed.
const ABSENT: [&str; 4] = ["Item", "Name", "Why not", "Section"];

/// What a row says of its item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// It works.
    Yes,
    /// The specification lets a device refuse it, and this one does.
    Aborted,
    /// It is not there, and nothing says that it is.
    No,
}

/// One row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its line in the document, from 1.
    pub(super) line: usize,
    /// What it is about: `word 10-12` is three of them.
    pub(super) keys: Vec<String>,
    pub(super) name: String,
    pub(super) status: Status,
    pub(super) tests: Vec<String>,
    pub(super) section: String,
}

/// The document.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) rows: Vec<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Table {
    /// For people, or no table.
    Other,
    There,
    Absent,
}

impl Document {
    /// The rows, and what is wrong with single ones.
    pub(super) fn parse(text: &str) -> (Self, Vec<String>) {
        let mut document = Self::default();
        let mut complaints = Vec::new();
        let mut table = Table::Other;
        for (index, text) in text.lines().enumerate() {
            let line = index + 1;
            let Some(cells) = cells(text) else {
                table = Table::Other;
                continue;
            };
            if cells.first().is_some_and(|first| first == "Item") {
                table = match () {
                    () if cells == COLUMNS => Table::There,
                    () if cells == ABSENT => Table::Absent,
                    () => {
                        complaints.push(format!("line {line}: the columns are not known"));
                        Table::Other
                    }
                };
                continue;
            }
            let is_rule = cells.iter().all(|cell| cell.chars().all(|it| matches!(it, '-' | ':')));
            if table == Table::Other || is_rule {
                continue;
            }
            match row(line, &cells, table) {
                Ok(row) => document.rows.push(row),
                Err(why) => complaints.push(format!("line {line}: {why}")),
            }
        }
        (document, complaints)
    }
}

/// The cells of a line of a table.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim().to_owned()).collect())
}

fn row(line: usize, cells: &[String], table: Table) -> Result<Row, String> {
    let (item, name, status, how, tests, section) = match (table, cells) {
        (Table::Absent, [item, name, why, section]) => (item, name, "no", why, "", section),
        (_, [item, name, status, how, tests, section]) => {
            (item, name, status.as_str(), how, tests.as_str(), section)
        }
        _ => return Err(format!("a row of {} cells", cells.len())),
    };
    let status = match (status, table) {
        ("yes", _) => Status::Yes,
        ("aborted by design", _) => Status::Aborted,
        ("no", Table::Absent) => Status::No,
        ("no", _) => return Err("what is not there belongs into the last table".to_owned()),
        (other, _) => {
            return Err(format!("the status {other:?} is neither yes nor aborted by design"));
        }
    };
    let tests: Vec<String> = tests
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .filter(|it| !it.is_empty())
        .collect();
    let missing = match () {
        () if item.is_empty() => Some("names no item"),
        () if how.is_empty() => Some("says nothing of how, or why not"),
        () if tests.is_empty() && status != Status::No => Some("names no test"),
        () if section.is_empty() => Some("names no section"),
        () => None,
    };
    match missing {
        Some(what) => Err(format!("the row {item:?} {what}")),
        None => Ok(Row {
            line,
            keys: keys(item),
            name: name.clone(),
            status,
            tests,
            section: section.clone(),
        }),
    }
}

/// `word 10-12, 14` is four words, `log 80h-9Fh` are 32 logs; anything else stands for itself.
fn keys(item: &str) -> Vec<String> {
    let range = |numbers: &str, radix| {
        let number = |text: &str| u8::from_str_radix(text.trim().trim_end_matches('h'), radix).ok();
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        Some(number(first)?..=number(last)?)
    };
    for prefix in ["word ", "packet word "] {
        if let Some(numbers) = item.strip_prefix(prefix)
            && let Some(ranges) =
                numbers.split(',').map(|part| range(part, 10)).collect::<Option<Vec<_>>>()
        {
            return ranges.into_iter().flatten().map(|it| format!("{prefix}{it}")).collect();
        }
    }
    if let Some(numbers) = item.strip_prefix("log ")
        && let Some(range) = range(numbers, 16)
    {
        return range.map(|number| format!("log {number:02X}h")).collect();
    }
    vec![item.to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_may_be_about_several_words() {
        assert_eq!(keys("word 10-12, 14"), ["word 10", "word 11", "word 12", "word 14"]);
        assert_eq!(keys("packet word 1, 3"), ["packet word 1", "packet word 3"]);
        assert_eq!(keys("log 10h"), ["log 10h"]);
        assert_eq!(keys("log 9Eh-A0h"), ["log 9Eh", "log 9Fh", "log A0h"]);
        assert_eq!(keys("log 30h/01h"), ["log 30h/01h"]);
    }

    #[test]
    fn only_the_last_table_may_say_no() {
        let there = "| Item | Name | Status | How | Tests | Section |\n";
        let (_, complaints) = Document::parse(&format!("{there}| 1 | x | no | y | `t` | s |"));
        assert!(complaints[0].contains("last table"), "{complaints:?}");
        let absent = "| Item | Name | Why not | Section |\n|---|---|---|---|\n";
        let (document, complaints) = Document::parse(&format!("{absent}| 1 | x | y | s |"));
        assert_eq!((document.rows[0].status, complaints.len()), (Status::No, 0));
    }
}
