//! Colours by their names.

/// Names, each with a colour that reads well on dark and light ground.
const NAMED: &[(&str, &str)] = &[
    ("red", "#e5484d"),
    ("blue", "#3b82f6"),
    ("green", "#2fa36b"),
    ("yellow", "#f5c542"),
    ("orange", "#f28c28"),
    ("purple", "#8e5bd0"),
    ("violet", "#8e5bd0"),
    ("pink", "#e667a6"),
    ("magenta", "#c0369b"),
    ("cyan", "#22b8cf"),
    ("turquoise", "#22b8a0"),
    ("teal", "#1f9d8f"),
    ("gold", "#d4a72c"),
    ("brown", "#8d5a34"),
    ("maroon", "#9b2c3f"),
    ("navy", "#233a75"),
    ("lime", "#84cc16"),
    ("black", "#101010"),
    ("white", "#fafafa"),
    ("grey", "#8a8f98"),
    ("gray", "#8a8f98"),
    ("silver", "#c0c4cc"),
];

/// Whether this word is a colour.
#[must_use]
pub fn is_name(word: &str) -> bool {
    NAMED.iter().any(|(name, _)| *name == word)
}

/// `#rrggbb` of a name, `#rgb` or `#rrggbb`.
pub(super) fn parse(text: &str) -> Result<String, String> {
    let lower = text.trim().to_lowercase();
    if let Some((_, hex)) = NAMED.iter().find(|(name, _)| *name == lower) {
        return Ok((*hex).to_owned());
    }
    let digits: Vec<char> = lower
        .strip_prefix('#')
        .unwrap_or_default()
        .chars()
        .collect();
    match digits.len() {
        3 | 6 if digits.iter().all(char::is_ascii_hexdigit) => {
            let times = 6 / digits.len();
            let wide = digits
                .iter()
                .flat_map(|digit| std::iter::repeat_n(digit, times));
            Ok(std::iter::once(&'#').chain(wide).collect())
        }
        _ => {
            let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
            Err(format!(
                "this is no colour; write one like #3b82f6, or one of {}",
                names.join(", ")
            ))
        }
    }
}
