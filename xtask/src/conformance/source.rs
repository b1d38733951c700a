//! What can be read from the source: registers and their bits (`crates/ahci/src/registers.rs`), FIS
//! types (`crates/ata/src/fis.rs`), PCI capabilities (`crates/vfio-user/src/pci/caps.rs`), sense codes
//! (`crates/ata/src/atapi/sense.rs`), and tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Item, Items, Kind};
use crate::workspace;

/// A definition: the lines of its documentation, and its line.
struct Definition<'a> {
    doc: String,
    line: &'a str,
}

/// Registers, bits, FIS types and PCI capabilities.
pub(super) fn items() -> Result<Items> {
    let mut items = Items::new();
    let ahci = rust_files(&workspace::root().join("crates/ahci/src"))?;
    for path in ahci.iter().filter(|path| path.to_string_lossy().contains("registers")) {
        registers(&read(path)?, &mut items);
    }
    let read = |path: &str| read(&workspace::root().join(path));
    constants(&read("crates/ata/src/fis.rs")?, "TYPE_", "FIS ", &mut items);
    constants(&read("crates/vfio-user/src/pci/caps.rs")?, "CAP_ID_", "PCI capability ", &mut items);
    senses(&read("crates/ata/src/atapi/sense.rs")?, &mut items);
    for kind in ["CAP", "PxIS.DHRS", "FIS 27h", "PCI capability 05h", "sense 5/20/00"] {
        if !items.contains_key(kind) {
            bail!(
                "{kind} is not found in the source: has it moved? xtask/src/conformance has to know"
            );
        }
    }
    Ok(items)
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

fn definitions(text: &str) -> impl Iterator<Item = Definition<'_>> {
    let mut doc = String::new();
    text.lines().map(str::trim).filter_map(move |line| {
        if let Some(part) = line.strip_prefix("///") {
            doc.push_str(part);
            return None;
        }
        if line.starts_with('#') {
            return None;
        }
        Some(Definition { doc: std::mem::take(&mut doc), line })
    })
}

/// The section in the brackets at the end of a documentation: `… (3.1.1).`, or `…, 3.3.5`.
fn section(doc: &str) -> Option<&str> {
    let (_, rest) = doc.rsplit_once('(')?;
    let first = rest.split([',', ')']).next()?.trim();
    let is_section =
        first.contains('.') && first.chars().all(|it| it.is_ascii_digit() || it == '.');
    is_section.then_some(first)
}

/// Registers are the constants whose documentation names their section; bits are the flags of the
/// `bitflags!` that are called as their register.
fn registers(text: &str, items: &mut Items) {
    let mut register: Option<(String, String)> = None;
    for Definition { doc, line } in definitions(text) {
        if let Some(rest) = line.strip_prefix("pub const ")
            && let Some((name, value)) = rest.split_once(": u32 = 0x")
            && let Some(section) = section(&doc)
        {
            let key = name.strip_prefix("PX_").map_or(name.to_owned(), |name| format!("Px{name}"));
            let offset = u32::from_str_radix(value.trim_end_matches(';'), 16).unwrap_or_default();
            let item = Item {
                kind: Kind::Defined,
                name: format!("{offset:02X}h"),
                section: section.to_owned(),
            };
            items.insert(key, item);
        } else if let Some(rest) = line.strip_prefix("pub struct ")
            && let Some((name, _)) = rest.split_once(": u32 {")
        {
            let name = match name.strip_prefix("Px") {
                Some(rest) => format!("Px{}", rest.to_uppercase()),
                None => name.to_uppercase(),
            };
            register = Some((name, section(&doc).unwrap_or_default().to_owned()));
        } else if line == "}" {
            register = None;
        } else if let Some(rest) = line.strip_prefix("const ")
            && let (Some((name, _)), Some((register, section))) =
                (rest.split_once(" = "), &register)
        {
            let item = Item { kind: Kind::Defined, name: String::new(), section: section.clone() };
            items.insert(format!("{register}.{name}"), item);
        }
    }
}

/// Byte constants whose name starts with `prefix`.
fn constants(text: &str, prefix: &str, key: &str, items: &mut Items) {
    for Definition { line, .. } in definitions(text) {
        let line = line.trim_start_matches("pub ").trim_start_matches("(crate) ");
        if let Some(rest) = line.strip_prefix("const ")
            && let Some(rest) = rest.strip_prefix(prefix)
            && let Some((_, value)) = rest.split_once(": u8 = 0x")
        {
            let value = value.trim_end_matches(';').to_uppercase();
            let item = Item { kind: Kind::Defined, name: String::new(), section: String::new() };
            items.insert(format!("{key}{value}h"), item);
        }
    }
}

