//! A scale from quantities to coordinates, with round numbers for its ticks.

/// Maps quantities to coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) from: f64,
    pub(super) to: f64,
    /// The coordinates of `from` and `to`.
    pub(super) at: (f64, f64),
}

impl Scale {
    /// Returns the coordinate of a quantity. A quantity out of range gets the coordinate of the nearer end.
    pub(super) fn position(&self, quantity: f64) -> f64 {
        let share = (quantity - self.from) / (self.to - self.from).max(f64::MIN_POSITIVE);
        self.at.0 + share.clamp(0.0, 1.0) * (self.at.1 - self.at.0)
    }

    /// Returns round quantities in range: about `about`, and never more than twice as many.
    pub(super) fn ticks(&self, about: f64) -> Vec<f64> {
        let step = round((self.to - self.from) / about);
        let mut ticks = Vec::new();
        let mut tick = (self.from / step).ceil() * step;
        while tick <= self.to + step * 1e-9 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

/// Returns the next larger number that is 1, 2 or 5 times a power of ten.
fn round(step: f64) -> f64 {
    let step = if step.is_finite() && step > 0.0 { step } else { 1.0 };
    let power = 10f64.powf(step.log10().floor());
    let times = [1.0, 2.0, 5.0].into_iter().find(|times| times * power >= step * (1.0 - 1e-9)).unwrap_or(10.0);
    times * power
}

/// Formats the number of a tick, without trailing zeros.
pub(super) fn tick(number: f64) -> String {
    let text = format!("{number:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(from: f64, to: f64, about: f64) -> Vec<String> {
        Scale { from, to, at: (0.0, 1.0) }.ticks(about).into_iter().map(tick).collect()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(ticks(0.0, 8.0, 8.0), ["0", "1", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(ticks(412.0, 1162.0, 8.0), ["500", "600", "700", "800", "900", "1000", "1100"]);
        assert_eq!(ticks(0.0, 0.7, 8.0), ["0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7"]);
        assert_eq!(ticks(0.0, 0.0, 8.0), ["0"], "nothing to divide");
    }

    #[test]
    fn places_stay_within_the_page() {
        let scale = Scale { from: 10.0, to: 20.0, at: (100.0, 200.0) };
        assert_eq!([5.0, 10.0, 15.0, 20.0, 25.0].map(|q| scale.position(q)), [100.0, 100.0, 150.0, 200.0, 200.0]);
    }
}
