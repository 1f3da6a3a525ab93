//! From tokens to a tree: a Pratt parser with people's rules for what is left out.
//!
//! * Juxtaposition multiplies, as strongly as `*`: `2x`, `x(x+1)`, `3 sin x`; so `1/2x` is half of x. A number
//!   multiplies nothing before it: `x^2 4 rectangles`, `1 000` and `1.2.3` are no products.
//! * A function without parentheses takes the product that follows, up to the next function: `sin 2x`,
//!   `sin x cos x`. `sin^2 x` is the square of the sine, `sin^-1 x` the inverse function.
//! * A power binds more strongly than the sign before it (`-x^2`) and takes one after it (`e^-x`).

use super::ast::{Constant, Expr, Op};
use super::lex::{Kind, Token, tokens, unknown};
use super::{DEPTH_MAX, FormulaError, NODES_MAX};

const SUM: u8 = 10;
const PRODUCT: u8 = 20;
const SIGN: u8 = 30;
const POWER: u8 = 40;

/// Reads a formula in these variables.
///
/// # Errors
/// What is wrong, and at which character.
pub fn parse(text: &str, variables: &[&str]) -> Result<Expr, FormulaError> {
    let mut parser = Parser::new(text, variables)?;
    let expr = parser.whole()?;
    if let Kind::Equals = parser.kind() {
        return Err(parser.wrong("an equation where a formula is wanted; write one side of it"));
    }
    parser.end(expr)
}

/// Reads `left = right` in these variables.
///
/// # Errors
/// What is wrong, and at which character.
pub fn parse_equation(text: &str, variables: &[&str]) -> Result<(Expr, Expr), FormulaError> {
    let mut parser = Parser::new(text, variables)?;
    let left = bounded(parser.whole()?)?;
    if *parser.kind() != Kind::Equals {
        return Err(parser.wrong("an equation has a `=` between its sides"));
    }
    parser.next();
    let right = parser.whole()?;
    if *parser.kind() == Kind::Equals {
        return Err(parser.wrong("an equation has only one `=`"));
    }
    Ok((left, parser.end(right)?))
}

fn bounded(expr: Expr) -> Result<Expr, FormulaError> {
    if expr.is_bounded() {
        return Ok(expr);
    }
    Err(FormulaError::new(
        0,
        format!(
            "the formula is too long or nested too deeply; at most {NODES_MAX} parts, {DEPTH_MAX} within each other"
        ),
    ))
}

