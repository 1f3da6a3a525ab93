//! Is it Python, and is it shallow enough to look at? Errors in plain words, at Python's line.

use ruff_python_ast::token::{Token, TokenKind};
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{self as ast, Expr, ModModule, Pattern, Stmt};
use ruff_python_parser::{
    LexicalErrorType, Mode, ParseError, ParseErrorType, Parsed, UnsupportedSyntaxError, lexer,
};
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::NESTING_MAX;
use super::finding::{FindingCode, Findings};

/// Open brackets inside each other, at most. CPython's own limit (`MAXLEVEL`).
const BRACKETS_MAX: usize = 200;

/// f-strings inside each other, at most. CPython's own limit (`MAXFSTRINGLEVEL`). Without it the
/// parser needs 20 to 45 s (debug build) for 256 KiB of nested f-strings, as its time is quadratic.
const INTERPOLATIONS_MAX: usize = 150;

/// Syntax errors shown of one source. The first is the cause, most others follow from it.
const SYNTAX_ERRORS_MAX: usize = 10;

const DEPTH_HINT: &str = "give the inner parts names of their own, or use a loop";

/// Refuses a source that would nest so deeply that parsing alone is expensive (600 MiB for
/// 256 KiB of `[`): reads tokens only, without recursion. Returns where the bound is crossed.
///
/// It sees no tree, so it only knows brackets, f-strings and runs of prefix operators;
/// [`too_deep`] judges the tree.
pub(super) fn too_deep_to_parse(text: &str) -> Option<TextRange> {
    if !crosses_a_bound(text) {
        return None;
    }
    // The lexer does not tell positions, but the shortest prefix that is too deep ends at the
    // place: 18 passes over a source that is refused anyway.
    let (mut fine, mut deep) = (0, text.len());
    while fine < deep {
        let middle = text.floor_char_boundary(fine + (deep - fine) / 2);
        if crosses_a_bound(&text[..middle]) {
            deep = middle;
        } else {
            fine = middle + text[middle..].chars().next().map_or(1, char::len_utf8);
        }
    }
    let end = text.floor_char_boundary(deep);
    let start = text.floor_char_boundary(end.saturating_sub(1));
    Some(TextRange::new(size(start), size(end)))
}

fn crosses_a_bound(text: &str) -> bool {
    let mut lexer = lexer::lex(text, Mode::Module);
    // The open brackets by what closes them, each with the prefix operators that wait in it for
    // their operand. A bracket of another kind closes nothing: the parser sees it that way too.
    let mut open = vec![(TokenKind::EndOfFile, 0_usize)];
    let mut waiting_sum = 0;
    let mut interpolations = 0_usize;
    let mut after_operand = false;
    loop {
        let token = lexer.next_token();
        match token {
            TokenKind::EndOfFile => return false,
            TokenKind::Lpar => open.push((TokenKind::Rpar, 0)),
            TokenKind::Lsqb => open.push((TokenKind::Rsqb, 0)),
            TokenKind::Lbrace => open.push((TokenKind::Rbrace, 0)),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                if let Some((_, waiting)) = open.pop_if(|(closer, _)| *closer == token) {
                    waiting_sum -= waiting;
                }
            }
            TokenKind::FStringStart | TokenKind::TStringStart => interpolations += 1,
            TokenKind::FStringEnd | TokenKind::TStringEnd => {
                interpolations = interpolations.saturating_sub(1);
            }
            TokenKind::Comma | TokenKind::Newline | TokenKind::Semi => {
                if let Some((_, waiting)) = open.last_mut() {
                    waiting_sum -= std::mem::take(waiting);
                }
            }
            TokenKind::Minus | TokenKind::Plus | TokenKind::Star if after_operand => {}
            TokenKind::Minus
            | TokenKind::Plus
            | TokenKind::Star
            | TokenKind::DoubleStar
            | TokenKind::Tilde
            | TokenKind::Not
            | TokenKind::Await
            | TokenKind::Yield
            | TokenKind::Lambda
            | TokenKind::Else
            | TokenKind::At => {
                if let Some((_, waiting)) = open.last_mut() {
                    *waiting += 1;
                    waiting_sum += 1;
                }
            }
            _ => {}
        }
        let nesting = NESTING_MAX as usize;
        if open.len() > BRACKETS_MAX + 1
            || interpolations > INTERPOLATIONS_MAX
            || waiting_sum > nesting
        {
            return true;
        }
        after_operand = matches!(
            token,
            TokenKind::Name
                | TokenKind::Int
                | TokenKind::Float
                | TokenKind::Complex
                | TokenKind::String
                | TokenKind::FStringEnd
                | TokenKind::TStringEnd
                | TokenKind::Rpar
                | TokenKind::Rsqb
                | TokenKind::Rbrace
                | TokenKind::Ellipsis
                | TokenKind::True
                | TokenKind::False
                | TokenKind::None
        );
    }
}

