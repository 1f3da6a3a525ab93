//! Words for what the standard library says of a text that is no number or no boolean: its own name neither what was
//! given nor what may be.

/// What such a text is instead, to be said behind "it is"; `None` if the error is another's.
pub(crate) fn parse_fault(error: &str) -> Option<&'static str> {
    Some(match error {
        "invalid digit found in string"
        | "cannot parse integer from empty string"
        | "number too small to fit in target type" => "not a whole number, 0 or more",
        "number too large to fit in target type" => "too large a number",
        "invalid float literal" | "cannot parse float from empty string" => "not a number",
        "provided string was not `true` or `false`" => "neither true nor false",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Display;
    use std::str::FromStr;

    use super::*;

    /// What is said of a text that is no `T`.
    fn fault<T: FromStr<Err: Display>>(text: &str) -> Option<&'static str> {
        parse_fault(&text.parse::<T>().err()?.to_string())
    }

    #[test]
    fn every_word_of_the_standard_library_about_a_wrong_number_is_known() {
        for text in ["", "x", "-1", "1.5"] {
            assert_eq!(fault::<u32>(text), Some("not a whole number, 0 or more"));
        }
        assert_eq!(fault::<u8>("256"), Some("too large a number"));
        for text in ["", "x"] {
            assert_eq!(fault::<f64>(text), Some("not a number"));
        }
        assert_eq!(fault::<bool>("yes"), Some("neither true nor false"));
        assert_eq!(parse_fault("another error"), None);
    }
}
