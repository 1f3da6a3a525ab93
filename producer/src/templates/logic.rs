//! Logical expressions as people write them: `NOT (A AND B)`, `¬(p ∧ q) → r`, `a && !b`.
//!
//! Like formulas they become a tree, so that a scene parses nothing: a variable is a letter, the rest
//! `[operator, argument…]`.

use serde_json::{Value, json};

use crate::planner::formula::FormulaError;

/// Deepest nesting.
const DEPTH_MAX: usize = 12;
/// Most variables: each more doubles the table's rows.
const VARIABLES_MAX: usize = 4;
/// Most columns of results, one for each part.
const PARTS_MAX: usize = 7;

const WORDS: &[(&str, &str)] = &[
    ("not", "not"),
    ("and", "and"),
    ("or", "or"),
    ("xor", "xor"),
    ("nand", "nand"),
    ("nor", "nor"),
    ("implies", "if"),
    ("iff", "iff"),
];

/// Signs, the longer first where one begins another.
const SIGNS: &[(&str, &str)] = &[
    ("<->", "iff"),
    ("<=>", "iff"),
    ("->", "if"),
    ("=>", "if"),
    ("&&", "and"),
    ("||", "or"),
    ("!", "not"),
    ("~", "not"),
    ("¬", "not"),
    ("∧", "and"),
    ("&", "and"),
    ("∨", "or"),
    ("|", "or"),
    ("⊕", "xor"),
    ("^", "xor"),
    ("→", "if"),
    ("⇒", "if"),
    ("↔", "iff"),
    ("⇔", "iff"),
];

/// How strongly an operator binds, and how formulas show it.
fn strength(op: &str) -> Option<(u8, &'static str)> {
    Some(match op {
        "iff" => (1, "↔"),
        "if" => (2, "→"),
        "or" => (3, "∨"),
        "nor" => (3, "NOR"),
        "xor" => (4, "⊕"),
        "and" => (5, "∧"),
        "nand" => (5, "NAND"),
        _ => return None,
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Variable(char),
    Operator(&'static str),
    Open,
    Close,
    End,
}

/// The tree of an expression, and its text as mathematicians write it.
///
/// # Errors
/// What is wrong, at which character, and what would be right.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    parse(text)
        .map(|tree| json!({"text": shown(&tree, false), "tree": tree}))
        .map_err(|error| error.shown_in(text))
}

fn wrong<T>(at: usize, message: impl Into<String>) -> Result<T, FormulaError> {
    Err(FormulaError {
        at,
        message: message.into(),
    })
}

fn parse(text: &str) -> Result<Value, FormulaError> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
    };
    let tree = parser.expression(0, 0)?;
    let (at, kind) = parser.peek();
    match kind {
        Kind::End => {}
        Kind::Close => return wrong(at, "`)` closes nothing; remove it or open it before"),
        _ => {
            return wrong(
                at,
                "an operator such as AND is missing before this, or it is too much",
            );
        }
    }
    let (mut names, mut parts) = (Vec::new(), Vec::new());
    collect(&tree, &mut names, &mut parts);
    if names.len() > VARIABLES_MAX {
        let many = names.len();
        return wrong(
            0,
            format!("{many} variables are in it, at most {VARIABLES_MAX} are taken"),
        );
    }
    if parts.len() > PARTS_MAX {
        let many = parts.len();
        return wrong(
            0,
            format!(
                "{many} parts would be columns, at most {PARTS_MAX} are taken; leave out what is said twice"
            ),
        );
    }
    Ok(tree)
}

fn tokens(text: &str) -> Result<Vec<(usize, Kind)>, FormulaError> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(&c) = chars.get(at) {
        let start = at;
        let ahead: String = chars[at..].iter().take(3).collect();
        if c.is_whitespace() {
            at += 1;
        } else if c == '(' || c == ')' {
            at += 1;
            tokens.push((start, if c == '(' { Kind::Open } else { Kind::Close }));
        } else if let Some((sign, op)) = SIGNS.iter().find(|(sign, _)| ahead.starts_with(sign)) {
            at += sign.chars().count();
            tokens.push((start, Kind::Operator(op)));
        } else if c.is_ascii_alphabetic() {
            while chars.get(at).is_some_and(char::is_ascii_alphabetic) {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            let known = WORDS
                .iter()
                .find(|(name, _)| word.eq_ignore_ascii_case(name));
            let kind = match known {
                Some((_, op)) => Kind::Operator(op),
                None if at == start + 1 => Kind::Variable(c.to_ascii_uppercase()),
                None => {
                    let word: String = word.chars().take(20).collect();
                    return wrong(
                        start,
                        format!(
                            "`{word}` is not known; variables are single letters, joined by NOT, AND, OR, XOR, NAND, NOR, IMPLIES or IFF"
                        ),
                    );
                }
            };
            tokens.push((start, kind));
        } else {
            return wrong(
                at,
                format!("{c:?} is neither a letter nor a logical sign; remove it"),
            );
        }
    }
    tokens.push((chars.len(), Kind::End));
    Ok(tokens)
}

struct Parser {
    tokens: Vec<(usize, Kind)>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> (usize, Kind) {
        // The last token is the end, and nobody goes past it.
        self.tokens[self.at.min(self.tokens.len() - 1)]
    }

    /// An expression whose operators bind more strongly than `least`.
    fn expression(&mut self, least: u8, depth: usize) -> Result<Value, FormulaError> {
        let mut left = self.operand(depth)?;
        while let (_, Kind::Operator(op)) = self.peek()
            && let Some((strong, _)) = strength(op)
            && strong > least
        {
            self.at += 1;
            // Implications read from the right: A → B → C is A → (B → C).
            let right = self.expression(strong - u8::from(op == "if"), depth + 1)?;
            left = json!([op, left, right]);
        }
        Ok(left)
    }

