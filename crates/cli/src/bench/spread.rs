//! What several runs of the same gave: the middle one and its bounds. And quantities as people read them.

use serde::Serialize;
use std::time::Duration;

/// The least, the middle and the most of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of any figures; all zero if there are none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let last = figures.len().saturating_sub(1);
        Self { min: at(0), median: f64::midpoint(at(last / 2), at(last.div_ceil(2))), max: at(last) }
    }
}

/// A length of time with its unit, to three digits.
pub(super) fn time(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{} s", digits(s)),
        s if s >= 1e-3 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} µs", digits(s * 1e6)),
    }
}

/// A positive number, to three digits, never in powers of ten.
pub(super) fn digits(number: f64) -> String {
    let decimals = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// A share as a percentage; a small one is not none.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = usize::from(percent > 0.0 && percent < 0.95);
    format!("{percent:.decimals$} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_even_and_odd_numbers_of_figures() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { min: 1.0, median: 2.0, max: 3.0 });
        assert_eq!(Spread::of([3.0, 1.0]).median, 2.0);
        assert_eq!(Spread::of([]), Spread { min: 0.0, median: 0.0, max: 0.0 });
    }

    #[test]
    fn quantities_have_three_digits_and_a_unit() {
        let micros = |n| time(Duration::from_micros(n));
        assert_eq!(
            [micros(7), micros(5_250), micros(99_960), micros(1_234_567)],
            ["7.00 µs", "5.25 ms", "100 ms", "1.23 s"]
        );
        assert_eq!([digits(12.34), digits(12_345.6)], ["12.3", "12346"]);
        assert_eq!([0.956, 0.0042, 0.0].map(percent), ["96 %", "0.4 %", "0 %"]);
    }
}