/// The first node that lies deeper than [`NESTING_MAX`]. The walk itself goes no deeper.
pub(super) fn too_deep(module: &ModModule) -> Option<TextRange> {
    let mut depth = Depth {
        level: 0,
        crossed: None,
    };
    depth.visit_body(&module.body);
    depth.crossed
}

/// Whether some part of `expr` lies deeper than [`NESTING_MAX`].
pub(super) fn too_deep_expr(expr: &Expr) -> bool {
    let mut depth = Depth {
        level: 0,
        crossed: None,
    };
    depth.visit_expr(expr);
    depth.crossed.is_some()
}

struct Depth {
    level: u32,
    crossed: Option<TextRange>,
}

impl Depth {
    fn enter(&mut self, range: TextRange, walk: impl FnOnce(&mut Self)) {
        if self.crossed.is_some() {
            return;
        }
        if self.level == NESTING_MAX {
            self.crossed = Some(range);
            return;
        }
        self.level += 1;
        walk(self);
        self.level -= 1;
    }
}

impl<'a> Visitor<'a> for Depth {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        self.enter(stmt.range(), |depth| visitor::walk_stmt(depth, stmt));
    }
    fn visit_expr(&mut self, expr: &'a Expr) {
        self.enter(expr.range(), |depth| visitor::walk_expr(depth, expr));
    }
    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        self.enter(pattern.range(), |depth| {
            visitor::walk_pattern(depth, pattern)
        });
    }
    fn visit_interpolated_string_element(&mut self, element: &'a ast::InterpolatedStringElement) {
        self.enter(element.range(), |depth| {
            visitor::walk_interpolated_string_element(depth, element);
        });
    }
}

/// Reports that the source is nested too deeply at `range`.
pub(super) fn report_depth(findings: &mut Findings<'_>, range: TextRange) {
    findings.deny(
        FindingCode::NestingTooDeep,
        TextRange::at(range.start(), size(1)),
        format!(
            "this is nested too deeply; at most {BRACKETS_MAX} brackets and {NESTING_MAX} \
             operators or blocks may lie inside each other"
        ),
        Some(DEPTH_HINT.to_owned()),
    );
}

/// Reports what keeps the source from being Python. Returns whether there was anything.
pub(super) fn report_errors(
    findings: &mut Findings<'_>,
    text: &str,
    parsed: &Parsed<ModModule>,
) -> bool {
    let errors = parsed.errors();
    let Some(first) = errors.first() else {
        return false;
    };
    // Like Python, tell what is wrong with the tokens before what is wrong with their order: an
    // open text or bracket swallows what follows, and the parser stumbles far from the mistake.
    let lexical = || errors.iter().filter(|error| is_lexical(error));
    let first_lexical = lexical().next();
    match bracket_error(parsed.tokens(), text) {
        Some(bracket)
            if match bracket.kind {
                BracketErrorKind::NeverClosed => {
                    first_lexical.is_none()
                        && (findings.line(bracket.range.start()) < findings.line(first.start())
                            || only_follows_from(first, &bracket))
                }
                BracketErrorKind::ClosesNothing | BracketErrorKind::ClosesAnother { .. } => {
                    first_lexical.is_none_or(|error| bracket.range.start() < error.start())
                }
            } =>
        {
            let (message, hint) = bracket.words(text, findings);
            findings.deny(FindingCode::SyntaxError, bracket.range, message, hint);
            // A bracket that closes nothing is often what is left of a line before it.
            let indented = first.error == ParseErrorType::UnexpectedIndentation;
            if indented && first.start() < bracket.range.start() {
                report_each(findings, text, std::iter::once(first));
            }
        }
        _ if first_lexical.is_some() => report_each(findings, text, lexical()),
        _ => report_each(findings, text, errors.iter()),
    }
    true
}

