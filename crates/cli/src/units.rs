//! Quantities as text: those of a status, and bytes. Pure.

use serde_json::Value;

/// Formats a number of microseconds with three digits: `850 us`, `12.3 ms`, `4.56 s`, `2 h 5 min`. `-` for null.
pub(crate) fn micros(value: &Value) -> String {
    let Some(us) = value.as_u64() else { return "-".into() };
    match us {
        0..1000 => format!("{us} us"),
        1000..1_000_000 => format!("{} ms", three_digits(us as f64 / 1e3)),
        1_000_000..120_000_000 => format!("{} s", three_digits(us as f64 / 1e6)),
        _ if us < 7_200_000_000 => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
        _ => format!("{} h {} min", us / 3_600_000_000, us / 60_000_000 % 60),
    }
}

/// Formats a number of things: `1 call`, `2 calls`.
pub(crate) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// Formats a number of bytes. `-` for null.
pub(crate) fn size(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), bytes)
}

/// Formats bytes with a unit that is a power of 1024, such as `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut units = ["B", "KiB", "MiB", "GiB", "TiB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // A number that would be rounded to 1024 has the next unit.
    while number >= 1023.5 {
        let Some(next) = units.next() else { break };
        (number, unit) = (number / 1024.0, next);
    }
    let decimals = usize::from(number < 99.95 && unit != "B");
    format!("{number:.decimals$} {unit}")
}

/// Formats a number of calls per second or of cores. `-` for null.
pub(crate) fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "-".into(), three_digits)
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value == 0.0 => "0".into(),
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_have_a_unit() {
        let sizes = [0, 1023, 1024, 1536 << 20, (1 << 20) - 1, 123 << 20].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "1.0 MiB", "123 MiB"]);
    }

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let times = [850, 12_345, 999_999, 4_560_000, 130_000_000, 7_500_000_000_u64];
        let expected = ["850 us", "12.3 ms", "1000 ms", "4.56 s", "2 min 10 s", "2 h 5 min"];
        assert_eq!(times.map(|us| micros(&json!(us))), expected);
        assert_eq!([0.0, 0.42, 12.34, 1234.5].map(|value| number(&json!(value))), ["0", "0.42", "12.3", "1234"]);
        assert_eq!([micros(&Value::Null), size(&Value::Null), number(&Value::Null)], ["-", "-", "-"]);
    }
}
