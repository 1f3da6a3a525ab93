//! Server-sent events, read from bytes as they come. Bounded: a server cannot make us keep more
//! than [`EVENT_BYTES_MAX`].

/// Largest line and largest event that is read.
pub const EVENT_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// The last id seen, for `Last-Event-ID`.
    pub id: Option<String>,
    /// Its kind; `message` if the server named none.
    pub kind: String,
    /// Its data lines, joined.
    pub data: String,
}

/// A line or an event was larger than [`EVENT_BYTES_MAX`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {EVENT_BYTES_MAX} bytes")]
pub struct TooLong;

/// Turns bytes into events, wherever the network cuts them.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_cr: bool,
    id: Option<String>,
    kind: String,
    data: String,
    has_data: bool,
}

impl Parser {
    /// Takes the next bytes; complete events are appended to `out`.
    ///
    /// # Errors
    /// [`TooLong`]: give the connection up.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<RawEvent>) -> Result<(), TooLong> {
        for &byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if after_cr => {} // the second half of CR LF
                b'\n' | b'\r' => {
                    let line = std::mem::take(&mut self.line);
                    self.take_line(&line, out)?;
                    self.line = line;
                    self.line.clear();
                }
                _ if self.line.len() == EVENT_BYTES_MAX => return Err(TooLong),
                _ => self.line.push(byte),
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], out: &mut Vec<RawEvent>) -> Result<(), TooLong> {
        if line.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            let data = std::mem::take(&mut self.data);
            if std::mem::take(&mut self.has_data) {
                let kind = if kind.is_empty() {
                    "message".to_owned()
                } else {
                    kind
                };
                out.push(RawEvent {
                    id: self.id.clone(),
                    kind,
                    data,
                });
            }
            return Ok(());
        }
        let line = String::from_utf8_lossy(line);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => {
                if self.data.len() + value.len() >= EVENT_BYTES_MAX {
                    return Err(TooLong);
                }
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            _ => {} // a comment (heartbeat), `retry`, or a field of the future
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = ": hello\r\n\r\nretry: 3000\n\nid: 1-0\nevent: status\ndata: {\"a\":1}\n\n\
                          event: log\rdata:two\rdata: lines\r\rid: 2-0\nevent: done\ndata: é\n\ndata: cut";

    #[test]
    fn events_are_the_same_wherever_the_network_cuts_them() {
        let mut whole = Vec::new();
        Parser::default()
            .push(STREAM.as_bytes(), &mut whole)
            .unwrap();
        let seen: Vec<_> = whole
            .iter()
            .map(|e| (e.id.as_deref(), e.kind.as_str(), e.data.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (Some("1-0"), "status", "{\"a\":1}"),
                (Some("1-0"), "log", "two\nlines"),
                (Some("2-0"), "done", "é"),
            ]
        );
        for size in 1..7 {
            let mut parser = Parser::default();
            let mut parts = Vec::new();
            for chunk in STREAM.as_bytes().chunks(size) {
                parser.push(chunk, &mut parts).unwrap();
            }
            assert_eq!(parts, whole, "chunks of {size}");
        }
    }

    #[test]
    fn an_endless_line_or_event_is_refused() {
        let mut parser = Parser::default();
        let mut out = Vec::new();
        assert_eq!(
            parser.push(&vec![b'x'; EVENT_BYTES_MAX + 1], &mut out),
            Err(TooLong)
        );
        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(EVENT_BYTES_MAX / 2));
        assert!(parser.push(line.as_bytes(), &mut out).is_ok());
        assert_eq!(parser.push(line.as_bytes(), &mut out), Err(TooLong));
    }
}
