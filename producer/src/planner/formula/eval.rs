//! What a formula is worth.

use super::ast::{Constant, Expr, Op};

impl Expr {
    /// Its value; NaN outside of its domain, where a variable has no value, and for complex numbers.
    #[must_use]
    pub fn eval(&self, values: &[(&str, f64)]) -> f64 {
        match self {
            Self::Number(n) => *n,
            Self::Variable(name) => values
                .iter()
                .find(|(known, _)| known == name)
                .map_or(f64::NAN, |(_, value)| *value),
            Self::Constant(constant) => match constant {
                Constant::Pi => std::f64::consts::PI,
                Constant::E => std::f64::consts::E,
                Constant::Tau => std::f64::consts::TAU,
                Constant::I => f64::NAN,
            },
            Self::Apply(op, args) => {
                let mut values = args.iter().map(|arg| arg.eval(values));
                let first = values.next().unwrap_or(f64::NAN);
                apply(*op, first, values)
            }
        }
    }
}

fn apply(op: Op, a: f64, mut rest: impl Iterator<Item = f64>) -> f64 {
    let mut second = || rest.next().unwrap_or(f64::NAN);
    let value = match op {
        Op::Add => a + rest.sum::<f64>(),
        Op::Mul => rest.fold(a, |product, factor| product * factor),
        // `f64::min` would pass over a NaN.
        Op::Min => rest.fold(a, |least, b| {
            if least.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                least.min(b)
            }
        }),
        Op::Max => rest.fold(a, |most, b| {
            if most.is_nan() || b.is_nan() {
                f64::NAN
            } else {
                most.max(b)
            }
        }),
        Op::Sub => a - second(),
        Op::Div => a / second(),
        Op::Pow => a.powf(second()),
        Op::Neg => -a,
        Op::Sin => a.sin(),
        Op::Cos => a.cos(),
        Op::Tan => a.tan(),
        Op::Cot => 1.0 / a.tan(),
        Op::Sec => 1.0 / a.cos(),
        Op::Csc => 1.0 / a.sin(),
        Op::Asin => a.asin(),
        Op::Acos => a.acos(),
        Op::Atan => a.atan(),
        Op::Sinh => a.sinh(),
        Op::Cosh => a.cosh(),
        Op::Tanh => a.tanh(),
        Op::Exp => a.exp(),
        Op::Ln => a.ln(),
        Op::Log => a.log10(),
        Op::Log2 => a.log2(),
        Op::Logb => second().ln() / a.ln(),
        Op::Sqrt => a.sqrt(),
        Op::Cbrt => a.cbrt(),
        Op::Root => root(a, second()),
        Op::Abs => a.abs(),
        Op::Floor => a.floor(),
        Op::Ceil => a.ceil(),
        Op::Sign if a == 0.0 => 0.0,
        Op::Sign => a.signum(),
        Op::Factorial => factorial(a),
    };
    if value.is_finite() { value } else { f64::NAN }
}

/// The n-th root; of negative numbers for odd n.
fn root(n: f64, a: f64) -> f64 {
    if a < 0.0 && n.rem_euclid(2.0) == 1.0 {
        -(-a).powf(1.0 / n)
    } else {
        a.powf(1.0 / n)
    }
}

/// Of whole numbers from 0 to 170.
fn factorial(n: f64) -> f64 {
    if n.fract() != 0.0 || !(0.0..=170.0).contains(&n) {
        return f64::NAN;
    }
    let mut product = 1.0;
    let mut k = 2.0;
    while k <= n {
        product *= k;
        k += 1.0;
    }
    product
}
