//! Which runs there are: their seeds, which of them are under load, and in which order each runs the parts of the suite. Pure.

use super::suite::Part;
use fastrand::Rng;
use std::num::NonZeroU32;

/// One run that is to be made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Planned {
    pub(crate) seed: u64,
    pub(crate) loaded: bool,
    /// Whether what comes out the same each time is run too.
    pub(crate) deterministic: bool,
}

/// So many runs, with seeds drawn from this one; those under load are spread evenly.
pub(crate) fn runs(seed: u64, runs: u32, loaded: u32, deterministic_every: NonZeroU32) -> Vec<Planned> {
    let mut random = Rng::with_seed(seed);
    let (all, loaded) = (u64::from(runs), u64::from(loaded.min(runs)));
    (0..all)
        .map(|at| Planned {
            seed: random.u64(1..1 << 32), // short enough to be typed
            loaded: (at + 1) * loaded / all > at * loaded / all,
            deterministic: (at + 1) % u64::from(deterministic_every.get()) == 0,
        })
        .collect()
}

impl Planned {
    /// The parts of this run, in its order. Parts that are left out change nothing about the order of the others.
    pub(crate) fn order<'a>(&self, parts: &'a [Part], only: &[String]) -> Vec<&'a Part> {
        let mut order: Vec<_> = parts.iter().collect();
        order.sort_by(|a, b| a.name.cmp(&b.name));
        Rng::with_seed(self.seed).shuffle(&mut order);
        order.retain(|part| self.deterministic || !part.deterministic);
        order.retain(|part| only.is_empty() || only.iter().any(|name| part.name.contains(name)));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: NonZeroU32 = NonZeroU32::MIN;

    #[test]
    fn r49_loaded_runs_are_as_many_as_asked_for_and_spread() {
        for (all, loaded) in [(20, 5), (20, 0), (3, 3), (7, 2), (2, 9)] {
            let runs = runs(1, all, loaded, EACH);
            assert_eq!(runs.iter().filter(|run| run.loaded).count() as u32, loaded.min(all));
        }
        let at: Vec<_> = runs(1, 20, 5, EACH).iter().map(|run| run.loaded).collect();
        assert!(at.chunks(4).all(|four| four.iter().filter(|loaded| **loaded).count() == 1), "{at:?}");
    }

    #[test]
    fn r49_a_seed_gives_the_same_runs_and_each_run_another_order() {
        let parts: Vec<_> = ["a", "b", "c", "d", "e", "f"].map(|name| Part::new(name, name == "c")).into();
        let names = |run: &Planned, only: &[String]| {
            run.order(&parts, only).iter().map(|part| part.name.clone()).collect::<Vec<_>>()
        };
        let first = runs(7, 9, 0, EACH);
        assert_eq!(first, runs(7, 9, 0, EACH));
        assert_ne!(first, runs(8, 9, 0, EACH));
        let orders: std::collections::BTreeSet<_> = first.iter().map(|run| names(run, &[])).collect();
        assert!(orders.len() > 5, "{orders:?}");
        let (whole, fewer) = (names(&first[0], &[]), names(&Planned { deterministic: false, ..first[0] }, &[]));
        assert_eq!(whole.iter().filter(|name| *name != "c").collect::<Vec<_>>(), fewer.iter().collect::<Vec<_>>());
        assert_eq!(names(&first[0], &["b".into()]), ["b"]);
    }

    #[test]
    fn what_is_deterministic_runs_in_each_kth() {
        let three = NonZeroU32::new(3).unwrap();
        let at: Vec<_> = runs(1, 7, 0, three).iter().map(|run| run.deterministic).collect();
        assert_eq!(at, [false, false, true, false, false, true, false]);
    }
}