/// Reports the first error of each line.
fn report_each<'e>(
    findings: &mut Findings<'_>,
    text: &str,
    errors: impl Iterator<Item = &'e ParseError>,
) {
    let mut last_line = 0;
    let mut left = SYNTAX_ERRORS_MAX;
    for error in errors {
        let line = findings.line(error.start());
        if line != last_line {
            last_line = line;
            let (range, message, hint) = plain_words(error, text);
            findings.deny(FindingCode::SyntaxError, range, message, hint);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }
}

/// Whether Python's tokenizer, not its grammar, would refuse this.
fn is_lexical(error: &ParseError) -> bool {
    matches!(&error.error, ParseErrorType::Lexical(kind) if *kind != LexicalErrorType::Eof)
}

/// Whether the parser's error on the bracket's own line is only that the bracket is open.
fn only_follows_from(error: &ParseError, bracket: &BracketError) -> bool {
    error.start() >= bracket.range.end()
        && matches!(
            &error.error,
            ParseErrorType::ExpectedToken {
                found: TokenKind::Newline | TokenKind::EndOfFile,
                ..
            } | ParseErrorType::Lexical(LexicalErrorType::Eof)
                | ParseErrorType::OtherError(_)
        )
}

struct BracketError {
    range: TextRange,
    kind: BracketErrorKind,
}

enum BracketErrorKind {
    NeverClosed,
    ClosesNothing,
    ClosesAnother { opened: TextRange },
}

impl BracketError {
    fn words(&self, text: &str, findings: &Findings<'_>) -> (String, Option<String>) {
        let this = &text[self.range];
        match self.kind {
            BracketErrorKind::NeverClosed => {
                let close = closer(this);
                (
                    format!("`{this}` is never closed"),
                    Some(format!(
                        "add the missing `{close}`, most likely on this line"
                    )),
                )
            }
            BracketErrorKind::ClosesNothing => (
                format!("`{this}` closes nothing: no bracket is open here"),
                Some(format!(
                    "delete this `{this}`, or add the bracket that it should close"
                )),
            ),
            BracketErrorKind::ClosesAnother { opened } => {
                let open = &text[opened];
                let line = findings.line(opened.start());
                (
                    format!("`{this}` cannot close the `{open}` of line {line}"),
                    Some(format!("close the `{open}` with `{}` first", closer(open))),
                )
            }
        }
    }
}

fn closer(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}

/// The first bracket that closes wrongly, else the innermost one that stays open.
fn bracket_error(tokens: &[Token], text: &str) -> Option<BracketError> {
    let mut open: Vec<TextRange> = Vec::new();
    for token in tokens {
        let range = token.range();
        match token.kind() {
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => open.push(range),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => match open.pop() {
                None => {
                    return Some(BracketError {
                        range,
                        kind: BracketErrorKind::ClosesNothing,
                    });
                }
                Some(opened) if closer(&text[opened]) != &text[range] => {
                    let kind = BracketErrorKind::ClosesAnother { opened };
                    return Some(BracketError { range, kind });
                }
                Some(_) => {}
            },
            _ => {}
        }
    }
    let range = open.pop()?;
    Some(BracketError {
        range,
        kind: BracketErrorKind::NeverClosed,
    })
}

/// A parser's error in words that need no knowledge of parsers, with its place and a remedy.
fn plain_words(error: &ParseError, text: &str) -> (TextRange, String, Option<String>) {
    let mut range = error.range();
    let mut hint = None;
    let message = match &error.error {
        ParseErrorType::Lexical(LexicalErrorType::UnrecognizedToken { tok }) => {
            hint = foreign_character_hint(*tok).map(str::to_owned);
            if tok.is_ascii_graphic() {
                format!("`{tok}` has no meaning here")
            } else {
                format!(
                    "the character U+{:04X} has no meaning here",
                    u32::from(*tok)
                )
            }
        }
        ParseErrorType::Lexical(LexicalErrorType::UnclosedStringError) => {
            hint = Some(
                "end it with the quote it starts with; a text over several lines needs three \
                 quotes at both ends"
                    .to_owned(),
            );
            "this text has no closing quote".to_owned()
        }
        ParseErrorType::Lexical(LexicalErrorType::IndentationError) => {
            hint = Some(
                "start the line in the same column as the block it belongs to, with spaces or \
                 tabs but not both"
                    .to_owned(),
            );
            "the indentation of this line matches no block above it".to_owned()
        }
        ParseErrorType::UnexpectedIndentation => {
            hint = Some("all lines of one block start in the same column".to_owned());
            "this line is indented more than the block it belongs to".to_owned()
        }
        ParseErrorType::Lexical(LexicalErrorType::Eof) => {
            "the scene ends in the middle of a statement".to_owned()
        }
        ParseErrorType::SimpleStatementsOnSameLine => {
            if is_python_2_print(text, range.start()) {
                hint = Some("write `print(…)` with parentheses".to_owned());
            } else {
                hint = Some("add the missing comma or operator, or start a new line".to_owned());
            }
            "this does not belong to what stands before it on the line".to_owned()
        }
        ParseErrorType::SimpleAndCompoundStatementOnSameLine => {
            hint = Some("start a new line here".to_owned());
            "a block cannot start in the middle of a line".to_owned()
        }
        ParseErrorType::ExpectedToken {
            expected: TokenKind::Colon,
            found: TokenKind::Newline,
        } => {
            hint = Some("end the line with `:`".to_owned());
            "`:` is missing at the end of this line".to_owned()
        }
        ParseErrorType::ExpectedToken {
            expected: TokenKind::Comma,
            found,
        } if starts_an_operand(*found) => {
            // It is missing after the word before, which may stand on an earlier line.
            let end = text[..range.start().to_usize()].trim_end().len();
            let start = text.floor_char_boundary(end.saturating_sub(1));
            range = TextRange::new(size(start), size(end));
            hint = Some("add the missing comma or operator after it".to_owned());
            "a comma or an operator is missing after this".to_owned()
        }
        ParseErrorType::ExpectedToken { expected, found } => {
            format!(
                "expected {}, found {}",
                token_words(*expected),
                token_words(*found)
            )
        }
        ParseErrorType::ExpectedExpression => "a value is missing here".to_owned(),
        ParseErrorType::InvalidAssignmentTarget => {
            hint = Some("`==` compares, `=` gives a value to a name".to_owned());
            "nothing can be assigned to this".to_owned()
        }
        ParseErrorType::UnexpectedIpythonEscapeCommand => {
            hint = Some("notebook commands such as `%manim` do not belong into a scene".to_owned());
            "this is a notebook command, not Python".to_owned()
        }
        ParseErrorType::OtherError(words) if words.starts_with("Expected an indented block") => {
            hint = Some("indent the lines that belong to it, or write `pass`".to_owned());
            // Where the block was expected: at the next word.
            let at = next_word(text, range.start().to_usize());
            range = TextRange::new(size(at), size(text.ceil_char_boundary(at + 1)));
            lower_first(words)
        }
        other => lower_first(&other.to_string()),
    };
    (range, message, hint)
}

/// What people paste into programs without seeing it.
fn foreign_character_hint(character: char) -> Option<&'static str> {
    Some(match character {
        '\u{2018}' | '\u{2019}' | '\u{201a}' | '\u{201c}' | '\u{201d}' | '\u{201e}' | '\u{ab}'
        | '\u{bb}' => "use straight quotes: `\"` or `'`",
        '`' => "this looks like Markdown: send only the code between the ``` lines",
        '\u{a0}' | '\u{2000}'..='\u{200d}' | '\u{202f}' | '\u{2060}' | '\u{3000}' | '\u{feff}' => {
            "replace this invisible character by a plain space, or delete it"
        }
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "use a plain minus sign: `-`",
        '\u{d7}' => "use `*` to multiply",
        '\u{f7}' => "use `/` to divide",
        '\u{ff01}'..='\u{ff5e}' => "use the ASCII form of this character",
        _ => return None,
    })
}

