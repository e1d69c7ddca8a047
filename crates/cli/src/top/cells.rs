//! Short texts for narrow columns. Pure.

/// Formats bytes, such as `1.5G`. The units are powers of 1024.
pub(super) fn bytes(bytes: Option<u64>) -> String {
    let Some(bytes) = bytes else { return dash() };
    let (mut number, mut units) = (bytes as f64, "BKMGTP".chars());
    let mut unit = units.next().unwrap_or('B');
    // A number that would be rounded to 1024 has the next unit.
    while number >= 1023.5 {
        let Some(next) = units.next() else { break };
        (number, unit) = (number / 1024.0, next);
    }
    if unit == 'B' { format!("{bytes}B") } else { format!("{}{unit}", digits(number)) }
}

/// Formats microseconds: `850us`, `1.2ms`, `4.2s`, `3m20s`, `2h05m`, `3d04h`.
pub(super) fn time(micros: Option<u64>) -> String {
    let Some(micros) = micros else { return dash() };
    let seconds = micros / 1_000_000;
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..999_500 => format!("{}ms", digits(micros as f64 / 1e3)),
        999_500..60_000_000 => format!("{}s", digits(micros as f64 / 1e6)),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600_000_000..86_400_000_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Formats a number per second, or of cores: `0`, `0.42`, `12.3`, `1234`, `12.3k`.
pub(super) fn number(number: Option<f64>) -> String {
    match number {
        None => dash(),
        Some(number) if number < 0.005 => "0".into(),
        Some(number) if number < 0.995 => format!("{number:.2}"),
        Some(number) if number < 9_999.5 => digits(number),
        Some(number) => format!("{}k", digits(number / 1000.0)),
    }
}

/// Formats a count: `1234`, `123k`, `4.5M`.
pub(super) fn count(count: u64) -> String {
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", count / 1000),
        _ => format!("{}M", digits(count as f64 / 1e6)),
    }
}

pub(super) fn dash() -> String {
    "-".into()
}

fn digits(number: f64) -> String {
    if number < 99.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Draws the last values as bars of eight heights, as wide as `width`; the largest value has the full height.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let largest = shown.iter().copied().fold(0.0, f64::max);
    let bar = |value: f64| match value {
        value if value <= 0.0 || largest <= 0.0 => BARS[0],
        value => BARS[((value / largest * 8.0).ceil() as usize).clamp(1, 8)],
    };
    let bars: String = shown.iter().map(|value| bar(*value)).collect();
    format!("{bars:>width$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_short() {
        let sizes = [0, 1023, 1024, 1536 << 20, (1 << 20) - 1, 123 << 20];
        assert_eq!(sizes.map(|size| bytes(Some(size))), ["0B", "1023B", "1.0K", "1.5G", "1.0M", "123M"]);
        let times = [0, 850, 1_234, 123_456, 999_600, 4_200_000, 200_000_000, 7_500_000_000, 273_600_000_000];
        let shown = ["0us", "850us", "1.2ms", "123ms", "1.0s", "4.2s", "3m20s", "2h05m", "3d04h"];
        assert_eq!(times.map(|micros| time(Some(micros))), shown);
        let numbers = [0.0, 0.417, 0.996, 12.34, 99.96, 1234.4, 12_345.0];
        assert_eq!(numbers.map(|each| number(Some(each))), ["0", "0.42", "1.0", "12.3", "100", "1234", "12.3k"]);
        assert_eq!([99_999, 123_456, 4_500_000].map(count), ["99999", "123k", "4.5M"]);
        assert_eq!((bytes(None), time(None), number(None)), (dash(), dash(), dash()));
    }

    #[test]
    fn a_sparkline_shows_the_last_values() {
        assert_eq!(sparkline(&[9.0, 0.0, 1.0, 4.0, 8.0], 4), " ▁▄█");
        assert_eq!(sparkline(&[], 3), "   ");
        assert_eq!(sparkline(&[0.0, 0.0], 3), "   ");
    }
}
