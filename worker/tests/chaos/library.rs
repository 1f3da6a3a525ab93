//! Other function libraries under the name of ours, so that unchanged programs call them. The driver
//! loads them; the proxies keep the programs from loading their own.

use std::borrow::Cow;

use manimq_shared::queue::{LIBRARY, Queue, QueueError};

/// Where the functions read the clock.
const CLOCK_MARK: &str = "--@CLOCK@";
/// The server's clock and what [`skew_key`] adds to it, in milliseconds.
const SKEWED: &str = "local skew = redis.call('GET', base .. ':skew') if skew then local t = redis.call('TIME') return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000) + tonumber(skew) end";

/// The key that holds the skew of the shard with this base.
pub fn skew_key(base: &str) -> String {
    format!("{base}:skew")
}

/// Our library with a clock that can be set off.
pub fn with_skew() -> String {
    edited(CLOCK_MARK, SKEWED)
}

/// Our library with holders of a lease that need not be the last.
pub fn without_fencing() -> String {
    edited(" == epoch end", " >= epoch end")
}

/// Our library with the fault of `MANIMQ_CHAOS_EDIT=<text>=><text in its place>`, to see it caught.
pub fn by_hand() -> Option<String> {
    let edit = std::env::var("MANIMQ_CHAOS_EDIT").ok()?;
    let (old, new) = edit
        .split_once("=>")
        .expect("MANIMQ_CHAOS_EDIT is TEXT=>TEXT IN ITS PLACE");
    Some(edited(old, new))
}

/// Our library with one text in the place of another.
fn edited(old: &str, new: &str) -> String {
    assert!(
        LIBRARY.code.contains(old),
        "the functions in shared/src/queue/lua do not contain {old:?} any more: say in worker/tests/chaos what takes its place"
    );
    LIBRARY.code.replace(old, new)
}

/// Loads the text in the place of ours.
pub async fn load(queue: &Queue, code: &str) -> Result<(), QueueError> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg("REPLACE").arg(code);
    queue.query(&command).await
}

/// Whether the server has this text, and not ours.
pub async fn is_there(queue: &Queue, code: &str) -> bool {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LIST").arg("LIBRARYNAME").arg(&LIBRARY.name);
    command.arg("WITHCODE");
    let list: Result<redis::Value, QueueError> = queue.query(&command).await;
    list.is_ok_and(|list| has_text(&list, code))
}

fn has_text(value: &redis::Value, text: &str) -> bool {
    match value {
        redis::Value::Array(values) => values.iter().any(|value| has_text(value, text)),
        redis::Value::BulkString(bytes) => bytes == text.as_bytes(),
        _ => false,
    }
}

/// Takes the text of a library out of what a program sends, and asks for the answer that it would get.
#[derive(Default)]
pub struct Withheld {
    /// Bytes of the text that are still to come.
    left: usize,
}

impl Withheld {
    const HEAD: &[u8] = b"*4\r\n$8\r\nFUNCTION\r\n$4\r\nLOAD\r\n$7\r\nREPLACE\r\n$";

    /// What of `sent` goes on to Redis.
    pub fn pass<'a>(&mut self, sent: &'a [u8]) -> Cow<'a, [u8]> {
        let skipped = self.left.min(sent.len());
        self.left -= skipped;
        let sent = &sent[skipped..];
        let Some(at) = find(sent, Self::HEAD) else {
            return Cow::Borrowed(sent);
        };
        let length = &sent[at + Self::HEAD.len()..];
        let digits = find(length, b"\r\n").expect("the length comes with its command");
        let bytes = std::str::from_utf8(&length[..digits]).ok();
        let bytes: usize = bytes.and_then(|n| n.parse().ok()).expect("a length");
        let rest = &length[digits + 2..];
        self.left = bytes + 2;
        let name = &LIBRARY.name;
        let echo = format!("*2\r\n$4\r\nECHO\r\n${}\r\n{name}\r\n", name.len());
        let mut passed = [&sent[..at], echo.as_bytes()].concat();
        passed.extend_from_slice(&self.pass(rest));
        Cow::Owned(passed)
    }
}

/// Where a text begins.
pub fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[test]
fn a_library_is_withheld_wherever_its_text_is_cut() {
    let load = |text: &str| {
        let command = redis::cmd("FUNCTION")
            .arg("LOAD")
            .arg("REPLACE")
            .arg(text)
            .clone();
        command.get_packed_command()
    };
    let ping = redis::cmd("PING").get_packed_command();
    let echo = redis::cmd("ECHO").arg(&LIBRARY.name).get_packed_command();
    let sent = [&ping[..], &load(&"x".repeat(100)), &load(""), &ping].concat();
    let wanted = [&ping[..], &echo, &echo, &ping].concat();
    // From behind the first head on.
    for cut in ping.len() + Withheld::HEAD.len() + 5..ping.len() + Withheld::HEAD.len() + 90 {
        let mut withheld = Withheld::default();
        let mut passed = withheld.pass(&sent[..cut]).into_owned();
        passed.extend_from_slice(&withheld.pass(&sent[cut..]));
        assert_eq!(passed, wanted);
    }
}
