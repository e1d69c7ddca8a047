//! Compares counts with `instructions.budget`, whose comments say what is compared.

use std::collections::HashMap;

/// The committed budgets.
pub(crate) const FILE: &str = include_str!("instructions.budget");
/// A call that costs this much more than its budget is a fault.
const OVER: f64 = 1.02;
/// A call that costs this much less asks for a lower budget, since otherwise it could become slower again unnoticed.
const UNDER: f64 = 0.95;

/// What was found: faults, and hints that are not faults.
#[derive(Default)]
pub(crate) struct Checked {
    pub(crate) faults: Vec<String>,
    pub(crate) hints: Vec<String>,
}

/// Compares the counts, by case, with the budgets of `file`.
pub(crate) fn check(file: &str, found: &HashMap<&str, f64>) -> Checked {
    let mut checked = Checked::default();
    for line in file.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').expect("a name and a number");
        match (name.strip_prefix("flat:"), value) {
            (Some(_), "off") => {}
            (Some(kind), percent) => checked.faults.extend(not_flat(kind, number(percent), found)),
            (None, budget) => checked.compare(name, number(budget), found[name]),
        }
    }
    checked
}

impl Checked {
    fn compare(&mut self, name: &str, budget: f64, count: f64) {
        let percent = (count / budget - 1.0) * 100.0;
        if count > OVER * budget {
            self.faults.push(format!(
                "R71: {name} costs {count:.0} instructions a call, {percent:.1} % more than its budget of {budget}. Compare \
                 `callgrind_annotate --inclusive=yes` of both revisions (HERDER_INSTRUCTIONS_CASE={name} valgrind \
                 --tool=callgrind --toggle-collect='*instructions::counted*' target/release/deps/instructions-*). If the cost \
                 is worth it, write {count:.0} into crates/core/benches/instructions.budget, and why into the commit message."
            ));
        }
        if count < UNDER * budget {
            self.hints.push(format!(
                "{name} costs {count:.0} instructions a call, {:.1} % less than its budget of {budget}: write {count:.0} into \
                 crates/core/benches/instructions.budget, so that it stays so.",
                -percent
            ));
        }
    }
}

/// Returns a fault if the cases `KIND_N` differ by more than this many percent.
fn not_flat(kind: &str, percent: f64, found: &HashMap<&str, f64>) -> Option<String> {
    let is_of_kind = |name: &str| {
        name.strip_prefix(kind).and_then(|rest| rest.strip_prefix('_')).is_some_and(|size| size.parse::<u32>().is_ok())
    };
    let counts = || found.iter().filter(|(name, _)| is_of_kind(name));
    let least = counts().min_by(|one, other| one.1.total_cmp(other.1)).expect("a case of this kind");
    let most = counts().max_by(|one, other| one.1.total_cmp(other.1)).expect("a case of this kind");
    (*most.1 > (1.0 + percent / 100.0) * least.1).then(|| {
        format!(
            "R71: a call must not cost more in a large pool, but {} costs {:.0} instructions and {} costs {:.0}, more than \
             {percent} % more. Something iterates over the workers.",
            least.0, least.1, most.0, most.1
        )
    })
}

fn number(text: &str) -> f64 {
    text.trim().parse().expect("a number")
}
