//! The tree of a formula.

use serde_json::{Value, json};

use super::{DEPTH_MAX, NODES_MAX};

macro_rules! operators {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// What a node does with its arguments.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "their names in JSON say it")]
        pub enum Op { $($variant),+ }

        impl Op {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The operator's name in JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

operators! {
    Add = "+", Sub = "-", Mul = "*", Div = "/", Pow = "^", Neg = "neg",
    Sin = "sin", Cos = "cos", Tan = "tan", Cot = "cot", Sec = "sec", Csc = "csc",
    Asin = "asin", Acos = "acos", Atan = "atan", Sinh = "sinh", Cosh = "cosh", Tanh = "tanh",
    Exp = "exp", Ln = "ln", Log = "log", Log2 = "log2", Logb = "logb",
    Sqrt = "sqrt", Cbrt = "cbrt", Root = "root", Abs = "abs", Floor = "floor", Ceil = "ceil",
    Sign = "sign", Min = "min", Max = "max", Factorial = "factorial",
}

impl Op {
    /// Fewest and most arguments.
    #[must_use]
    pub const fn arity(self) -> (usize, usize) {
        match self {
            Self::Add | Self::Mul | Self::Min | Self::Max => (2, NODES_MAX),
            Self::Sub | Self::Div | Self::Pow | Self::Root | Self::Logb => (2, 2),
            _ => (1, 1),
        }
    }
}

/// A number that has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constant {
    /// π
    Pi,
    /// Euler's number.
    E,
    /// 2π
    Tau,
    /// The imaginary unit.
    I,
}

impl Constant {
    /// Its name in JSON and in text.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pi => "pi",
            Self::E => "e",
            Self::Tau => "tau",
            Self::I => "i",
        }
    }
}

/// A formula.
#[derive(Debug, Clone, PartialEq)]
pub enum Expr {
    /// A number as it was written: finite, not negative.
    Number(f64),
    /// A variable.
    Variable(String),
    /// A named number.
    Constant(Constant),
    /// An operator with its arguments.
    Apply(Op, Vec<Expr>),
}

impl Expr {
    /// An operator with one argument.
    #[must_use]
    pub fn unary(op: Op, a: Self) -> Self {
        Self::Apply(op, vec![a])
    }

    /// An operator with two arguments; sums and products take in what stands to their left.
    #[must_use]
    pub fn binary(op: Op, a: Self, b: Self) -> Self {
        match a {
            Self::Apply(inner, mut args) if inner == op && matches!(op, Op::Add | Op::Mul) => {
                args.push(b);
                Self::Apply(op, args)
            }
            a => Self::Apply(op, vec![a, b]),
        }
    }

    /// The formula as scenes get it.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Self::Number(n) => number(*n),
            Self::Variable(name) => json!(name),
            Self::Constant(constant) => json!(constant.name()),
            Self::Apply(op, args) => {
                let args = args.iter().map(Self::json);
                Value::Array(std::iter::once(json!(op.name())).chain(args).collect())
            }
        }
    }

    /// How many nodes it has.
    #[must_use]
    pub fn nodes(&self) -> usize {
        match self {
            Self::Apply(_, args) => 1 + args.iter().map(Self::nodes).sum::<usize>(),
            _ => 1,
        }
    }

    /// How deep it is.
    #[must_use]
    pub fn depth(&self) -> usize {
        match self {
            Self::Apply(_, args) => 1 + args.iter().map(Self::depth).max().unwrap_or(0),
            _ => 1,
        }
    }

    /// Whether it is within the bounds of what scenes take.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        self.depth() <= DEPTH_MAX && self.nodes() <= NODES_MAX
    }

    /// Whether this variable is in it.
    #[must_use]
    pub fn has(&self, variable: &str) -> bool {
        match self {
            Self::Variable(name) => name == variable,
            Self::Apply(_, args) => args.iter().any(|arg| arg.has(variable)),
            Self::Number(_) | Self::Constant(_) => false,
        }
    }

    /// The names of its variables, each once, in the order in which they come.
    #[must_use]
    pub fn variables(&self) -> Vec<&str> {
        fn collect<'a>(expr: &'a Expr, names: &mut Vec<&'a str>) {
            match expr {
                Expr::Variable(name) if !names.contains(&name.as_str()) => names.push(name),
                Expr::Apply(_, args) => args.iter().for_each(|arg| collect(arg, names)),
                _ => {}
            }
        }
        let mut names = Vec::new();
        collect(self, &mut names);
        names
    }
}

/// A number in JSON: whole where it is whole.
#[must_use]
pub fn number(n: f64) -> Value {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked to be whole and small"
    )]
    if n.fract() == 0.0 && n.abs() < 9e15 {
        json!(n as i64)
    } else {
        json!(n)
    }
}
