//! Times and numbers for people.

use std::time::Duration;

use jiff::Timestamp;
use manimq_shared::ids::TenantId;
use manimq_shared::job::Paused;

/// A length of time in one unit, the nearest number of it: `450 ms`, `12 s`, `3 min`, `5 h`, `2 d`.
pub fn span(time: Duration) -> String {
    if time.is_zero() {
        return "0 s".to_owned();
    }
    let ms = time.as_millis();
    let of = |unit: u128| (ms + unit / 2) / unit;
    match of(1000) {
        0..1 => format!("{ms} ms"),
        s @ 1..120 => format!("{s} s"),
        120..7200 => format!("{} min", of(60_000)),
        7200..172_800 => format!("{} h", of(3_600_000)),
        _ => format!("{} d", of(86_400_000)),
    }
}

fn between(from: Timestamp, to: Timestamp) -> Duration {
    // To the second. Clocks differ a little: what is not over yet is now.
    let length = Duration::try_from(to.duration_since(from)).unwrap_or_default();
    Duration::from_secs(length.as_secs() + u64::from(length.subsec_millis() >= 500))
}

/// `12 s ago`.
pub fn ago(at: Timestamp) -> String {
    format!("{} ago", span(between(at, Timestamp::now())))
}

/// `in 12 s`.
pub fn ahead(at: Timestamp) -> String {
    format!("in {}", span(between(Timestamp::now(), at)))
}

/// When a job may be expected to start: `in about 12 s`.
pub fn starts_in(wait: Duration) -> String {
    if wait < Duration::from_secs(1) {
        "any moment now".to_owned()
    } else {
        format!("in about {}", span(wait))
    }
}

/// What is paused, and the command that ends that. `tenant`: which one, where that is known.
pub fn pause(paused: Paused, tenant: Option<&TenantId>) -> (String, String) {
    let (what, scope) = match (paused, tenant) {
        (Paused::All, _) => ("everything".to_owned(), "--all".to_owned()),
        (Paused::Tenant, Some(name)) => (format!("the tenant {name}"), format!("--tenant {name}")),
        (Paused::Tenant, None) => ("the tenant".to_owned(), "--tenant TENANT".to_owned()),
        (Paused::Interactive | Paused::Normal | Paused::Batch, _) => {
            (format!("the lane {paused}"), format!("--lane {paused}"))
        }
    };
    (what, format!("`manimq admin resume {scope}`"))
}

/// Why a job waits that an operator has paused, and what ends that.
pub fn paused_words(paused: Paused, tenant: &TenantId) -> String {
    let (what, resume) = pause(paused, Some(tenant));
    format!("an operator has paused {what}; {resume} lets it go on")
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
            (1_999, "2 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
            // A moment before 90 days.
            (7_775_999_999, "90 d"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
        let soon = Timestamp::now() + jiff::SignedDuration::from_secs(60);
        assert_eq!(ago(soon), "0 s ago", "a clock that is behind");
    }
}