struct Parser<'a> {
    tokens: Vec<Token>,
    variables: &'a [&'a str],
    at: usize,
    /// `|` that are open in the present parentheses.
    bars: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn new(text: &str, variables: &'a [&'a str]) -> Result<Self, FormulaError> {
        Ok(Self {
            tokens: tokens(text, variables)?,
            variables,
            at: 0,
            bars: 0,
            depth: 0,
        })
    }

    fn kind(&self) -> &Kind {
        &self.tokens[self.at].kind
    }

    fn ahead(&self) -> &Kind {
        &self.tokens[(self.at + 1).min(self.tokens.len() - 1)].kind
    }

    /// Takes a token; the last one, the end, stays.
    fn next(&mut self) -> Kind {
        let kind = self.kind().clone();
        if self.at + 1 < self.tokens.len() {
            self.at += 1;
        }
        kind
    }

    fn wrong(&self, message: impl Into<String>) -> FormulaError {
        FormulaError::new(self.tokens[self.at].at, message)
    }

    fn whole(&mut self) -> Result<Expr, FormulaError> {
        if matches!(self.kind(), Kind::End) {
            return Err(self.wrong("a formula is missing here"));
        }
        self.expr(0)
    }

    fn end(&mut self, expr: Expr) -> Result<Expr, FormulaError> {
        match self.kind() {
            Kind::End => bounded(expr),
            Kind::Close(c) => {
                let message = format!("`{c}` closes nothing; remove it or open it before");
                Err(self.wrong(message))
            }
            Kind::Comma => {
                Err(self.wrong("a comma stands between arguments only; a decimal has a point"))
            }
            Kind::Number(_) => Err(self.beside()),
            _ => Err(self.wrong("this does not continue the formula")),
        }
    }

    /// A number is no factor of what stands before it: the space may be a thousands' one, or the formula may be over.
    fn beside(&self) -> FormulaError {
        let before = self.at.checked_sub(1).map(|at| &self.tokens[at].kind);
        self.wrong(if matches!(before, Some(Kind::Number(_))) {
            "two numbers stand side by side; write `*` between them, or one number without spaces"
        } else {
            "a number cannot follow here without a sign; write `*` before it, or leave it out"
        })
    }

    /// An expression whose operators bind more strongly than `least`.
    fn expr(&mut self, least: u8) -> Result<Expr, FormulaError> {
        self.depth += 1;
        if self.depth > 4 * DEPTH_MAX {
            return Err(self.wrong(format!(
                "nested too deeply; at most {DEPTH_MAX} levels are taken"
            )));
        }
        let mut left = self.prefix()?;
        loop {
            left = self.postfix(left)?;
            let (op, strength) = match self.kind() {
                Kind::Plus => (Some(Op::Add), SUM),
                Kind::Minus => (Some(Op::Sub), SUM),
                Kind::Times => (Some(Op::Mul), PRODUCT),
                Kind::Divide => (Some(Op::Div), PRODUCT),
                Kind::Power => (Some(Op::Pow), POWER),
                _ if self.begins_factor() => (None, PRODUCT),
                _ => break,
            };
            if strength <= least && op != Some(Op::Pow) {
                break;
            }
            left = match op {
                Some(Op::Pow) => {
                    self.next();
                    let exponent = self.exponent()?;
                    Expr::binary(Op::Pow, left, exponent)
                }
                Some(op) => {
                    self.next();
                    let right = self.expr(strength)?;
                    Expr::binary(op, left, right)
                }
                None => {
                    let right = self.expr(strength)?;
                    Expr::binary(Op::Mul, left, right)
                }
            };
        }
        self.depth -= 1;
        Ok(left)
    }

    /// Whether what stands here multiplies what stands before it.
    fn begins_factor(&self) -> bool {
        match self.kind() {
            Kind::Variable(_)
            | Kind::Constant(_)
            | Kind::Function(_)
            | Kind::Fraction
            | Kind::Radical(_)
            | Kind::Open(_) => true,
            Kind::Bar => self.bars == 0,
            _ => false,
        }
    }

    /// What comes after `^`: one factor, perhaps with a sign, and powers of its own.
    fn exponent(&mut self) -> Result<Expr, FormulaError> {
        match self.kind() {
            Kind::Minus => {
                self.next();
                let inner = self.exponent()?;
                Ok(Expr::unary(Op::Neg, inner))
            }
            Kind::Plus => {
                self.next();
                self.exponent()
            }
            _ => {
                self.depth += 1;
                if self.depth > 4 * DEPTH_MAX {
                    return Err(self.wrong("nested too deeply"));
                }
                let base = self.prefix()?;
                let base = self.postfix(base)?;
                let power = if *self.kind() == Kind::Power {
                    self.next();
                    let exponent = self.exponent()?;
                    Expr::binary(Op::Pow, base, exponent)
                } else {
                    base
                };
                self.depth -= 1;
                Ok(power)
            }
        }
    }

    fn prefix(&mut self) -> Result<Expr, FormulaError> {
        match self.kind().clone() {
            Kind::Number(n) => {
                self.next();
                Ok(Expr::Number(n))
            }
            Kind::Variable(name) => {
                self.next();
                Ok(Expr::Variable(name))
            }
            Kind::Constant(constant) => {
                self.next();
                Ok(Expr::Constant(constant))
            }
            Kind::Minus => {
                self.next();
                // A sign before a product belongs to its first factor; `-x^2` is minus a square.
                let inner = self.expr(SIGN)?;
                Ok(Expr::unary(Op::Neg, inner))
            }
            Kind::Plus => {
                self.next();
                self.expr(SIGN)
            }
            Kind::Open(c) => self.group(c),
            Kind::Bar => {
                self.next();
                self.bars += 1;
                let inner = self.expr(0)?;
                if *self.kind() != Kind::Bar {
                    return Err(self.wrong("a `|` is missing here"));
                }
                self.bars -= 1;
                self.next();
                Ok(Expr::unary(Op::Abs, inner))
            }
            Kind::Radical(n) => {
                self.next();
                let inner = self.factor()?;
                Ok(radical(n, inner))
            }
            Kind::Fraction => {
                self.next();
                let above = self.braced()?;
                let below = self.braced()?;
                Ok(Expr::Apply(Op::Div, vec![above, below]))
            }
            Kind::Function(op) => {
                self.next();
                self.function(op)
            }
            Kind::End => Err(self.wrong("the formula ends where something is still missing")),
            Kind::Close(c) => Err(self.wrong(format!("something is missing before `{c}`"))),
            _ => Err(self.wrong("a number, a name or a parenthesis is missing here")),
        }
    }

    /// One factor with its power: what a radical sign takes.
    fn factor(&mut self) -> Result<Expr, FormulaError> {
        self.depth += 1;
        if self.depth > 4 * DEPTH_MAX {
            return Err(self.wrong("nested too deeply"));
        }
        let inner = self.prefix()?;
        self.depth -= 1;
        Ok(inner)
    }

    /// `!`, `°` and superscripts.
    fn postfix(&mut self, mut left: Expr) -> Result<Expr, FormulaError> {
        loop {
            left = match self.kind().clone() {
                Kind::Factorial => Expr::unary(Op::Factorial, left),
                Kind::Degrees => {
                    let turn = Expr::Apply(
                        Op::Div,
                        vec![Expr::Constant(Constant::Pi), Expr::Number(180.0)],
                    );
                    Expr::binary(Op::Mul, left, turn)
                }
                Kind::Superscript(text) => {
                    let exponent = self.superscript(&text)?;
                    Expr::binary(Op::Pow, left, exponent)
                }
                _ => return Ok(left),
            };
            if left.depth() > DEPTH_MAX {
                return Err(self.wrong("nested too deeply"));
            }
            self.next();
        }
    }

    fn superscript(&self, text: &str) -> Result<Expr, FormulaError> {
        let (sign, body) = match text.strip_prefix('-') {
            Some(body) => (true, body),
            None => (false, text),
        };
        let value = match body {
            "n" | "x" if self.variables.contains(&body) => Expr::Variable(body.to_owned()),
            "n" | "x" => return Err(self.wrong(unknown(body, self.variables))),
            digits => Expr::Number(
                digits
                    .parse()
                    .map_err(|_| self.wrong("this exponent cannot be read; write it after `^`"))?,
            ),
        };
        Ok(if sign {
            Expr::unary(Op::Neg, value)
        } else {
            value
        })
    }

    /// What stands in parentheses.
    fn group(&mut self, open: char) -> Result<Expr, FormulaError> {
        let bars = std::mem::take(&mut self.bars);
        self.next();
        let inner = self.expr(0)?;
        self.close(open)?;
        self.bars = bars;
        Ok(match open {
            '⌊' => Expr::unary(Op::Floor, inner),
            '⌈' => Expr::unary(Op::Ceil, inner),
            _ => inner,
        })
    }

    fn close(&mut self, open: char) -> Result<(), FormulaError> {
        let wanted = match open {
            '(' => ')',
            '[' => ']',
            '{' => '}',
            '⌊' => '⌋',
            _ => '⌉',
        };
        match self.kind() {
            Kind::Close(c) if *c == wanted => {
                self.next();
                Ok(())
            }
            Kind::Comma => {
                Err(self.wrong("a comma stands between arguments only; a decimal has a point"))
            }
            Kind::Number(_) => Err(self.beside()),
            _ => Err(self.wrong(format!("`{wanted}` is missing here"))),
        }
    }

    /// `{…}`, or the single factor that LaTeX takes without braces.
    fn braced(&mut self) -> Result<Expr, FormulaError> {
        match self.kind() {
            Kind::Open('{') => self.group('{'),
            _ => self.factor(),
        }
    }

    /// A function's arguments, and what stands between its name and them.
    fn function(&mut self, mut op: Op) -> Result<Expr, FormulaError> {
        let mut base = None;
        let mut power = None;
        if op == Op::Log && *self.kind() == Kind::Underscore {
            self.next();
            base = Some(self.braced()?);
        }
        if op == Op::Sqrt && *self.kind() == Kind::Open('[') {
            let degree = self.group('[')?;
            let inner = self.braced()?;
            return Ok(Expr::Apply(Op::Root, vec![degree, inner]));
        }
        if *self.kind() == Kind::Power {
            self.next();
            power = Some(match self.kind() {
                Kind::Open('{') => self.group('{')?,
                _ => self.exponent()?,
            });
        } else if let Kind::Superscript(text) = self.kind().clone() {
            power = Some(self.superscript(&text)?);
            self.next();
        }
        let minus_one = Expr::unary(Op::Neg, Expr::Number(1.0));
        if power.as_ref() == Some(&minus_one) {
            let inverse = match op {
                Op::Sin => Op::Asin,
                Op::Cos => Op::Acos,
                Op::Tan => Op::Atan,
                _ => {
                    return Err(
                        self.wrong("the inverse function is known of sin, cos and tan only")
                    );
                }
            };
            op = inverse;
            power = None;
        }
        let args = self.arguments(op)?;
        let applied = match base {
            Some(base) => {
                let [arg] = <[Expr; 1]>::try_from(args)
                    .map_err(|_| self.wrong("a logarithm has one argument"))?;
                match base {
                    Expr::Number(2.0) => Expr::unary(Op::Log2, arg),
                    Expr::Number(10.0) => Expr::unary(Op::Log, arg),
                    base => Expr::Apply(Op::Logb, vec![base, arg]),
                }
            }
            None => Expr::Apply(op, args),
        };
        Ok(match power {
            Some(power) => Expr::binary(Op::Pow, applied, power),
            None => applied,
        })
    }

    fn arguments(&mut self, op: Op) -> Result<Vec<Expr>, FormulaError> {
        let (least, most) = op.arity();
        let open = match self.kind() {
            Kind::Open(c @ ('(' | '[' | '{')) => *c,
            _ if least == 1 => return Ok(vec![self.bare_argument(op)?]),
            _ => {
                return Err(self.wrong(format!(
                    "`{}` needs {least} arguments in parentheses",
                    op.name()
                )));
            }
        };
        let bars = std::mem::take(&mut self.bars);
        self.next();
        let mut args = vec![self.expr(0)?];
        while *self.kind() == Kind::Comma && args.len() < most {
            self.next();
            args.push(self.expr(0)?);
        }
        if args.len() < least {
            return Err(self.wrong(format!("`{}` needs {least} arguments", op.name())));
        }
        self.close(open)?;
        self.bars = bars;
        Ok(args)
    }

    /// `sin 2x`: the factors that follow, up to the next function or operator.
    fn bare_argument(&mut self, op: Op) -> Result<Expr, FormulaError> {
        if *self.kind() == Kind::Minus {
            self.next();
            let inner = self.bare_argument(op)?;
            return Ok(Expr::unary(Op::Neg, inner));
        }
        if matches!(self.kind(), Kind::End | Kind::Close(_)) {
            return Err(self.wrong(format!(
                "`{}` has no argument; write it like `{}(x)`",
                op.name(),
                op.name()
            )));
        }
        self.depth += 1;
        if self.depth > 4 * DEPTH_MAX {
            return Err(self.wrong("nested too deeply"));
        }
        let mut product = self.expr(POWER - 1)?;
        // `√` and `sqrt` take one factor; `sin` takes `2x` and `πx`, not `x (x+1)`.
        let goes_on = !matches!(op, Op::Sqrt | Op::Cbrt | Op::Abs | Op::Factorial);
        while goes_on
            && matches!(self.kind(), Kind::Variable(_) | Kind::Constant(_))
            && !matches!(self.ahead(), Kind::Open('('))
        {
            let factor = self.expr(POWER - 1)?;
            product = Expr::binary(Op::Mul, product, factor);
        }
        self.depth -= 1;
        Ok(product)
    }
}

fn radical(n: u8, inner: Expr) -> Expr {
    match n {
        2 => Expr::unary(Op::Sqrt, inner),
        3 => Expr::unary(Op::Cbrt, inner),
        n => Expr::Apply(Op::Root, vec![Expr::Number(f64::from(n)), inner]),
    }
}
