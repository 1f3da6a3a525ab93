//! Which characters of a stranger's text do more than stand there.

/// Whether a character could move a cursor, hide text or turn its direction: control characters, what Unicode
/// calls formats of direction, joining, annotation and tags, and letters and spaces that show nothing.
///
/// The renderer has the same list (`HIDING` in `protocol.py`; a test of `logs.rs` compares them).
#[must_use]
pub fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
