//! Which slot of a Cluster a command belongs to, and which server has which slots.

use redis::{Arg, Cmd, Value};

use super::url::{self, Host};

/// Number of slots of every Cluster.
pub const SLOTS: usize = 16384;

/// The slot of a key, by its hash tag if it has one.
pub fn slot_of_key(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc16(tag.unwrap_or(key)) % (SLOTS as u16)
}

/// CRC-16/XMODEM, as the Cluster specification has it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            (crc << 1) ^ (0x1021 * (crc >> 15))
        })
    })
}

/// The slot of a command's first key; `None` if it has no key, so that any server will do.
pub fn slot_of(command: &Cmd) -> Option<u16> {
    key_of(command).map(slot_of_key)
}

/// A command's first key.
pub fn key_of(command: &Cmd) -> Option<&[u8]> {
    let arg = |n: usize| match command.args_iter().nth(n)? {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    };
    let name = arg(0)?.to_ascii_uppercase();
    match name.as_slice() {
        b"FCALL" | b"FCALL_RO" | b"EVAL" | b"EVAL_RO" | b"EVALSHA" | b"EVALSHA_RO" => {
            if arg(2)? == b"0" {
                return None;
            }
            arg(3)
        }
        b"OBJECT" | b"XGROUP" | b"XINFO" | b"MEMORY" => arg(2),
        b"PING" | b"INFO" | b"TIME" | b"PUBLISH" | b"FUNCTION" | b"SCRIPT" | b"CONFIG"
        | b"CLIENT" | b"CLUSTER" | b"ACL" | b"COMMAND" | b"DBSIZE" | b"SCAN" | b"FLUSHALL"
        | b"ROLE" | b"WAIT" | b"WAITAOF" | b"PUBSUB" | b"ECHO" => None,
        _ => arg(1),
    }
}

/// A part of the answer to `CLUSTER SLOTS`: first and last slot, and the primary that has them.
pub type Range = (u16, u16, Host);

/// Reads the answer to `CLUSTER SLOTS`. A server that does not know its own address leaves it out;
/// then it is `asked`, the one that was asked.
pub fn ranges(reply: &Value, asked: &Host) -> Option<Vec<Range>> {
    let Value::Array(entries) = reply else {
        return None;
    };
    entries
        .iter()
        .map(|entry| {
            let Value::Array(parts) = entry else {
                return None;
            };
            let [first, last, Value::Array(primary), ..] = parts.as_slice() else {
                return None;
            };
            let [name, port, ..] = primary.as_slice() else {
                return None;
            };
            let name = match name {
                Value::BulkString(name) => String::from_utf8(name.clone()).ok()?,
                Value::SimpleString(name) => name.clone(),
                _ => String::new(),
            };
            let name = if name.is_empty() || name == "?" {
                asked.0.clone()
            } else {
                name
            };
            Some((slot(first)?, slot(last)?, (name, small(port)?)))
        })
        .collect()
}

fn small(value: &Value) -> Option<u16> {
    match value {
        Value::Int(n) => u16::try_from(*n).ok(),
        _ => None,
    }
}

fn slot(value: &Value) -> Option<u16> {
    small(value).filter(|slot| usize::from(*slot) < SLOTS)
}

/// The address in `MOVED <slot> <address>` or `ASK <slot> <address>`, whose host may be left out.
pub fn redirection(detail: &str, asked: &Host) -> Option<Host> {
    let address = detail.split_ascii_whitespace().nth(1)?;
    let (name, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    if name.is_empty() || name == "?" {
        return Some((asked.0.clone(), port));
    }
    // Redis writes the addresses of IPv6 without brackets.
    if name.contains(':') {
        return Some((name.trim_matches(['[', ']']).to_owned(), port));
    }
    url::host(name, port).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot_of_key(b"foo"), 12182);
        assert_eq!(slot_of_key(b"{foo}:bar"), 12182);
        assert_eq!(slot_of_key(b"x{foo}{bar}"), 12182);
        // Neither an empty nor an open tag counts.
        assert_eq!(slot_of_key(b"{}foo"), crc16(b"{}foo") % 16384);
        assert_eq!(slot_of_key(b"{foo"), crc16(b"{foo") % 16384);
    }

    #[test]
    fn commands_are_routed_by_their_first_key() {
        let foo = Some(12182);
        let mut call = redis::cmd("FCALL");
        call.arg("f").arg(2).arg("{foo}").arg("{foo}:x").arg("y");
        assert_eq!(slot_of(&call), foo);
        assert_eq!(slot_of(redis::cmd("get").arg("foo")), foo);
        assert_eq!(
            slot_of(redis::cmd("OBJECT").arg("ENCODING").arg("foo")),
            foo
        );
        assert_eq!(slot_of(redis::cmd("KEYS").arg("{foo}:*")), foo);
        assert_eq!(slot_of(redis::cmd("EVAL").arg("return 1").arg(0)), None);
        assert_eq!(slot_of(redis::cmd("INFO").arg("server")), None);
        assert_eq!(slot_of(&redis::cmd("PING")), None);
    }

    #[test]
    fn redirections_name_a_host_or_mean_the_one_that_answered() {
        let asked = ("h".to_owned(), 1);
        let at = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(
            redirection("3999 10.0.0.1:6381", &asked),
            at("10.0.0.1", 6381)
        );
        assert_eq!(redirection("3999 :6381", &asked), at("h", 6381));
        assert_eq!(redirection("3999 ::1:6381", &asked), at("::1", 6381));
        assert_eq!(redirection("nonsense", &asked), None);
    }
}
