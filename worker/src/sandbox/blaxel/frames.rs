//! What our program in the sandbox says on its output, read from a stream that is not line-safe.
//!
//! The server puts `stdout:` before each piece that it happens to read, also within a line, and
//! lines of its own between. So a frame is a line `~<base64 of JSON>.<its CRC-32 in hex>`: no
//! letter of it is a colon, which makes the marks findable wherever they are, and what is damaged
//! all the same is not believed. Frames carry numbers: what is missing is seen, what a second
//! stream repeats is skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// Longest line: a message of the guard's in base64, and room for marks.
const LINE_BYTES_MAX: usize = 512 * 1024;

/// A numbered message.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    /// From 0, without gaps.
    pub n: u64,
    /// What it says.
    pub m: serde_json::Value,
}

/// What came of some more bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// All frames so far were seen.
    None,
    /// One is missing: read the whole output.
    Missing,
}

/// Puts frames together. Survives the end of one stream and the beginning of the next.
#[derive(Debug, Default)]
pub(super) struct Frames {
    line: Vec<u8>,
    /// The line is too long to be a frame.
    skipping: bool,
    /// Number of the frame that comes next.
    next: u64,
}

impl Frames {
    /// Another stream begins, with what was said so far.
    pub(super) fn begin_again(&mut self) {
        self.line.clear();
        self.skipping = false;
    }

    /// Takes bytes of a stream; each new frame goes to `each`, in order.
    pub(super) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(serde_json::Value)) -> Gap {
        let mut gap = Gap::None;
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            if !self.skipping {
                self.line.extend_from_slice(piece);
                self.skipping = self.line.len() > LINE_BYTES_MAX;
            }
            if !ends {
                continue;
            }
            let line = std::mem::take(&mut self.line);
            if !std::mem::take(&mut self.skipping)
                && let Some(frame) = read(&line)
            {
                if frame.n == self.next {
                    self.next += 1;
                    each(frame.m);
                } else if frame.n > self.next {
                    gap = Gap::Missing;
                }
            }
        }
        gap
    }
}

/// A frame, if that is what the line is.
fn read(line: &[u8]) -> Option<Frame> {
    let line = std::str::from_utf8(line).ok()?;
    let line = line.replace("stdout:", "").replace("stderr:", "");
    let (text, sum) = line.trim_end().strip_prefix('~')?.rsplit_once('.')?;
    let text = STANDARD.decode(text).ok()?;
    if u32::from_str_radix(sum, 16).ok()? != crc32(&text) {
        return None;
    }
    serde_json::from_slice(&text).ok()
}

/// As zlib's. The frames are small: no table is worth it.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(n: u64, said: &str) -> String {
        let text = serde_json::json!({ "n": n, "m": said }).to_string();
        let sum = crc32(text.as_bytes());
        format!("~{}.{sum:08x}\n", STANDARD.encode(text))
    }

    fn take(frames: &mut Frames, text: &str) -> (Vec<String>, Gap) {
        let mut all = Vec::new();
        let gap = frames.push(text.as_bytes(), |m| {
            all.push(m.as_str().unwrap_or_default().to_owned());
        });
        (all, gap)
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn marks_may_stand_anywhere_in_a_line() {
        for at in 0..line(0, "hello: stdout:").len() {
            let mut text = line(0, "hello: stdout:");
            text.insert_str(at, "stdout:");
            let text = format!("[keepalive]\nstdout:{text}");
            let (all, gap) = take(&mut Frames::default(), &text);
            // Between the sum and the end of the line there is nothing to lose.
            assert_eq!(
                (all, gap),
                (vec!["hello: stdout:".to_owned()], Gap::None),
                "{at}"
            );
        }
    }

    #[test]
    fn a_second_stream_repeats_nothing() {
        let mut frames = Frames::default();
        let both = line(0, "a") + &line(1, "b");
        assert_eq!(take(&mut frames, &(both.clone() + "~dam")).0, ["a", "b"]);
        frames.begin_again();
        let (all, gap) = take(&mut frames, &(both + &line(2, "c")));
        assert_eq!((all, gap), (vec!["c".to_owned()], Gap::None));
    }

    #[test]
    fn a_damaged_frame_is_not_believed_and_its_loss_is_seen() {
        let mut frames = Frames::default();
        let damaged = line(1, "b").replacen("eyJ", "eyK", 1);
        let text = line(0, "a") + &damaged + &line(2, "c");
        assert_eq!(
            take(&mut frames, &text),
            (vec!["a".to_owned()], Gap::Missing)
        );
        frames.begin_again();
        let whole = line(0, "a") + &line(1, "b") + &line(2, "c");
        assert_eq!(take(&mut frames, &whole).0, ["b", "c"]);
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut frames = Frames::default();
        for _ in 0..64 {
            frames.push(&[b'x'; 64 * 1024], |_| panic!("no frame"));
        }
        assert!(frames.line.len() <= LINE_BYTES_MAX + 64 * 1024);
        assert_eq!(take(&mut frames, &format!("\n{}", line(0, "a"))).0, ["a"]);
    }
}
