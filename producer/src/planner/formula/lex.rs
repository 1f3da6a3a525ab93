//! From characters to tokens. LaTeX, Unicode and plain notation become the same few kinds.

use super::ast::{Constant, Op};
use super::{BYTES_MAX, FormulaError, plain};

/// A token, and the character at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub at: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Number(f64),
    Variable(String),
    Constant(Constant),
    Function(Op),
    /// `\frac`
    Fraction,
    /// `√`, `∛`, `∜`: a root of what follows.
    Radical(u8),
    Plus,
    Minus,
    Times,
    Divide,
    Power,
    /// A whole exponent that is written as superscript characters.
    Superscript(String),
    Factorial,
    Degrees,
    Underscore,
    Comma,
    Equals,
    Bar,
    Open(char),
    Close(char),
    End,
}

/// Words of functions, longest first where one begins another.
const FUNCTIONS: &[(&str, Op)] = &[
    ("arcsin", Op::Asin),
    ("arccos", Op::Acos),
    ("arctan", Op::Atan),
    ("factorial", Op::Factorial),
    ("floor", Op::Floor),
    ("log10", Op::Log),
    ("asin", Op::Asin),
    ("acos", Op::Acos),
    ("atan", Op::Atan),
    ("sinh", Op::Sinh),
    ("cosh", Op::Cosh),
    ("tanh", Op::Tanh),
    ("sqrt", Op::Sqrt),
    ("cbrt", Op::Cbrt),
    ("root", Op::Root),
    ("ceil", Op::Ceil),
    ("sign", Op::Sign),
    ("log2", Op::Log2),
    ("logb", Op::Logb),
    ("sin", Op::Sin),
    ("cos", Op::Cos),
    ("tan", Op::Tan),
    ("cot", Op::Cot),
    ("sec", Op::Sec),
    ("csc", Op::Csc),
    ("exp", Op::Exp),
    ("log", Op::Log),
    ("abs", Op::Abs),
    ("sgn", Op::Sign),
    ("min", Op::Min),
    ("max", Op::Max),
    ("ln", Op::Ln),
    ("lg", Op::Log),
    ("tg", Op::Tan),
];

const CONSTANTS: &[(&str, Constant)] = &[
    ("tau", Constant::Tau),
    ("pi", Constant::Pi),
    ("e", Constant::E),
    ("i", Constant::I),
];

/// Greek letters that may be variables, as Unicode has them and as words.
const GREEK: &[(char, &str)] = &[
    ('α', "alpha"),
    ('β', "beta"),
    ('γ', "gamma"),
    ('θ', "theta"),
    ('φ', "phi"),
    ('ω', "omega"),
    ('λ', "lambda"),
];

const SUPERSCRIPTS: &[(char, char)] = &[
    ('⁰', '0'),
    ('¹', '1'),
    ('²', '2'),
    ('³', '3'),
    ('⁴', '4'),
    ('⁵', '5'),
    ('⁶', '6'),
    ('⁷', '7'),
    ('⁸', '8'),
    ('⁹', '9'),
    ('⁻', '-'),
    ('ⁿ', 'n'),
    ('ˣ', 'x'),
];

fn is_superscript(c: char) -> bool {
    SUPERSCRIPTS.iter().any(|(known, _)| *known == c)
}

const VULGAR: &[(char, f64)] = &[
    ('½', 1.0 / 2.0),
    ('⅓', 1.0 / 3.0),
    ('⅔', 2.0 / 3.0),
    ('¼', 1.0 / 4.0),
    ('¾', 3.0 / 4.0),
    ('⅕', 1.0 / 5.0),
    ('⅛', 1.0 / 8.0),
];

