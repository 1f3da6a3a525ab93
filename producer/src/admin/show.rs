//! Times and numbers for people.

use std::time::Duration;

use jiff::Timestamp;

/// A length of time in one unit: `450 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub fn span(time: Duration) -> String {
    let s = time.as_secs();
    match s {
        0 if time.is_zero() => "0 s".to_owned(),
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{s} s"),
        120..7200 => format!("{} min", s / 60),
        7200..172_800 => format!("{} h", s / 3600),
        _ => format!("{} d", s / 86_400),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    let length = to.duration_since(from);
    // Clocks differ a little: what is not over yet is now.
    let seconds = u64::try_from(length.as_secs()).unwrap_or(0);
    Duration::from_secs(seconds)
}

/// `12 s ago`.
pub fn ago(at: Timestamp) -> String {
    format!("{} ago", span(between(at, Timestamp::now())))
}

/// `in 12 s`.
pub fn ahead(at: Timestamp) -> String {
    format!("in {}", span(between(Timestamp::now(), at)))
}

/// `-` for nothing.
pub fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

/// `1 job`, `2 jobs`.
pub fn plural(n: impl TryInto<u64>, what: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_one_unit_that_fits() {
        for (ms, text) in [
            (0, "0 s"),
            (450, "450 ms"),
            (1_999, "1 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        assert_eq!(ago(soon), "0 s ago", "a clock that is behind");
    }
}
