//! A formula as text, which reads back as the same tree, and as LaTeX.

use std::fmt;

use super::ast::{Constant, Expr, Op};

/// How strongly an expression holds together; what is weaker than its place gets parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bond {
    Sum,
    Product,
    Sign,
    Power,
    Atom,
}

fn bond(expr: &Expr) -> Bond {
    match expr {
        Expr::Number(n) if number(*n).contains('e') => Bond::Sum,
        Expr::Number(_) | Expr::Variable(_) | Expr::Constant(_) => Bond::Atom,
        Expr::Apply(op, _) => match op {
            Op::Add | Op::Sub => Bond::Sum,
            Op::Mul | Op::Div => Bond::Product,
            Op::Neg => Bond::Sign,
            Op::Pow => Bond::Power,
            _ => Bond::Atom,
        },
    }
}

/// A number that the lexer reads back.
fn number(n: f64) -> String {
    if n != 0.0 && !(1e-6..1e15).contains(&n.abs()) {
        format!("{n:e}")
    } else {
        format!("{n}")
    }
}

impl fmt::Display for Expr {
    /// The formula as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(self))
    }
}

fn text_in(expr: &Expr, least: Bond) -> String {
    let text = text(expr);
    if bond(expr) < least {
        format!("({text})")
    } else {
        text
    }
}

fn text(expr: &Expr) -> String {
    let (op, args) = match expr {
        Expr::Number(n) => return number(*n),
        Expr::Variable(name) => return name.clone(),
        Expr::Constant(constant) => return constant.name().to_owned(),
        Expr::Apply(op, args) => (*op, args.as_slice()),
    };
    let joined = |sign: &str, first: Bond, others: Bond| {
        let parts = args.iter().enumerate().map(|(i, arg)| {
            let least = if i == 0 { first } else { others };
            // Two signs in a row are hard to read. Printed once: twice would double with each level.
            let inner = text(arg);
            if bond(arg) < least || i > 0 && bond(arg) == Bond::Sign {
                format!("({inner})")
            } else {
                inner
            }
        });
        parts.collect::<Vec<_>>().join(sign)
    };
    match op {
        Op::Add => {
            // What stands first must not be a sum itself, or it would be taken in.
            let first = match &args[0] {
                Expr::Apply(Op::Add, _) => Bond::Product,
                _ => Bond::Sum,
            };
            joined(" + ", first, Bond::Product)
        }
        Op::Sub => joined(" - ", Bond::Sum, Bond::Product),
        Op::Mul => {
            let first = match &args[0] {
                Expr::Apply(Op::Mul, _) => Bond::Sign,
                _ => Bond::Product,
            };
            joined("*", first, Bond::Sign)
        }
        Op::Div => joined("/", Bond::Product, Bond::Sign),
        Op::Neg => format!("-{}", text_in(&args[0], Bond::Power)),
        Op::Pow => format!(
            "{}^{}",
            text_in(&args[0], Bond::Atom),
            text_in(&args[1], Bond::Atom)
        ),
        Op::Factorial => format!("factorial({})", text(&args[0])),
        _ => {
            let args: Vec<String> = args.iter().map(text).collect();
            format!("{}({})", op.name(), args.join(", "))
        }
    }
}

impl Expr {
    /// The formula as LaTeX, for math mode.
    #[must_use]
    pub fn latex(&self) -> String {
        latex(self)
    }
}

fn latex_number(n: f64) -> String {
    let text = number(n);
    match text.split_once('e') {
        Some(("1", exponent)) => format!("10^{{{exponent}}}"),
        Some((digits, exponent)) => format!(r"{digits} \cdot 10^{{{exponent}}}"),
        None => text,
    }
}

fn latex_in(expr: &Expr, least: Bond) -> String {
    let inner = latex(expr);
    // A fraction needs no parentheses within a product.
    let is_fraction = matches!(expr, Expr::Apply(Op::Div, _));
    if bond(expr) < least && !(is_fraction && least < Bond::Power) {
        format!(r"\left({inner}\right)")
    } else {
        inner
    }
}

fn latex_name(name: &str) -> String {
    match name {
        "α" | "alpha" => r"\alpha".into(),
        "β" | "beta" => r"\beta".into(),
        "γ" | "gamma" => r"\gamma".into(),
        "θ" | "theta" => r"\theta".into(),
        "φ" | "phi" => r"\varphi".into(),
        "ω" | "omega" => r"\omega".into(),
        "λ" | "lambda" => r"\lambda".into(),
        name if name.chars().count() == 1 => name.into(),
        name => format!(r"\mathrm{{{name}}}"),
    }
}

