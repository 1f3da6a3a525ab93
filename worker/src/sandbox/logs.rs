//! A scene's own output: bounded, decoded, made harmless.

use std::fmt::Write as _;
use std::time::Duration;

use manimq_shared::characters::is_harmful;
use tokio::time::Instant;

use crate::sandbox::{EventSender, RenderEvent};

/// Text that is kept of one render.
pub(super) const KEPT_BYTES_MAX: usize = 1024 * 1024;

/// How long a listener is waited for at the end.
const LAST_TIME_MAX: Duration = Duration::from_secs(2);

/// Text in one event.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Turns the bytes of a log pipe into text that can be shown anywhere.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct LogText {
    /// Bytes of a character that has not fully arrived.
    partial: Vec<u8>,
    /// Escaped, not yet taken.
    ready: String,
    read_bytes: u64,
    /// Its first bytes as they came.
    said: Vec<u8>,
    /// What the run before this one said, while this one says the same.
    before: Option<Vec<u8>>,
    kept_bytes: usize,
    truncated: bool,
}

impl LogText {
    /// Passes on what there is room for; the rest waits for the next time.
    pub(in crate::sandbox) fn offer(
        &mut self,
        progress: &mut Option<RenderEvent>,
        events: &EventSender,
    ) {
        if let Some(latest) = progress.take() {
            *progress = events.offer(latest);
        }
        while let Some((text, truncated)) = self.take(false) {
            if let Some(RenderEvent::Log { text, .. }) =
                events.offer(RenderEvent::Log { text, truncated })
            {
                self.put_back(text);
                break;
            }
        }
    }

    /// Passes on all that is left, for a bounded time.
    pub(in crate::sandbox) async fn offer_last(
        &mut self,
        progress: &mut Option<RenderEvent>,
        events: &EventSender,
    ) {
        if let Some(latest) = progress.take() {
            events.last(latest).await;
        }
        let give_up = Instant::now() + LAST_TIME_MAX;
        while let Some((text, truncated)) = self.take(true) {
            if Instant::now() < give_up {
                events.last(RenderEvent::Log { text, truncated }).await;
            }
        }
    }

    /// Takes what was read from the pipe.
    pub(in crate::sandbox) fn push(&mut self, bytes: &[u8]) {
        self.read_bytes += bytes.len() as u64;
        if self.truncated {
            return;
        }
        let at = self.said.len();
        let room = KEPT_BYTES_MAX.saturating_sub(at).min(bytes.len());
        self.said.extend_from_slice(&bytes[..room]);
        match self.before.take() {
            None => self.partial.extend_from_slice(bytes),
            Some(before) => self.skip_what_is_known(before, at, bytes),
        }
        let partial = std::mem::take(&mut self.partial);
        let mut rest = partial.as_slice();
        while !rest.is_empty() && !self.truncated {
            match std::str::from_utf8(rest) {
                Ok(text) => {
                    self.append(text);
                    rest = &[];
                }
                Err(error) => {
                    let (good, bad) = rest.split_at(error.valid_up_to());
                    self.append(std::str::from_utf8(good).unwrap_or_default());
                    match error.error_len() {
                        Some(length) => {
                            self.append("\u{fffd}");
                            rest = &bad[length..];
                        }
                        None => {
                            self.partial = bad.to_vec();
                            rest = &[];
                        }
                    }
                }
            }
        }
    }

    /// The scene runs again from its start: what it says as before is not shown twice.
    pub(super) fn begin_again(&mut self) {
        self.before = Some(std::mem::take(&mut self.said));
        self.partial.clear();
        self.read_bytes = 0;
    }

    /// Takes of `bytes`, which come after the first `at` of this run, what the last run has not said.
    fn skip_what_is_known(&mut self, before: Vec<u8>, at: usize, bytes: &[u8]) {
        let known = before[at..]
            .iter()
            .zip(bytes)
            .take_while(|(old, new)| old == new)
            .count();
        if known == bytes.len() {
            self.before = Some(before);
            return;
        }
        let same = at + known;
        if same < before.len() {
            // Other words from here on: the whole line, on a line of its own.
            let line = before[..same].iter().rposition(|&byte| byte == b'\n');
            if before.last() != Some(&b'\n') {
                self.partial.push(b'\n');
            }
            self.partial
                .extend_from_slice(&before[line.map_or(0, |at| at + 1)..same]);
        }
        self.partial.extend_from_slice(&bytes[known..]);
    }

    /// All that was read, kept or not.
    pub(in crate::sandbox) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// The next piece to send: whole lines where it can, everything at the `end`.
    /// The flag tells that nothing will come after it because the limit is reached.
    pub(in crate::sandbox) fn take(&mut self, end: bool) -> Option<(String, bool)> {
        let everything = end || self.truncated || self.ready.len() >= PIECE_BYTES_MAX;
        let window = &self.ready[..self.ready.floor_char_boundary(PIECE_BYTES_MAX)];
        let lines = window.rfind('\n').map_or(0, |at| at + 1);
        let upto = if everything && (lines == 0 || window.len() == self.ready.len()) {
            window.len()
        } else {
            lines
        };
        if upto == 0 {
            return None;
        }
        let rest = self.ready.split_off(upto);
        let text = std::mem::replace(&mut self.ready, rest);
        Some((text, self.truncated && self.ready.is_empty()))
    }

