//! The comparison as text. Pure.

use super::compare::{Comparison, Verdict};
use std::fmt::Write;

/// A line for each figure.
pub(crate) fn table(comparisons: &[Comparison]) -> String {
    let mut text = format!("\n{:<72} {:>12} {:>12}   head to base, 95 %\n", "figure", "base", "head");
    for one in comparisons {
        let Comparison { name, base, head, ratio, interval, .. } = one;
        let range = format!("{:.3} - {:.3}", interval.low, interval.high);
        let _ = writeln!(text, "{name:<72} {base:>12.3} {head:>12.3}   {ratio:.3} ({range})  {}", word(one.verdict()));
    }
    text
}

/// What it comes to.
pub(crate) fn summary(figures: usize, slower: usize, failed: usize, threshold: f64) -> String {
    let by_chance = (figures as f64 * 0.025).round();
    format!(
        "{figures} figures: {slower} slower, of which about {by_chance} by chance alone; {failed} surely by more than {} %",
        100.0 * threshold
    )
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Slower => "slower",
        Verdict::Faster => "faster",
        Verdict::NoDifferenceSeen => "no difference seen",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each() {
        let text = table(&[
            Comparison::exact("instructions life".into(), 1000.0, 1100.0),
            Comparison::exact("x".into(), 2.0, 2.0),
        ]);
        assert!(text.contains("1000.000     1100.000   1.100 (1.100 - 1.100)  slower\n"), "{text}");
        assert!(text.contains("1.000 (1.000 - 1.000)  no difference seen\n"), "{text}");
        assert_eq!(
            summary(40, 2, 1, 0.05),
            "40 figures: 2 slower, of which about 1 by chance alone; 1 surely by more than 5 %"
        );
    }
}