fn latex(expr: &Expr) -> String {
    let (op, args) = match expr {
        Expr::Number(n) => return latex_number(*n),
        Expr::Variable(name) => return latex_name(name),
        Expr::Constant(constant) => {
            return match constant {
                Constant::Pi => r"\pi",
                Constant::E => "e",
                Constant::Tau => r"\tau",
                Constant::I => "i",
            }
            .to_owned();
        }
        Expr::Apply(op, args) => (*op, args.as_slice()),
    };
    let called = |name: &str| format!(r"{name}\left({}\right)", latex(&args[0]));
    match op {
        Op::Add => {
            let mut text = latex_in(&args[0], Bond::Sum);
            for arg in &args[1..] {
                match arg {
                    // a + (-b) reads better as a - b.
                    Expr::Apply(Op::Neg, inner) => {
                        text.push_str(" - ");
                        text.push_str(&latex_in(&inner[0], Bond::Product));
                    }
                    arg => {
                        text.push_str(" + ");
                        text.push_str(&latex_in(arg, Bond::Product));
                    }
                }
            }
            text
        }
        Op::Sub => {
            let right = match &args[1] {
                arg @ Expr::Apply(Op::Neg, _) => latex_in(arg, Bond::Power),
                arg => latex_in(arg, Bond::Product),
            };
            format!("{} - {right}", latex_in(&args[0], Bond::Sum))
        }
        Op::Mul => product(args),
        Op::Div => format!(r"\frac{{{}}}{{{}}}", latex(&args[0]), latex(&args[1])),
        Op::Neg => format!("-{}", latex_in(&args[0], Bond::Product)),
        Op::Pow => power(&args[0], &args[1]),
        Op::Sqrt => format!(r"\sqrt{{{}}}", latex(&args[0])),
        Op::Cbrt => format!(r"\sqrt[3]{{{}}}", latex(&args[0])),
        Op::Root => format!(r"\sqrt[{}]{{{}}}", latex(&args[0]), latex(&args[1])),
        Op::Abs => format!(r"\left|{}\right|", latex(&args[0])),
        Op::Floor => format!(r"\left\lfloor {}\right\rfloor", latex(&args[0])),
        Op::Ceil => format!(r"\left\lceil {}\right\rceil", latex(&args[0])),
        Op::Factorial => format!("{}!", base(&args[0])),
        Op::Exp => format!("e^{{{}}}", latex(&args[0])),
        Op::Log2 => called(r"\log_{2}"),
        Op::Logb => format!(
            r"\log_{{{}}}\left({}\right)",
            latex(&args[0]),
            latex(&args[1])
        ),
        Op::Sign => called(r"\operatorname{sgn}"),
        Op::Asin | Op::Acos | Op::Atan => called(&format!(r"\arc{}", &op.name()[1..])),
        Op::Min | Op::Max => {
            let parts: Vec<String> = args.iter().map(latex).collect();
            format!(r"\{}\left({}\right)", op.name(), parts.join(", "))
        }
        _ => called(&format!(r"\{}", op.name())),
    }
}

fn power(base: &Expr, exponent: &Expr) -> String {
    let exponent = latex(exponent);
    // The square of a sine, as it is written.
    if let Expr::Apply(op, args) = base
        && matches!(
            op,
            Op::Sin | Op::Cos | Op::Tan | Op::Cot | Op::Sinh | Op::Cosh | Op::Tanh
        )
    {
        return format!(
            r"\{}^{{{exponent}}}\left({}\right)",
            op.name(),
            latex(&args[0])
        );
    }
    format!("{}^{{{exponent}}}", self::base(base))
}

/// What has something after it that concerns all of it: a power, an exclamation mark.
fn base(expr: &Expr) -> String {
    match expr {
        // In LaTeX these are written as a power and with a mark already.
        Expr::Apply(Op::Exp | Op::Factorial, _) => format!(r"\left({}\right)", latex(expr)),
        expr => latex_in(expr, Bond::Atom),
    }
}

fn product(args: &[Expr]) -> String {
    let mut text = String::new();
    for (i, arg) in args.iter().enumerate() {
        let part = match arg {
            Expr::Apply(Op::Neg, _) if i > 0 => latex_in(arg, Bond::Power),
            arg => latex_in(arg, Bond::Product),
        };
        if i > 0 {
            let digit = part.starts_with(|c: char| c.is_ascii_digit())
                || part.starts_with(r"\frac{") && text.ends_with(|c: char| c.is_ascii_digit())
                || matches!(arg, Expr::Number(_));
            text.push_str(if digit { r" \cdot " } else { r" " });
        }
        text.push_str(&part);
    }
    text
}
