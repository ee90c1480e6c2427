//! Numbers as text, the same everywhere.

use super::table::Entry;

/// `35.12`, `55,196`.
pub fn number(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), ""), |(w, r)| (w, r));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |d| ("-", d));
    let mut grouped = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    // Rounding must not leave a minus before nothing.
    let zero = digits.chars().all(|c| c == '0') && rest.chars().all(|c| c == '0');
    let sign = if zero { "" } else { sign };
    if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{rest}") }
}

/// `+0.81`, `-3.20`, with a true minus sign.
pub fn signed(value: f64, decimals: usize) -> String {
    let text = number(value.abs(), decimals);
    let zero = text.chars().all(|c| !c.is_ascii_digit() || c == '0');
    let sign = if zero {
        "±"
    } else if value < 0.0 {
        "\u{2212}"
    } else {
        "+"
    };
    format!("{sign}{text}")
}

/// `35.12 ± 0.40`, or the number alone where there is one seed.
pub fn mean_sd(entry: &Entry) -> Option<String> {
    let decimals = entry.metric.decimals();
    let mean = number(entry.mean?, decimals);
    Some(match entry.sd {
        Some(sd) => format!("{mean} ± {}", number(sd, decimals)),
        None => mean,
    })
}

/// Text that no spreadsheet takes for a formula: what begins like one stands behind an apostrophe, and other control
/// characters than tabs and line breaks are left out.
pub fn spreadsheet_safe(text: &str) -> String {
    let shown: String = text.chars().filter(|c| !c.is_control() || "\t\n".contains(*c)).collect();
    let first = shown.trim_start().chars().next();
    let number = shown.parse::<f64>().is_ok();
    let formula = matches!(first, Some('=' | '+' | '-' | '@' | '\u{ff1d}' | '\u{ff0b}' | '\u{ff0d}' | '\u{ff20}'));
    if formula && !number && shown != "-" { format!("'{shown}") } else { shown }
}

/// `3.2 s`, `12 min`, `1.4 h`.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 0.95 => format!("{:.1} s", s),
        s if s < 90.0 => format!("{s:.0} s"),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

/// `38.2 MiB`.
pub fn bytes(n: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_rounded() {
        assert_eq!(number(55196.0, 0), "55,196");
        assert_eq!(number(-1234.5, 1), "-1,234.5");
        assert_eq!(number(-0.001, 2), "0.00");
        assert_eq!(number(999.0, 0), "999");
        assert_eq!(signed(-3.2, 2), "\u{2212}3.20");
        assert_eq!(signed(0.004, 2), "±0.00");
        assert_eq!(bytes(40_000_000), "38.1 MiB");
    }

    #[test]
    fn what_begins_like_a_formula_is_text() {
        for (text, safe) in [
            ("=1+1", "'=1+1"),
            ("+cmd", "'+cmd"),
            ("-2+3", "'-2+3"),
            ("@sum", "'@sum"),
            ("\t=1", "'\t=1"),
            (" =1", "' =1"),
            ("\u{1b}[31mred\u{7}", "[31mred"),
            ("a=b", "a=b"),
            ("-", "-"),
            ("-2.5", "-2.5"),
            ("+1e-3", "+1e-3"),
            ("two\nlines", "two\nlines"),
        ] {
            assert_eq!(spreadsheet_safe(text), safe);
        }
    }
}