    /// Puts back what nobody had room for.
    pub(in crate::sandbox) fn put_back(&mut self, text: String) {
        self.ready.insert_str(0, &text);
    }

    fn append(&mut self, text: &str) {
        let before = self.ready.len();
        for character in text.chars() {
            match character {
                '\n' | '\t' => self.ready.push(character),
                c if is_harmful(c) => {
                    let _ = write!(self.ready, "{}", c.escape_unicode());
                }
                c => self.ready.push(c),
            }
            if self.kept_bytes + (self.ready.len() - before) >= KEPT_BYTES_MAX {
                self.truncated = true;
                break;
            }
        }
        self.kept_bytes += self.ready.len() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(log: &mut LogText) -> (String, bool) {
        let (mut all, mut last) = (String::new(), false);
        while let Some((text, truncated)) = log.take(true) {
            assert!(text.len() <= PIECE_BYTES_MAX && !last);
            all.push_str(&text);
            last = truncated;
        }
        (all, last)
    }

    fn shown(chunks: &[&[u8]]) -> String {
        let mut log = LogText::default();
        for chunk in chunks {
            log.push(chunk);
        }
        all(&mut log).0
    }

    #[test]
    fn control_characters_and_reordering_are_escaped() {
        assert_eq!(
            shown(&["a\u{1b}[2Jb\rc\tд\u{202e}\n".as_bytes()]),
            "a\\u{1b}[2Jb\\u{d}c\tд\\u{202e}\n"
        );
    }

    #[test]
    fn the_renderer_escapes_the_same_characters() {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for c in ('\0'..=char::MAX).filter(|&c| is_harmful(c) && !c.is_control()) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == u32::from(c) => *last += 1,
                _ => ranges.push((c.into(), c.into())),
            }
        }
        let escaped = |c: u32| match c {
            ..0x1_0000 => format!("\\u{c:04x}"),
            _ => format!("\\U{c:08x}"),
        };
        let listed: String = ranges
            .into_iter()
            .map(|(first, last)| match first == last {
                true => escaped(first),
                false => format!("{}-{}", escaped(first), escaped(last)),
            })
            .collect();
        let renderer = include_str!("../../renderer/manimq_renderer/protocol.py");
        assert!(
            renderer.contains(&format!("HIDING = \"{listed}\\ud800-\\udfff\"")),
            "{listed}"
        );
    }

    #[test]
    fn a_character_split_over_two_reads_is_one_character() {
        assert_eq!(shown(&[b"\xd0", b"\xb4"]), "д");
        assert_eq!(shown(&[b"\xff\xfe!"]), "\u{fffd}\u{fffd}!");
    }

    #[test]
    fn a_running_log_is_passed_on_in_whole_lines() {
        let mut log = LogText::default();
        log.push(b"one\ntwo\nthr");
        assert_eq!(log.take(false), Some(("one\ntwo\n".into(), false)));
        assert_eq!(log.take(false), None);
        log.push("ä".repeat(PIECE_BYTES_MAX).as_bytes());
        assert_eq!(
            log.take(false).map(|(text, _)| text.len()),
            Some(PIECE_BYTES_MAX - 1)
        );
    }

    #[test]
    fn what_a_second_run_says_as_the_first_is_shown_once() {
        let both = |first: &[&[u8]], second: &[&[u8]]| {
            let mut log = LogText::default();
            first.iter().for_each(|chunk| log.push(chunk));
            let mut text = log.take(false).unwrap_or_default().0;
            log.begin_again();
            second.iter().for_each(|chunk| log.push(chunk));
            text.push_str(&all(&mut log).0);
            text
        };
        assert_eq!(both(&[b"a\nb\n"], &[b"a\n", b"b\nc\n"]), "a\nb\nc\n");
        assert_eq!(both(&[b"a\nb"], &[b"a\nb", b"c\n"]), "a\nbc\n");
        assert_eq!(
            both(&[b"a\nb1\nc\n"], &[b"a\nb2\nc\n"]),
            "a\nb1\nc\nb2\nc\n"
        );
        assert_eq!(both(&[b"a1"], &[b"a", b"2\n"]), "a1\na2\n");
        assert_eq!(both(&[], &[b"a\n"]), "a\n");
        assert_eq!(both(&[b"a\n"], &[]), "a\n");
    }

    #[test]
    fn no_more_is_kept_than_the_limit() {
        let mut log = LogText::default();
        for _ in 0..40 {
            log.push(&[b'x'; 64 * 1024]);
        }
        let (text, truncated) = all(&mut log);
        assert!(truncated);
        assert!(text.len() <= KEPT_BYTES_MAX + 16);
        assert_eq!(log.read_bytes(), 40 * 64 * 1024);
        assert!(log.take(true).is_none());
    }
}
