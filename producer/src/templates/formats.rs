//! From what a user writes to what a scene gets, format by format.

use serde_json::{Value, json};

use super::resolve::clean;
use super::{colour, latex, logic};
use crate::planner::formula::{self, Expr, FormulaError, number};

/// Strings that are more than text.
pub(super) fn resolve(
    format: &str,
    schema: &Value,
    value: &Value,
) -> Option<Result<Value, String>> {
    let resolved = match (format, value) {
        ("formula", Value::String(text)) => formula(text, schema),
        ("equation", Value::String(text)) => equation(text, schema),
        ("latex", Value::String(text)) => latex::check(text).map(|()| json!({"latex": text})),
        ("logic", Value::String(text)) => logic::resolve(text),
        ("color", Value::String(text)) => colour::parse(text).map(Value::String),
        ("number", Value::String(text)) => a_number(text, schema),
        ("number", Value::Number(n)) => Ok(plain_number(n.as_f64().unwrap_or(f64::NAN))),
        _ => return None,
    };
    Some(resolved)
}

/// The variables that a formula of this schema may have.
pub(crate) fn variables(schema: &Value) -> Vec<&str> {
    match schema["x-variables"].as_array() {
        Some(names) => names.iter().filter_map(Value::as_str).collect(),
        None => vec!["x"],
    }
}

/// Whether a formula of this schema may have values that are not real.
pub(crate) fn is_complex(schema: &Value) -> bool {
    schema["x-complex"] == true
}

/// Where only real values can be shown the imaginary unit would show nothing.
fn real(text: &str, schema: &Value) -> Result<(), FormulaError> {
    let at = (!is_complex(schema))
        .then(|| formula::imaginary_at(text, &variables(schema)))
        .flatten();
    at.map_or(Ok(()), |at| {
        Err(FormulaError {
            at,
            message:
                "`i` is the imaginary unit, and only real values can be shown here; leave it out"
                    .to_owned(),
        })
    })
}

fn told(text: &str) -> impl Fn(FormulaError) -> String + '_ {
    move |error| error.shown_in(text)
}

/// What a user wrote, for showing: LaTeX is for reading by machines, and fonts lack the letters of formulas (`𝑥`).
fn shown(text: &str, expr: &Expr) -> String {
    if text.contains('\\') || text.contains('$') {
        return expr.to_string();
    }
    let plain: String = text.chars().map(formula::plain).collect();
    clean(&plain).trim().to_owned()
}

/// `y = …` and `f(x) = …` are how people name a function.
fn body<'a>(text: &'a str, variables: &[&str]) -> (&'a str, usize) {
    let Some((left, right)) = text.split_once('=') else {
        return (text, 0);
    };
    let left_side: String = left.chars().filter(|c| !c.is_whitespace()).collect();
    let is_call = left_side
        .split_once('(')
        .is_some_and(|(name, args)| name.chars().count() == 1 && args.ends_with(')'));
    let is_name = left_side.chars().count() == 1 && !variables.contains(&left_side.as_str());
    if (is_call || is_name) && !right.contains('=') {
        (right, left.chars().count() + 1)
    } else {
        (text, 0)
    }
}

fn formula(text: &str, schema: &Value) -> Result<Value, String> {
    let variables = variables(schema);
    let (right, before) = body(text, &variables);
    let told = |mut error: FormulaError| {
        error.at += before;
        error.shown_in(text)
    };
    let expr = formula::parse(right, &variables).map_err(told)?;
    real(right, schema).map_err(told)?;
    Ok(json!({"text": shown(right, &expr), "latex": expr.latex(), "ast": expr.json()}))
}

fn equation(text: &str, schema: &Value) -> Result<Value, String> {
    let (left, right) = formula::parse_equation(text, &variables(schema)).map_err(told(text))?;
    real(text, schema).map_err(told(text))?;
    let latex = format!("{} = {}", left.latex(), right.latex());
    let text = format!("{left} = {right}");
    Ok(json!({"text": text, "latex": latex, "left": left.json(), "right": right.json()}))
}

fn plain_number(value: f64) -> Value {
    let text = Expr::Number(value.abs()).to_string();
    let latex = Expr::Number(value.abs()).latex();
    let sign = if value < 0.0 { "-" } else { "" };
    json!({"value": number(value), "text": format!("{sign}{text}"), "latex": format!("{sign}{latex}")})
}

fn a_number(text: &str, schema: &Value) -> Result<Value, String> {
    let expr = formula::parse(text, &[]).map_err(told(text))?;
    let value = expr.eval(&[]);
    if !value.is_finite() {
        return Err(format!(
            "{text:?} has no real value; write a number such as 0.5, 1/3 or 2π"
        ));
    }
    within(value, schema)?;
    Ok(json!({"value": number(value), "text": shown(text, &expr), "latex": expr.latex()}))
}

/// JSON Schema's limits hold for numbers; here for what a text is worth.
fn within(value: f64, schema: &Value) -> Result<(), String> {
    let limit = |name: &str| schema[name].as_f64();
    let text = match (
        limit("minimum"),
        limit("maximum"),
        limit("exclusiveMinimum"),
        limit("exclusiveMaximum"),
    ) {
        (Some(least), ..) if value < least => format!("less than {least}"),
        (_, Some(most), ..) if value > most => format!("more than {most}"),
        (.., Some(least), _) if value <= least => format!("not more than {least}"),
        (.., Some(most)) if value >= most => format!("not less than {most}"),
        _ => return Ok(()),
    };
    Err(format!("its value is {value}, which is {text}"))
}
