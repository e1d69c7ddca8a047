//! Figures of both sides, pair by pair, made into a verdict each. Pure.

use super::{
    bootstrap,
    figures::{Better, Figures},
};
use crate::interval::Interval;

/// How often an interval may miss.
const DOUBT: f64 = 0.05;

/// What is said of one figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Slower,
    Faster,
    /// Which does not say that there is none.
    NoDifferenceSeen,
}

/// One figure of both revisions.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    /// Medians over the pairs.
    pub(crate) base: f64,
    pub(crate) head: f64,
    /// Head to base, the median over the pairs, and where it lies.
    pub(crate) ratio: f64,
    pub(crate) interval: Interval,
    /// Where it lies with such confidence that all figures lie within theirs, with 95 %: among many, some are off by chance.
    pub(crate) surely: Interval,
    pub(crate) better: Better,
}

impl Comparison {
    /// A figure that is the same each time it is measured: nothing is in doubt.
    pub(crate) fn exact(name: String, base: f64, head: f64) -> Self {
        let ratio = head / base;
        let interval = Interval { low: ratio, high: ratio };
        Self { name, base, head, ratio, interval, surely: interval, better: Better::Lower }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.interval.holds(1.0) {
            Verdict::NoDifferenceSeen
        } else if (self.ratio > 1.0) == (self.better == Better::Lower) {
            Verdict::Slower
        } else {
            Verdict::Faster
        }
    }

    /// Whether the figure is worse by more than this share, so surely that noise alone seldom fails a comparison of many figures.
    pub(crate) fn surely_beyond(&self, threshold: f64) -> bool {
        match self.better {
            Better::Lower => self.surely.low > 1.0 + threshold,
            Better::Higher => self.surely.high < 1.0 / (1.0 + threshold),
        }
    }
}

/// Every figure that all runs of both sides have, above zero: of others there is no ratio.
pub(crate) fn all(seed: u64, pairs: &[(Figures, Figures)]) -> Vec<Comparison> {
    let Some((first, _)) = pairs.first() else { return Vec::new() };
    first.keys().filter_map(|key| one(seed, key, pairs, first.len())).collect()
}

fn one(seed: u64, key: &(String, String), pairs: &[(Figures, Figures)], figures: usize) -> Option<Comparison> {
    let value = |figures: &Figures| figures.get(key).copied().filter(|figure| figure.median > 0.0);
    let both: Option<Vec<_>> = pairs.iter().map(|(base, head)| Some((value(base)?, value(head)?))).collect();
    let both = both?;
    let of =
        |side: fn(f64, f64) -> f64| both.iter().map(|(base, head)| side(base.median, head.median)).collect::<Vec<_>>();
    let ratios = of(|base, head| head / base);
    let medians = bootstrap::medians(seed, &ratios);
    Some(Comparison {
        name: format!("{} {}", key.0, key.1),
        base: bootstrap::median(&of(|base, _| base)),
        head: bootstrap::median(&of(|_, head| head)),
        ratio: bootstrap::median(&ratios),
        interval: bootstrap::interval(&medians, DOUBT),
        surely: bootstrap::interval(&medians, DOUBT / figures as f64),
        better: both.first()?.0.better,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regress::figures::Figure;

    fn pairs(better: Better, sides: &[(f64, f64)]) -> Vec<(Figures, Figures)> {
        let figures = |median| Figures::from([(("one core".into(), "x".into()), Figure { median, better })]);
        sides.iter().map(|(base, head)| (figures(*base), figures(*head))).collect()
    }

    /// A machine that changes its pace from pair to pair, by far more than the difference: only the ratios count.
    fn shifting(factor: f64) -> Vec<(f64, f64)> {
        (1..=10)
            .map(|pace| (10.0 * f64::from(pace), 10.0 * f64::from(pace) * factor * (1.0 + 0.002 * f64::from(pace % 3))))
            .collect()
    }

    #[test]
    fn r49_a_slow_down_is_seen_whatever_the_pace_and_by_its_direction() {
        for (factor, better, verdict, fails) in [
            (1.2, Better::Lower, Verdict::Slower, true),
            (1.2, Better::Higher, Verdict::Faster, false),
            (0.8, Better::Lower, Verdict::Faster, false),
            (0.8, Better::Higher, Verdict::Slower, true),
            (1.03, Better::Lower, Verdict::Slower, false),
            (0.98, Better::Higher, Verdict::Slower, false),
        ] {
            let found = all(1, &pairs(better, &shifting(factor))).remove(0);
            assert_eq!(
                (found.verdict(), found.surely_beyond(0.05)),
                (verdict, fails),
                "{factor} {better:?}: {found:?}"
            );
            assert_eq!(found.name, "one core x");
        }
    }

    #[test]
    fn r49_noise_is_no_difference() {
        let noise = [(10.0, 11.0), (10.0, 9.0), (12.0, 12.5), (9.0, 8.8), (10.0, 10.1), (11.0, 10.7)];
        let found = all(1, &pairs(Better::Lower, &noise)).remove(0);
        assert_eq!((found.verdict(), found.surely_beyond(0.0)), (Verdict::NoDifferenceSeen, false), "{found:?}");
    }

    /// Two hundred figures that do not differ, on a machine on which everything varies by a tenth and more: some look slower, and none fails.
    #[test]
    fn r49_many_figures_of_the_same_program_fail_nothing() {
        let mut random = fastrand::Rng::with_seed(4);
        let mut run = || {
            let figure = |at: usize, random: &mut fastrand::Rng| {
                let median = 10.0 + random.f64() + random.f64() + random.f64();
                (("one core".into(), at.to_string()), Figure { median, better: Better::Lower })
            };
            (0..200).map(|at| figure(at, &mut random)).collect::<Figures>()
        };
        let pairs: Vec<_> = (0..10).map(|_| (run(), run())).collect();
        let found = all(1, &pairs);
        let slower = found.iter().filter(|one| one.verdict() == Verdict::Slower).count();
        assert!((1..20).contains(&slower), "{slower} of 200 look slower");
        assert_eq!(found.iter().filter(|one| one.surely_beyond(0.0)).count(), 0);
    }

    #[test]
    fn what_has_no_ratio_is_not_compared() {
        assert!(all(1, &pairs(Better::Lower, &[(1.0, 1.0), (0.0, 1.0)])).is_empty());
        let mut missing = pairs(Better::Lower, &[(1.0, 1.0), (1.0, 1.0)]);
        missing[1].1.clear();
        assert!(all(1, &missing).is_empty() && all(1, &[]).is_empty());
    }

    #[test]
    fn what_is_counted_is_certain() {
        let more = Comparison::exact("i".into(), 1000.0, 1100.0);
        assert!(more.verdict() == Verdict::Slower && more.surely_beyond(0.05) && !more.surely_beyond(0.2));
        assert_eq!(Comparison::exact("i".into(), 1000.0, 1000.0).verdict(), Verdict::NoDifferenceSeen);
    }
}
