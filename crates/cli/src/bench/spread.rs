//! The minimum, the median and the maximum of several runs, and quantities in human-readable form.

use crate::units::counted;
use serde::Serialize;
use std::time::Duration;

/// The minimum, the median and the maximum of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) min: f64,
    pub(super) median: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Summarizes some numbers. All zero if there are none.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let figure = |index: usize| figures.get(index).copied().unwrap_or(0.0);
        let last = figures.len().saturating_sub(1);
        Self { min: figure(0), median: f64::midpoint(figure(last / 2), figure(last.div_ceil(2))), max: figure(last) }
    }
}

/// Formats a duration with three significant digits and a unit.
pub(super) fn time(span: Duration) -> String {
    let seconds = span.as_secs_f64();
    match seconds {
        s if s >= 1.0 => format!("{} s", digits(s)),
        s if s >= 1e-3 => format!("{} ms", digits(s * 1e3)),
        s => format!("{} µs", digits(s * 1e6)),
    }
}

/// Formats a positive number with three significant digits, without an exponent.
pub(super) fn digits(number: f64) -> String {
    let decimals = match number {
        n if n >= 99.95 => 0,
        n if n >= 9.995 => 1,
        _ => 2,
    };
    format!("{number:.decimals$}")
}

/// Formats a share as a percentage. A small share is not shown as zero.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let decimals = usize::from(percent > 0.0 && percent < 0.95);
    format!("{percent:.decimals$} %")
}

/// Returns `1 worker`, `2 workers` and so on.
pub(super) fn workers(count: usize) -> String {
    counted(count as u64, "worker")
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
