//! Numbers as people read them.

/// A count with spaces between thousands: `12 345 678`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A rate with three significant digits and a decimal prefix: `1.23 M`.
pub(crate) fn rate(value: f64) -> String {
    let mut scaled = value;
    for prefix in ["", " k", " M", " G"] {
        // 999.5 would print as 1000.
        if scaled < 999.5 {
            return format!("{}{prefix}", three_digits(scaled, prefix.is_empty()));
        }
        scaled /= 1000.0;
    }
    format!("{scaled:.0} T")
}

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

/// Bytes with three significant digits and a decimal prefix: `1.23 MB`.
pub(crate) fn bytes(value: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let text = rate(value as f64);
    let unit = if text.contains(' ') { "B" } else { " B" };
    text + unit
}

/// A share in percent.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// How long something has run: `3 d 04:05:06`.
pub(crate) fn uptime(nanos: u64) -> String {
    let seconds = nanos / 1_000_000_000;
    let clock = format!("{:02}:{:02}:{:02}", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    match seconds / 86_400 {
        0 => clock,
        days => format!("{days} d {clock}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1000), "1 000");
        assert_eq!(count(12_345_678), "12 345 678");
    }

    #[test]
    fn rates_keep_three_digits() {
        for (value, text) in [
            (0.0, "0"),
            (7.0, "7"),
            (2.5, "2.50"),
            (999.4, "999"),
            (999.9, "1.00 k"),
            (1234.0, "1.23 k"),
            (45_600.0, "45.6 k"),
            (999_960.0, "1.00 M"),
            (14_880_000.0, "14.9 M"),
            (1.0e10, "10.0 G"),
            (3.0e12, "3 T"),
        ] {
            assert_eq!(rate(value), text, "{value}");
        }
    }

    #[test]
    fn bytes_have_their_unit_beside_the_prefix() {
        for (value, text) in
            [(0, "0 B"), (999, "999 B"), (180_000, "180 kB"), (1_234_567, "1.23 MB")]
        {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn durations_take_the_unit_that_fits() {
        assert_eq!(nanos(12), "12 ns");
        assert_eq!(nanos(12_340), "12.3 µs");
        assert_eq!(nanos(999_900), "1.00 ms");
        assert_eq!(nanos(2_500_000_000), "2.50 s");
        assert_eq!(uptime(93_784_000_000_000), "1 d 02:03:04");
        assert_eq!(uptime(59_000_000_000), "00:00:59");
    }
}
