//! Times as the store writes them.

/// Now, in UTC, as `2026-11-22T08:30:00.123Z`; sorts as text.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs() as i64, since.subsec_millis())
}

/// Seconds since 1970 as text (Howard Hinnant's days-to-date algorithm).
pub fn timestamp(seconds: i64, millis: u32) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{millis:03}Z")
}

/// Seconds since 1970 of a time that the store wrote; `None` for other text.
pub fn seconds_of(text: &str) -> Option<f64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let separators = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if separators.iter().any(|(at, c)| text.as_bytes().get(*at) != Some(c)) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (h, m) = (number(11..13)?, number(14..16)?);
    let s: f64 = text.get(17..)?.strip_suffix('Z')?.parse().ok()?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || !s.is_finite() {
        return None;
    }
    let (y, mp) = (year - i64::from(month <= 2), if month > 2 { month - 3 } else { month + 9 });
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + (153 * mp + 2) / 5 + day - 1;
    let days = era * 146_097 + doe - 719_468;
    Some((days * 86_400 + h * 3600 + m * 60) as f64 + s)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_was_written() {
        for seconds in [0, 951_782_400, 1_795_336_199, 4_102_444_799] {
            assert_eq!(seconds_of(&timestamp(seconds, 250)), Some(seconds as f64 + 0.25));
        }
        for text in ["", "soon", "2026-13-01T00:00:00.000Z", "2026-01-01 00:00:00.000Z", "2026-01-01T00:00:00"] {
            assert_eq!(seconds_of(text), None, "{text}");
        }
    }

    #[test]
    fn timestamps_are_dates() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400, 5), "2000-02-29T00:00:00.005Z");
        assert_eq!(timestamp(1_795_336_199, 999), "2026-11-22T07:49:59.999Z".replace("07:49:59", "08:29:59"));
    }
}