/// The first character from `at` on that is neither space nor comment, else the last line's end.
fn next_word(text: &str, mut at: usize) -> usize {
    loop {
        let rest = text[at..].trim_start();
        at = text.len() - rest.len();
        match rest.find('\n') {
            Some(newline) if rest.starts_with('#') => at += newline,
            None if rest.is_empty() || rest.starts_with('#') => {
                return text.strip_suffix('\n').unwrap_or(text).len();
            }
            _ => return at,
        }
    }
}

fn starts_an_operand(token: TokenKind) -> bool {
    matches!(
        token,
        TokenKind::Name
            | TokenKind::Int
            | TokenKind::Float
            | TokenKind::Complex
            | TokenKind::String
            | TokenKind::FStringStart
            | TokenKind::Lpar
            | TokenKind::Lsqb
            | TokenKind::Lbrace
            | TokenKind::Lambda
            | TokenKind::Not
            | TokenKind::True
            | TokenKind::False
            | TokenKind::None
    )
}

fn is_python_2_print(text: &str, at: TextSize) -> bool {
    let line_start = text[..at.to_usize()]
        .rfind('\n')
        .map_or(0, |newline| newline + 1);
    text[line_start..at.to_usize()].trim() == "print"
}

fn token_words(token: TokenKind) -> String {
    match token {
        TokenKind::Newline | TokenKind::NonLogicalNewline => "the end of the line".to_owned(),
        TokenKind::EndOfFile => "the end of the scene".to_owned(),
        TokenKind::Name => "a name".to_owned(),
        TokenKind::String => "a text".to_owned(),
        TokenKind::Indent => "an indented line".to_owned(),
        TokenKind::Dedent => "the end of the block".to_owned(),
        other => other.to_string().replace('\'', "`"),
    }
}

fn lower_first(words: &str) -> String {
    let mut characters = words.chars();
    match characters.next() {
        Some(first) if !characters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => words.to_owned(),
    }
}

fn size(offset: usize) -> TextSize {
    // Sources are at most 256 KiB.
    TextSize::try_from(offset).unwrap_or_default()
}

/// Reports syntax that the oldest Python among our renderers does not know.
pub(super) fn report_newer(findings: &mut Findings<'_>, error: &UnsupportedSyntaxError) {
    findings.warn(
        FindingCode::NewerPython,
        error.range(),
        lower_first(&error.to_string()),
        Some("write it the older way to be safe".to_owned()),
    );
}
