//! Breaking the code on purpose, and looking how soon the simulation notices.

#[cfg(feature = "sabotage")]
use freewheel_sim::simulator::{Campaign, Run, run_campaign, sabotage, shrink};

/// Within how many seeds each has to be found.
#[cfg(feature = "sabotage")]
const SEEDS: u64 = 10_000;

/// Runs one sabotage, or all. Says whether all were found.
#[cfg(feature = "sabotage")]
pub(crate) fn run(name: Option<&str>, threads: usize) -> Result<bool, String> {
    let wanted = |sabotage: &sabotage::Sabotage| {
        name.is_none_or(|name| kebab(&format!("{sabotage:?}")) == name)
    };
    let chosen: Vec<_> = sabotage::ALL.iter().filter(|(which, ..)| wanted(which)).collect();
    if chosen.is_empty() {
        let names: Vec<String> =
            sabotage::ALL.iter().map(|(which, ..)| kebab(&format!("{which:?}"))).collect();
        return Err(format!(
            "there is no sabotage {:?}\n  remedy: all, or one of {}",
            name.unwrap_or(""),
            names.join(", ")
        ));
    }
    println!(
        "{:24}{:7}{:>7}  {:12}{:>6}  what",
        "sabotage", "clause", "seeds", "found as", "steps"
    );
    let mut missed = 0;
    for (which, clause, what) in &chosen {
        sabotage::choose(Some(*which));
        let campaign =
            Campaign { first: 0, seeds: SEEDS, at_most: None, threads, guest_only: false };
        let failure = run_campaign(&campaign).failure;
        // How many it takes if only what a guest can notice counts.
        let by_guest = run_campaign(&Campaign { guest_only: true, ..campaign }).failure;
        let guest = by_guest.map_or("-".into(), |(seed, _)| (seed + 1).to_string());
        let label = kebab(&format!("{which:?}"));
        match failure {
            Some((seed, violation)) => {
                let short = shrink(&Run::of_seed(seed), violation.kind);
                let (seeds, kind) = (seed + 1, format!("{:?}", violation.kind));
                let steps = short.steps.len();
                println!("{label:24}{clause:7}{seeds:>7}  {kind:12}{steps:>6}{guest:>8}  {what}");
                if name.is_some() {
                    println!();
                    short.story().trace.iter().for_each(|line| println!("{line}"));
                }
            }
            None => {
                missed += 1;
                println!(
                    "{label:24}{clause:7}{:>7}  {:12}{:>6}{guest:>8}  {what}",
                    "NEVER", "-", "-"
                );
            }
        }
        sabotage::choose(None);
    }
    let count = chosen.len();
    println!("{} of {count} found, each within {SEEDS} seeds", count - missed);
    println!(
        "guest: seeds until it is found if nothing is checked but data, memory, registers and what \
         survives a crash (- where a guest cannot notice within {SEEDS} seeds)"
    );
    Ok(missed == 0)
}

/// `NoFence` as `no-fence`.
#[cfg(feature = "sabotage")]
fn kebab(name: &str) -> String {
    let mut kebab = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !kebab.is_empty() {
            kebab.push('-');
        }
        kebab.extend(letter.to_lowercase());
    }
    kebab
}

/// Without the feature there is nothing to run.
#[cfg(not(feature = "sabotage"))]
pub(crate) fn run(_name: Option<&str>, _threads: usize) -> Result<bool, String> {
    Err("this program was built without sabotages\n  \
         remedy: cargo xtask sim --sabotage NAME, which builds it with the feature `sabotage`"
        .into())
}