    fn operand(&mut self, depth: usize) -> Result<Value, FormulaError> {
        let (at, kind) = self.peek();
        if depth > DEPTH_MAX {
            return wrong(at, format!("nested more than {DEPTH_MAX} deep"));
        }
        match kind {
            Kind::Variable(name) => {
                self.at += 1;
                Ok(json!(name.to_string()))
            }
            Kind::Operator("not") => {
                self.at += 1;
                let inner = self.operand(depth + 1)?;
                Ok(json!(["not", inner]))
            }
            Kind::Open => {
                self.at += 1;
                let inner = self.expression(0, depth + 1)?;
                if self.peek().1 != Kind::Close {
                    return wrong(at, "this parenthesis is never closed");
                }
                self.at += 1;
                Ok(inner)
            }
            Kind::Operator(_) => wrong(at, "a variable is missing before this operator"),
            Kind::Close => wrong(at, "a variable is missing before `)`"),
            Kind::End => wrong(at, "the expression ends where a variable is still missing"),
        }
    }
}

/// The variables, and the parts that get columns, each once.
fn collect<'a>(tree: &'a Value, names: &mut Vec<&'a str>, parts: &mut Vec<&'a Value>) {
    match tree {
        Value::String(name) if !names.contains(&name.as_str()) => names.push(name),
        Value::Array(items) => {
            for item in &items[1..] {
                collect(item, names, parts);
            }
            if !parts.contains(&tree) {
                parts.push(tree);
            }
        }
        _ => {}
    }
}

fn shown(tree: &Value, inside: bool) -> String {
    match tree.as_array().map(Vec::as_slice) {
        Some([_, inner]) => format!("¬{}", shown(inner, true)),
        Some([op, left, right]) => {
            let sign = strength(op.as_str().unwrap_or_default()).map_or("", |(_, sign)| sign);
            let text = format!("{} {sign} {}", shown(left, true), shown(right, true));
            if inside { format!("({text})") } else { text }
        }
        _ => tree.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(tree: &Value, row: u32) -> bool {
        let items = match tree {
            Value::String(name) => return row >> (name.as_bytes()[0] - b'A') & 1 == 1,
            tree => tree.as_array().expect("a node"),
        };
        let a = value(&items[1], row);
        let b = items.get(2).is_some_and(|b| value(b, row));
        match items[0].as_str().expect("an operator") {
            "not" => !a,
            "and" => a && b,
            "or" => a || b,
            "xor" => a != b,
            "nand" => !(a && b),
            "nor" => !(a || b),
            "if" => !a || b,
            "iff" => a == b,
            op => panic!("{op}"),
        }
    }

    /// Results for A, B and C, A changing fastest.
    fn column(text: &str) -> String {
        let tree = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (0..8)
            .map(|row| if value(&tree, row) { 'T' } else { 'F' })
            .collect()
    }

    #[test]
    fn words_and_signs_mean_the_same() {
        for text in [
            "NOT (A AND B)",
            "not(a and b)",
            "!(A&&B)",
            "¬(A ∧ B)",
            "A nand B",
            "~A | ~B",
            "(((a => !b)))",
        ] {
            assert_eq!(column(text), "TTTFTTTF", "{text}");
        }
    }

    #[test]
    fn not_binds_first_then_and_then_or_then_implies() {
        for (text, same) in [
            ("A or B and C", "A or (B and C)"),
            ("not A and B", "(not A) and B"),
            ("A -> B -> C", "A -> (B -> C)"),
            ("A xor B and C", "A ⊕ (B ∧ C)"),
            ("A -> B <-> C", "(A -> B) <=> C"),
            ("!!A nor B", "A nor B"),
        ] {
            assert_eq!(column(text), column(same), "{text}");
        }
        assert_eq!(column("A implies B"), "TFTTTFTT");
        assert_eq!(column("A iff B"), "TFFTTFFT");
        assert_eq!(column("A ^ B"), "FTTFFTTF");
    }

    #[test]
    fn what_is_resolved_holds_nothing_of_the_text_but_letters() {
        assert_eq!(
            resolve(" not ( a AND\tb ) "),
            Ok(json!({"text": "¬(A ∧ B)", "tree": ["not", ["and", "A", "B"]]}))
        );
        assert_eq!(
            resolve("A <-> b|c").map(|made| made["text"].clone()),
            Ok(json!("A ↔ (B ∨ C)"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_at_its_character() {
        let deep = format!("{}A{}", "(".repeat(40), ")".repeat(40));
        let nots = "!".repeat(100) + "A";
        for (text, words) in [
            ("", "character 1: the expression ends"),
            ("A AND", "character 6: the expression ends"),
            ("AND B", "character 1: a variable is missing before"),
            ("A (B", "character 3: an operator"),
            ("(A", "character 1: this parenthesis"),
            ("A)", "character 2: `)` closes nothing"),
            ("()", "character 2: a variable"),
            ("A B", "character 3: an operator"),
            ("A + B", "character 3: '+'"),
            ("¬(A ∧ é)", "character 7: 'é'"),
            ("A AND cat", "character 7: `cat` is not known"),
            ("A & B & C & D & E", "5 variables"),
            ("A\u{0}B", "character 2"),
            (deep.as_str(), "nested"),
            (nots.as_str(), "nested"),
            ("!!!!!!!!A", "8 parts"),
        ] {
            let error = resolve(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