/// Constants that are a sense key, an additional code and its qualifier.
fn senses(text: &str, items: &mut Items) {
    for Definition { line, .. } in definitions(text) {
        if let Some((_, value)) = line.split_once(": Sense = sense(") {
            let parts: Vec<_> = value
                .trim_end_matches(");")
                .split(", ")
                .filter_map(|part| u8::from_str_radix(part.strip_prefix("0x")?, 16).ok())
                .collect();
            if let [key, code, qualifier] = parts[..] {
                let item =
                    Item { kind: Kind::Defined, name: String::new(), section: String::new() };
                items.insert(format!("sense {key:X}/{code:02X}/{qualifier:02X}"), item);
            }
        }
    }
}

/// Every `.rs` file below `dir`.
fn rust_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("can't list {}", folder.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The tests of the workspace, by file.
pub(super) struct Tests(BTreeMap<String, Vec<String>>);

impl Tests {
    /// Finds them.
    pub(super) fn find() -> Result<Self> {
        let root = workspace::root();
        let mut files = rust_files(&root.join("crates"))?;
        files.extend(rust_files(&root.join("xtask"))?);
        let mut tests = BTreeMap::new();
        for path in files {
            let name = path.strip_prefix(root).unwrap_or(&path).with_extension("");
            tests.insert(format!("/{}", name.display()), tests_of(&read(&path)?));
        }
        Ok(Self(tests))
    }

    /// Whether `test` is one: the end of a file's path, `::`, a function.
    pub(super) fn check(&self, test: &str) -> Result<(), String> {
        let Some((file, function)) = test.rsplit_once("::") else {
            return Err("a test is named as file::function".to_owned());
        };
        let end = format!("/{file}");
        let files: Vec<_> = self.0.iter().filter(|(path, _)| path.ends_with(&end)).collect();
        let has_it = |tests: &[String]| tests.iter().any(|name| name == function);
        let found: Vec<_> = files.iter().filter(|(_, tests)| has_it(tests)).collect();
        match (found[..].len(), files.len()) {
            (1, _) => Ok(()),
            (0, 0) => Err(format!("there is no file {file}.rs")),
            (0, _) => Err(format!("{file}.rs has no test {function}")),
            _ => Err(format!("{} files have it: name more of the path", found.len())),
        }
    }
}

/// The functions below a `#[test]`.
fn tests_of(text: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line == "#[test]" {
            marked = true;
        } else if let Some(rest) = line.strip_prefix("fn ") {
            if marked && let Some((name, _)) = rest.split_once('(') {
                tests.push(name.to_owned());
            }
            marked = false;
        } else if line == "}" || line.starts_with("mod ") {
            marked = false;
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_bits_are_found_by_their_documentation() {
        let mut items = Items::new();
        let text = "/// Port: interrupt status (3.3.5).\npub const PX_IS: u32 = 0x10;\n\
            /// Where ports start.\npub const PORTS: u32 = 0x100;\n\
            bitflags! {\n/// PxIS and PxIE (3.3.5, 3.3.6).\n#[derive(Debug)]\n\
            pub struct PxIs: u32 {\n/// A cause.\nconst DHRS = 1 << 0;\n}\n}\n";
        registers(text, &mut items);
        let found: Vec<_> =
            items.iter().map(|(key, it)| (&**key, &*it.name, &*it.section)).collect();
        assert_eq!(found, [("PxIS", "10h", "3.3.5"), ("PxIS.DHRS", "", "3.3.5")]);
    }

    #[test]
    fn a_sense_code_is_a_constant_of_three_numbers() {
        let mut items = Items::new();
        let text = "impl Sense {\n/// No.\npub(crate) const NO: Sense = sense(0xb, 0x3a, 0x01);\n\
            pub(crate) fn at(self, lba: u32) -> Sense {\n";
        senses(text, &mut items);
        assert_eq!(items.into_keys().collect::<Vec<_>>(), ["sense B/3A/01"]);
    }

    #[test]
    fn only_a_function_that_is_a_test_is_one() {
        let text = "#[test]\n#[should_panic]\nfn one() {\n}\nfn two() {}\n#[test]\n    fn three(\n";
        assert_eq!(tests_of(text), ["one", "three"]);
    }

    #[test]
    fn a_test_is_named_by_the_end_of_its_path() {
        let tests = Tests::find().unwrap();
        assert_eq!(
            tests.check("conformance/source::only_a_function_that_is_a_test_is_one"),
            Ok(())
        );
        assert!(tests.check("conformance/source::no_such").is_err());
        assert!(tests.check("nowhere::x").is_err());
        // Two files end in this way, and only one has the test.
        assert_eq!(
            tests.check("conformance/mod::names_and_sections_are_those_of_the_code"),
            Ok(())
        );
    }
}
