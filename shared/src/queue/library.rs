//! The Redis function library: all transitions, joined into one text and named by its own hash.
//!
//! The name carries the content's hash, so that two versions of manimq run side by side on one
//! Redis during a roll-out, each calling its own functions. Both must then agree on the data;
//! [`LAYOUT`] changes when they do not.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::{ELSEWHERE_MAX, PARK, SOON};

/// Version of the data layout (keys, fields, their meaning).
pub const LAYOUT: u32 = 5;

const FILES: &[&str] = &[
    include_str!("lua/prelude.lua"),
    include_str!("lua/promote.lua"),
    include_str!("lua/reap.lua"),
    include_str!("lua/enqueue.lua"),
    include_str!("lua/claim.lua"),
    include_str!("lua/rest.lua"),
    include_str!("lua/renew.lua"),
    include_str!("lua/finish.lua"),
    include_str!("lua/fail.lua"),
    include_str!("lua/release.lua"),
    include_str!("lua/cancel.lua"),
    include_str!("lua/erase.lua"),
    include_str!("lua/read.lua"),
    include_str!("lua/stats.lua"),
    include_str!("lua/survey.lua"),
    include_str!("lua/list.lua"),
    include_str!("lua/leave.lua"),
    include_str!("lua/control.lua"),
    include_str!("lua/feed.lua"),
    include_str!("lua/hooks.lua"),
    include_str!("lua/remind.lua"),
    include_str!("lua/audit.lua"),
    include_str!("lua/accounts.lua"),
];

/// Where the clock of the functions can be replaced, in a library for tests only.
#[cfg(feature = "testing")]
const CLOCK_MARK: &str = "--@CLOCK@";
/// The clock of tests: stands still at what `<base>:clock` says, if that is set.
#[cfg(feature = "testing")]
const TEST_CLOCK: &str =
    "local c = redis.call('GET', base .. ':clock') if c then return tonumber(c) end";

/// The library, ready for `FUNCTION LOAD`.
pub struct Library {
    /// The library's name, such as `manimq_1_0f3a9c21`.
    pub name: String,
    /// The whole text.
    pub code: String,
}

impl Library {
    /// The name under which Redis knows a transition.
    #[must_use]
    pub fn function(&self, transition: &str) -> String {
        format!("{}_{transition}", self.name)
    }
}

impl Library {
    fn build(body: &str) -> Self {
        let hash = hex::encode(&Sha256::digest(body.as_bytes())[..4]);
        let name = format!("manimq_{LAYOUT}_{hash}");
        let body = inline_constants(&body.replace("@PREFIX@", &format!("{name}_")));
        let code = format!("#!lua name={name}\n{body}");
        Self { name, code }
    }
}

/// All functions, with what they share with this crate.
fn text() -> String {
    let ms = |time: Duration| time.as_millis().to_string();
    FILES
        .join("\n")
        .replace("@PARK_MS@", &ms(PARK))
        .replace("@ELSEWHERE_MAX_MS@", &ms(ELSEWHERE_MAX))
        .replace("@SOON_MS@", &ms(SOON))
}

/// The names and values of a line such as `local A, B_MS = 1, 0.5`, if it is one.
fn constants(line: &str) -> Option<Vec<(&str, &str)>> {
    let (names, values) = line.strip_prefix("local ")?.split_once(" = ")?;
    let (names, values): (Vec<_>, Vec<_>) =
        (names.split(", ").collect(), values.split(", ").collect());
    let is_name = |name: &&str| {
        name.starts_with(|c: char| c.is_ascii_uppercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    (names.len() == values.len()
        && names.iter().all(is_name)
        && values.iter().all(|value| value.parse::<f64>().is_ok()))
    .then(|| names.into_iter().zip(values).collect())
}

/// Writes the values of top-level constants where their names are. Lua allows 200 local names in a
/// chunk and looks each up when it is used; the sources have more, and use them all the time.
fn inline_constants(body: &str) -> String {
    let values: HashMap<&str, &str> = body.lines().filter_map(constants).flatten().collect();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut code = String::with_capacity(body.len());
    for line in body.lines() {
        let mut rest = if constants(line).is_some() { "" } else { line };
        while let Some(first) = rest.chars().next() {
            let end = if rest.starts_with("--") {
                rest.len()
            } else if first == '\'' || first == '"' {
                let closing = rest[1..].find(first).map(|at| at + 2);
                closing.unwrap_or(rest.len())
            } else if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else {
                first.len_utf8()
            };
            let (token, after) = rest.split_at(end);
            code.push_str(values.get(token).unwrap_or(&token));
            rest = after;
        }
        code.push('\n');
    }
    code
}

/// The library of this build.
pub static LIBRARY: LazyLock<Library> = LazyLock::new(|| Library::build(&text()));

/// The same library with a clock that tests can set. Its text, and so its name, differ from
/// [`LIBRARY`]'s: production never loads nor calls it.
#[cfg(feature = "testing")]
pub static TEST_LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let body = text();
    assert!(body.contains(CLOCK_MARK), "the functions have a clock");
    Library::build(&body.replace(CLOCK_MARK, TEST_CLOCK))
});

/// A version to come, for tests of a roll-out: its records have a longer head, which it fills in where an
/// older one wrote none, and its tenants and shards have a field more, "next".
#[cfg(feature = "testing")]
pub static NEXT_LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let mut body = text();
    for (now, then) in [
        (
            "  local job = { key, sub(v, tenant_at, idem_at - 1), idem, render, struct_unpack(HEAD, v) }\n",
            "  local job = { key, sub(v, tenant_at, idem_at - 1), idem, render, struct_unpack(HEAD, v) }\n  \
             job.appended = byte(v) >= 140 and struct_unpack('<I4', v, 137) or 0\n",
        ),
        (
            "local function put_job(job) ",
            "local function put_job(job) if job[HEAD_FROM] >= 140 then \
             call('SETRANGE', job[KEY], '136', struct_pack('<I4', job.appended)) end ",
        ),
        (
            "spread(t, STATE_FROM, STATE_TO)) .. t[REST]",
            "spread(t, STATE_FROM, STATE_TO)) .. (t[REST] == '' and 'next' or t[REST])",
        ),
        (
            "spread(S.shard, 1, SHARD_FIELDS)) .. S.shard_rest",
            "spread(S.shard, 1, SHARD_FIELDS)) .. (S.shard_rest == '' and 'next' or S.shard_rest)",
        ),
    ] {
        assert!(body.contains(now), "{now}");
        body = body.replace(now, then);
    }
    Library::build(&body)
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_written_where_their_names_are_but_not_in_texts() {
        let body = "local A, B_MS = 1, 0.5\nlocal t = { A, B_MS, AB, 'A' } -- A\nreturn x.y[A]";
        assert_eq!(
            inline_constants(body),
            "\nlocal t = { 1, 0.5, AB, 'A' } -- A\nreturn x.y[1]\n"
        );
    }

    #[test]
    fn the_production_library_knows_no_other_clock_than_the_servers() {
        assert!(!LIBRARY.code.contains(TEST_CLOCK) && !LIBRARY.code.contains(":clock"));
        assert!(TEST_LIBRARY.code.contains(TEST_CLOCK));
        assert_ne!(LIBRARY.name, TEST_LIBRARY.name);
    }
}
