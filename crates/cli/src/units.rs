//! Quantities as text. Pure.

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

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_have_a_unit() {
        let sizes = [0, 1023, 1024, 1536 << 20, (1 << 20) - 1, 123 << 20].map(bytes);
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 GiB", "1.0 MiB", "123 MiB"]);
    }
}