/// The tokens of a text, with an `End` after them. `variables`: what may stand for a number; single letters and
/// words.
pub(super) fn tokens(text: &str, variables: &[&str]) -> Result<Vec<Token>, FormulaError> {
    if text.len() > BYTES_MAX {
        return Err(FormulaError::new(
            0,
            format!(
                "the formula has {} bytes; at most {BYTES_MAX} are taken",
                text.len()
            ),
        ));
    }
    let mut lexer = Lexer {
        chars: text.chars().map(plain).collect(),
        at: 0,
        variables,
        tokens: Vec::new(),
    };
    while lexer.at < lexer.chars.len() {
        lexer.step()?;
    }
    lexer.push(lexer.at, Kind::End);
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    chars: Vec<char>,
    at: usize,
    variables: &'a [&'a str],
    tokens: Vec<Token>,
}

impl Lexer<'_> {
    fn push(&mut self, at: usize, kind: Kind) {
        self.tokens.push(Token { at, kind });
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn one(&mut self, kind: Kind) {
        self.push(self.at, kind);
        self.at += 1;
    }

    fn step(&mut self) -> Result<(), FormulaError> {
        let c = self.chars[self.at];
        match c {
            '0'..='9' | '.' => return self.number(),
            '+' => self.one(Kind::Plus),
            '-' | '−' | '–' | '‐' | '﹣' => self.one(Kind::Minus),
            '*' if self.peek(1) == Some('*') => {
                self.one(Kind::Power);
                self.at += 1;
            }
            '*' | '×' | '·' | '⋅' | '∗' | '∙' => self.one(Kind::Times),
            '/' | '÷' | '∕' | '⁄' => self.one(Kind::Divide),
            '^' => self.one(Kind::Power),
            '!' => self.one(Kind::Factorial),
            '°' => self.one(Kind::Degrees),
            '_' => self.one(Kind::Underscore),
            ',' | ';' => self.one(Kind::Comma),
            '=' => self.one(Kind::Equals),
            '|' | '∣' => self.one(Kind::Bar),
            '(' | '[' | '{' | '⌊' | '⌈' => self.one(Kind::Open(c)),
            ')' | ']' | '}' | '⌋' | '⌉' => self.one(Kind::Close(c)),
            '√' => self.one(Kind::Radical(2)),
            '∛' => self.one(Kind::Radical(3)),
            '∜' => self.one(Kind::Radical(4)),
            'π' | 'Π' => self.one(Kind::Constant(Constant::Pi)),
            'τ' => self.one(Kind::Constant(Constant::Tau)),
            '$' => self.at += 1,
            '\\' => return self.command(),
            c if c.is_whitespace() => self.at += 1,
            c if is_superscript(c) => self.superscript(),
            c if VULGAR.iter().any(|(s, _)| *s == c) => {
                let value = VULGAR
                    .iter()
                    .find(|(s, _)| *s == c)
                    .map_or(0.0, |(_, v)| *v);
                self.one(Kind::Number(value));
            }
            c if c.is_alphabetic() => return self.word(),
            c => {
                return Err(FormulaError::new(
                    self.at,
                    format!("{c:?} has no meaning in a formula; remove it"),
                ));
            }
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), FormulaError> {
        let start = self.at;
        let mut text = String::new();
        let mut digits = |lexer: &mut Self| {
            while let Some(c) = lexer.peek(0).filter(char::is_ascii_digit) {
                text.push(c);
                lexer.at += 1;
            }
            if lexer.peek(0) == Some('.') {
                text.push('.');
                lexer.at += 1;
                while let Some(c) = lexer.peek(0).filter(char::is_ascii_digit) {
                    text.push(c);
                    lexer.at += 1;
                }
            }
        };
        digits(self);
        // `1e3`, `2.5E-3`: but `2e` is twice Euler's number, and so is the start of `2e^x`.
        if matches!(self.peek(0), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek(1), Some('+' | '-')));
            if self.peek(1 + sign).is_some_and(|c| c.is_ascii_digit()) {
                text.push('e');
                self.at += 1;
                while let Some(c) = self.peek(0).filter(|c| {
                    c.is_ascii_digit() || (matches!(c, '+' | '-') && text.ends_with('e'))
                }) {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
        let value: f64 = text
            .parse()
            .map_err(|_| FormulaError::new(start, "a point alone is no number; write `0.5`"))?;
        if !value.is_finite() {
            return Err(FormulaError::new(start, "this number is too large"));
        }
        self.push(start, Kind::Number(value));
        Ok(())
    }

    fn superscript(&mut self) {
        let start = self.at;
        let mut text = String::new();
        while let Some((_, c)) = self
            .peek(0)
            .and_then(|c| SUPERSCRIPTS.iter().find(|(s, _)| *s == c))
        {
            text.push(*c);
            self.at += 1;
        }
        self.push(start, Kind::Superscript(text));
    }

    /// A run of letters: functions, named numbers and variables, as long as possible from left to right.
    fn word(&mut self) -> Result<(), FormulaError> {
        let start = self.at;
        let mut end = start;
        // Digits belong to a word only within names such as `log2`.
        while self
            .chars
            .get(end)
            .is_some_and(|c| c.is_alphabetic() && !is_superscript(*c))
        {
            end += 1;
        }
        while self.at < end {
            let (kind, length) = self.name(end).ok_or_else(|| {
                let word: String = self.chars[start..end].iter().take(40).collect();
                FormulaError::new(self.at, unknown(&word, self.variables))
            })?;
            self.push(self.at, kind);
            self.at += length;
        }
        Ok(())
    }

    /// What begins here, and how many characters it has.
    fn name(&self, end: usize) -> Option<(Kind, usize)> {
        let rest: String = self.chars[self.at..].iter().take(16).collect();
        let lower = rest.to_lowercase();
        let within = end - self.at;
        let mut variables: Vec<&str> = self.variables.to_vec();
        variables.sort_by_key(|name| std::cmp::Reverse(name.chars().count()));
        let variable = |longer: bool| {
            let found = variables.iter().find(|name| {
                let count = name.chars().count();
                rest.starts_with(**name) && count <= within && (count > 1) == longer
            })?;
            Some((Kind::Variable((*found).to_owned()), found.chars().count()))
        };
        let function = || {
            let (name, op) = FUNCTIONS.iter().find(|(name, _)| lower.starts_with(name))?;
            Some((Kind::Function(*op), name.chars().count()))
        };
        let constant = || {
            let (name, constant) = CONSTANTS
                .iter()
                .find(|(name, _)| rest.starts_with(name) && name.len() <= within)?;
            Some((Kind::Constant(*constant), name.len()))
        };
        let greek = || {
            let (letter, name) = GREEK
                .iter()
                .find(|(letter, name)| rest.starts_with(*letter) || rest.starts_with(name))?;
            let length = if rest.starts_with(*letter) {
                1
            } else {
                name.len()
            };
            let letter_text = letter.to_string();
            let known = self
                .variables
                .iter()
                .find(|v| **v == letter_text || *v == name)?;
            Some((Kind::Variable((*known).to_owned()), length))
        };
        let capital = || {
            // `X` is `x` where that is the variable.
            let c = rest.chars().next()?.to_lowercase().to_string();
            let found = self.variables.iter().find(|v| **v == c)?;
            Some((Kind::Variable((*found).to_owned()), 1))
        };
        variable(true)
            .or_else(function)
            .or_else(greek)
            .or_else(|| variable(false))
            .or_else(constant)
            .or_else(capital)
    }

    /// A LaTeX command.
    fn command(&mut self) -> Result<(), FormulaError> {
        let start = self.at;
        self.at += 1;
        let mut name = String::new();
        while let Some(c) = self.peek(0).filter(char::is_ascii_alphabetic) {
            name.push(c);
            self.at += 1;
        }
        if name.is_empty() {
            // `\,`, `\;`, `\!`, `\ ` are spaces.
            return match self.peek(0) {
                Some(',' | ';' | '!' | ':' | ' ') => {
                    self.at += 1;
                    Ok(())
                }
                Some(c @ ('{' | '}')) => {
                    self.at += 1;
                    let kind = if c == '{' {
                        Kind::Open('{')
                    } else {
                        Kind::Close('}')
                    };
                    self.push(start, kind);
                    Ok(())
                }
                _ => Err(FormulaError::new(
                    start,
                    "a backslash needs a command after it",
                )),
            };
        }
        let kind = match name.as_str() {
            "frac" | "dfrac" | "tfrac" => Kind::Fraction,
            "cdot" | "times" | "ast" => Kind::Times,
            "div" => Kind::Divide,
            "lvert" | "rvert" | "vert" | "mid" => Kind::Bar,
            "lfloor" => Kind::Open('⌊'),
            "rfloor" => Kind::Close('⌋'),
            "lceil" => Kind::Open('⌈'),
            "rceil" => Kind::Close('⌉'),
            // They change sizes and faces only; what they surround follows as usual.
            "left" | "right" | "big" | "Big" | "bigl" | "bigr" | "quad" | "qquad"
            | "displaystyle" | "mathrm" | "operatorname" | "text" | "mathit" => {
                return self.dressing(&name);
            }
            word => {
                if let Some((_, op)) = FUNCTIONS.iter().find(|(known, _)| *known == word) {
                    Kind::Function(*op)
                } else if let Some((_, constant)) =
                    CONSTANTS.iter().find(|(known, _)| *known == word)
                {
                    Kind::Constant(*constant)
                } else if let Some(variable) = self.variables.iter().find(|v| **v == word) {
                    Kind::Variable((*variable).to_owned())
                } else if let Some(variable) = GREEK
                    .iter()
                    .filter(|(_, known)| *known == word)
                    .find_map(|(letter, _)| {
                        self.variables.iter().find(|v| **v == letter.to_string())
                    })
                {
                    Kind::Variable((*variable).to_owned())
                } else {
                    let word: String = word.chars().take(40).collect();
                    return Err(FormulaError::new(
                        start,
                        format!("the LaTeX command `\\{word}` is not known in formulas"),
                    ));
                }
            }
        };
        let fraction = kind == Kind::Fraction;
        self.push(start, kind);
        if fraction {
            self.digits();
        }
        Ok(())
    }

    /// `\frac12`: two numbers of one digit each.
    fn digits(&mut self) {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        for _ in 0..2 {
            let Some(digit) = self.peek(0).and_then(|c| c.to_digit(10)) else {
                break;
            };
            self.one(Kind::Number(f64::from(digit)));
        }
    }

    /// `\operatorname{name}` and the like: the braces go, the word stays.
    fn dressing(&mut self, name: &str) -> Result<(), FormulaError> {
        if !matches!(name, "mathrm" | "operatorname" | "text" | "mathit")
            || self.peek(0) != Some('{')
        {
            return Ok(());
        }
        self.at += 1;
        while self.peek(0).is_some_and(char::is_alphabetic) {
            self.word()?;
        }
        if self.peek(0) == Some('}') {
            self.at += 1;
            return Ok(());
        }
        Err(FormulaError::new(
            self.at.min(self.chars.len()),
            "only a name can stand in these braces",
        ))
    }
}

/// What is told of a word that is none of a formula's, and of a name that is no variable here.
pub(super) fn unknown(word: &str, variables: &[&str]) -> String {
    let names: Vec<String> = variables.iter().map(|v| format!("`{v}`")).collect();
    let variables = if names.is_empty() {
        "a number without variables is wanted here".to_owned()
    } else {
        format!("the variables here are {}", names.join(", "))
    };
    let near = FUNCTIONS
        .iter()
        .map(|(name, _)| *name)
        // Most words of a long prompt are asked about: lengths first, which cost nothing.
        .filter(|name| word.len() > 2 && name.len().abs_diff(word.len()) <= 1)
        .filter(|name| strsim::damerau_levenshtein(name, word) == 1)
        .map(|name| format!("; did you mean `{name}`?"))
        .next()
        .unwrap_or_default();
    format!("`{word}` is no function that is known; {variables}{near}")
}
