//! Numbers as people read them.

fn three_digits(value: f64, unscaled: bool) -> String {
    if unscaled && value == value.trunc() || value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

/// Nanoseconds with a fitting unit: `12.3 µs`.
pub(crate) fn nanos(value: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let value = value as f64;
    match value {
        v if v < 999.5 => format!("{v:.0} ns"),
        v if v < 999.5e3 => format!("{} µs", three_digits(v / 1e3, false)),
        v if v < 999.5e6 => format!("{} ms", three_digits(v / 1e6, false)),
        v => format!("{} s", three_digits(v / 1e9, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_take_the_unit_that_fits() {
        assert_eq!(nanos(12), "12 ns");
        assert_eq!(nanos(12_340), "12.3 µs");
        assert_eq!(nanos(999_900), "1.00 ms");
        assert_eq!(nanos(2_500_000_000), "2.50 s");
    }
}
