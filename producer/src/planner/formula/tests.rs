//! Formulas against known values, printing against reading, and against anything at all.

use proptest::prelude::*;

use super::*;

fn value(text: &str, x: f64) -> f64 {
    let expr = parse(text, &["x", "y"]).unwrap_or_else(|e| panic!("{text}: {e}"));
    expr.eval(&[("x", x), ("y", 3.0)])
}

#[test]
fn peoples_notation_means_what_they_mean() {
    use std::f64::consts::{E, PI};
    let known: &[(&str, f64, f64)] = &[
        ("x^2", 3.0, 9.0),
        ("2x", 3.0, 6.0),
        ("2x^2+3x-5", 2.0, 9.0),
        ("-x^2", 3.0, -9.0),
        ("(-x)^2", 3.0, 9.0),
        ("e^-x", 1.0, 1.0 / E),
        ("e^{-x}", 1.0, 1.0 / E),
        ("e^-x^2", 2.0, (-4.0f64).exp()),
        ("2^3^2", 0.0, 512.0),
        ("sin x", 1.0, 1f64.sin()),
        ("sinx", 1.0, 1f64.sin()),
        ("sin 2x", 1.0, 2f64.sin()),
        ("sin x cos x", 1.0, 1f64.sin() * 1f64.cos()),
        ("sin(x)cos(x)", 1.0, 1f64.sin() * 1f64.cos()),
        ("sin^2 x", 1.0, 1f64.sin().powi(2)),
        ("sin²x", 1.0, 1f64.sin().powi(2)),
        ("sin(x)^2", 1.0, 1f64.sin().powi(2)),
        ("sin x^2", 2.0, 4f64.sin()),
        ("sin^-1 x", 0.5, 0.5f64.asin()),
        ("arctan x", 0.5, 0.5f64.atan()),
        ("sin πx", 0.5, 1.0),
        ("x sin x", 2.0, 2.0 * 2f64.sin()),
        ("xsinx", 2.0, 2.0 * 2f64.sin()),
        ("sin(x)/x", 2.0, 2f64.sin() / 2.0),
        ("√x", 9.0, 3.0),
        ("√(x+7)", 9.0, 4.0),
        ("√2x", 3.0, 2f64.sqrt() * 3.0),
        ("∛x", -8.0, -2.0),
        ("sqrt x + 1", 9.0, 4.0),
        ("sqrt(1-x^2)", 0.6, 0.8),
        ("|x|", -2.0, 2.0),
        ("|x-1|+|x+1|", -2.0, 4.0),
        ("2|x|", -2.0, 4.0),
        ("||x|-1|", -3.0, 2.0),
        ("x²", 3.0, 9.0),
        ("x⁻¹", 4.0, 0.25),
        ("x³−2x", 2.0, 4.0),
        ("1/x", 4.0, 0.25),
        ("1/2x", 4.0, 2.0),
        ("x/2", 4.0, 2.0),
        (r"\frac{1}{x}", 4.0, 0.25),
        (r"\frac12 x", 4.0, 2.0),
        (r"\sin\left(x\right)", 1.0, 1f64.sin()),
        (r"\sqrt{x}", 9.0, 3.0),
        (r"\sqrt[3]{x}", 8.0, 2.0),
        (r"x \cdot \pi", 2.0, 2.0 * PI),
        (r"\ln x", E, 1.0),
        (r"\log_2 x", 8.0, 3.0),
        (r"\log_{3}(x)", 9.0, 2.0),
        ("log x", 100.0, 2.0),
        ("log2(x)", 8.0, 3.0),
        ("2pi", 0.0, 2.0 * PI),
        ("2π", 0.0, 2.0 * PI),
        ("3π/2", 0.0, 1.5 * PI),
        ("1e3", 0.0, 1000.0),
        ("2e", 0.0, 2.0 * E),
        ("2e^x", 1.0, 2.0 * E),
        ("60°", 0.0, PI / 3.0),
        ("x!", 5.0, 120.0),
        ("x(x+1)", 3.0, 12.0),
        ("(x+1)(x-1)", 3.0, 8.0),
        ("xy", 2.0, 6.0),
        ("x*y", 2.0, 6.0),
        ("x**2", 3.0, 9.0),
        ("3·x", 2.0, 6.0),
        ("exp(-x^2/2)", 1.0, (-0.5f64).exp()),
        ("max(x, 2)", 1.0, 2.0),
        ("floor(x)", 1.7, 1.0),
        ("⌊x⌋", 1.7, 1.0),
        ("½x", 4.0, 2.0),
        ("$x^2$", 3.0, 9.0),
        ("X^2", 3.0, 9.0),
        ("5 - x - 1", 1.0, 3.0),
        ("8/2/2", 0.0, 2.0),
        ("-2^2", 0.0, -4.0),
        ("2*-x", 3.0, -6.0),
        ("cos -x", 1.0, 1f64.cos()),
        // As Word and PDFs have them.
        ("𝑥²", 3.0, 9.0),
        ("𝟐𝑥", 3.0, 6.0),
        ("ｘ＾２", 3.0, 9.0),
        ("2ˣ", 3.0, 8.0),
        ("xˣ", 3.0, 27.0),
    ];
    for (text, x, expected) in known {
        let got = value(text, *x);
        assert!(
            (got - expected).abs() < 1e-9,
            "{text} at {x}: {got}, not {expected}"
        );
    }
}

#[test]
fn outside_of_its_domain_a_formula_is_not_a_number() {
    for (text, x) in [
        ("1/x", 0.0),
        ("ln x", -1.0),
        ("√x", -1.0),
        ("tan(x)/0", 1.0),
        ("asin x", 2.0),
        ("x!", 0.5),
        ("i", 0.0),
        ("e^x", 1e9),
    ] {
        assert!(value(text, x).is_nan(), "{text} at {x}");
    }
}

#[test]
fn errors_point_at_the_character_and_say_what_to_do() {
    for (text, at, words) in [
        ("", 0, "missing"),
        ("x + ", 4, "missing"),
        ("sin(x", 5, "`)` is missing"),
        ("x)", 1, "closes nothing"),
        ("2 + foo(x)", 4, "`foo` is no function"),
        ("x^^2", 2, "missing"),
        ("sni(x)", 0, "did you mean `sin`"),
        ("|x", 2, "`|` is missing"),
        ("3,5", 1, "decimal has a point"),
        ("y = x", 2, "equation"),
        ("z+1", 0, "variables here are `x`, `y`"),
        (r"\input{x}", 0, r"`\input` is not known"),
        ("x # 2", 2, "no meaning"),
        ("sin", 3, "no argument"),
        ("x^2 4", 4, "two numbers stand side by side"),
        ("sin x 0", 6, "a number cannot follow"),
        ("(x 2)", 3, "a number cannot follow"),
        ("1 000x", 2, "two numbers stand side by side"),
        ("1.2.3", 3, "two numbers stand side by side"),
        ("xⁿ", 1, "`n` is no function"),
        ("x⁻ⁿ", 1, "variables here are `x`, `y`"),
    ] {
        let error = parse(text, &["x", "y"]).expect_err(text);
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.message.contains(words), "{text}: {error}");
    }
    let error = parse("1 + ?", &["x"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "character 5: '?' has no meaning in a formula; remove it"
    );
    assert!(error.shown_in("1 + ?").contains("`1 + ▸?`"));
}

#[test]
fn what_is_too_large_is_refused() {
    let deep = format!("{}x{}", "(".repeat(490), ")".repeat(490));
    assert!(parse(&deep, &["x"]).unwrap_err().message.contains("nested"));
    let deep = format!("{}x{}", "sin(".repeat(40), ")".repeat(40));
    assert!(parse(&deep, &["x"]).is_err());
    let long = vec!["x"; 300].join("+");
    assert!(
        parse(&long, &["x"])
            .unwrap_err()
            .message
            .contains("too long")
    );
    assert!(
        parse(&"x".repeat(1001), &["x"])
            .unwrap_err()
            .message
            .contains("bytes")
    );
    assert!(parse(&"-".repeat(900), &["x"]).is_err());
    assert!(parse(&format!("x{}", "!".repeat(900)), &["x"]).is_err());
    assert!(parse(&format!("x{}", "^x".repeat(400)), &["x"]).is_err());
    assert!(parse(&"|".repeat(900), &["x"]).is_err());
    assert!(parse(&"√".repeat(300), &["x"]).is_err());
    assert!(parse(&"sin ".repeat(200), &["x"]).is_err());
    assert!(parse(&"sin -".repeat(150), &["x"]).is_err());
}

#[test]
fn latex_reads_as_it_is_written_in_books() {
    for (text, latex) in [
        ("x^2", "x^{2}"),
        ("2x", "2 x"),
        ("1/x", r"\frac{1}{x}"),
        ("sin(x)^2", r"\sin^{2}\left(x\right)"),
        ("-x^2+3x", "-x^{2} + 3 x"),
        ("2*3", r"2 \cdot 3"),
        ("sqrt(x+1)", r"\sqrt{x + 1}"),
        ("|x|", r"\left|x\right|"),
        ("(x+1)^2", r"\left(x + 1\right)^{2}"),
        ("e^-x", "e^{-x}"),
        ("arcsin x", r"\arcsin\left(x\right)"),
        ("2pi", r"2 \pi"),
    ] {
        assert_eq!(parse(text, &["x"]).unwrap().latex(), latex, "{text}");
    }
}

#[test]
fn scenes_get_a_tree_of_json() {
    let json = |text: &str| parse(text, &["x"]).unwrap().json().to_string();
    assert_eq!(json("x^2+2x+1"), r#"["+",["^","x",2],["*",2,"x"],1]"#);
    assert_eq!(
        json("-sin(2pi x)/0.5"),
        r#"["/",["neg",["sin",["*",2,"pi","x"]]],0.5]"#
    );
    assert_eq!(json("log_5 x"), r#"["logb",5,"x"]"#);
    let (left, right) = parse_equation("2x+3=7", &["x"]).unwrap();
    assert_eq!(
        (left.to_string(), right.to_string()),
        ("2*x + 3".into(), "7".into())
    );
    assert!(
        parse_equation("2x+3", &["x"])
            .unwrap_err()
            .message
            .contains("`=`")
    );
    assert!(
        parse_equation("x=1=2", &["x"])
            .unwrap_err()
            .message
            .contains("only one")
    );
}

/// Whether rounding stays small within it.
fn is_tame(expr: &Expr, at: &[(&str, f64)]) -> bool {
    let value = expr.eval(at).abs();
    let parts = match expr {
        Expr::Apply(_, args) => args.as_slice(),
        _ => &[],
    };
    (value == 0.0 || (1e-3..1e3).contains(&value)) && parts.iter().all(|part| is_tame(part, at))
}

fn any_expr(most: f64) -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        (0u32..10).prop_map(|n| Expr::Number(f64::from(n))),
        (0.0..most).prop_map(Expr::Number),
        prop_oneof![Just("x"), Just("y")].prop_map(|v| Expr::Variable(v.into())),
        prop_oneof![Just(Constant::Pi), Just(Constant::E), Just(Constant::Tau)]
            .prop_map(Expr::Constant),
    ];
    leaf.prop_recursive(6, 60, 4, |inner| {
        let ops = proptest::sample::select(Op::ALL);
        (ops, proptest::collection::vec(inner, 2..5)).prop_map(|(op, mut args)| {
            let (least, most) = op.arity();
            args.truncate(most.min(args.len()).max(least));
            match op {
                Op::Add | Op::Mul => args
                    .into_iter()
                    .reduce(|a, b| Expr::binary(op, a, b))
                    .expect("two at least"),
                // As the parser gives them.
                Op::Logb if matches!(args[0], Expr::Number(n) if n == 2.0 || n == 10.0) => {
                    args.remove(1)
                }
                op => Expr::Apply(op, args),
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, max_global_rejects: 100_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_reads_back_as_the_same(expr in any_expr(1e20)) {
        let text = expr.to_string();
        prop_assume!(text.len() <= BYTES_MAX && expr.is_bounded());
        let again = parse(&text, &["x", "y"]);
        prop_assert_eq!(again.as_ref(), Ok(&expr), "{}", text);
    }

    #[test]
    fn latex_of_ours_is_read_with_the_same_value(expr in any_expr(9.0)) {
        let latex = expr.latex();
        prop_assume!(latex.len() <= BYTES_MAX && expr.is_bounded() && !latex.contains("operatorname"));
        let again = parse(&latex, &["x", "y"]);
        prop_assume!(again.is_ok());
        let at = [("x", 0.7), ("y", 1.3)];
        prop_assume!(is_tame(&expr, &at));
        let (a, b) = (expr.eval(&at), again.unwrap().eval(&at));
        prop_assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{} {} {}", latex, a, b);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        if let Ok(expr) = parse(&text, &["x"]) {
            prop_assert!(expr.is_bounded());
            let _ = (expr.latex(), expr.eval(&[("x", 0.3)]), expr.json());
        }
    }

    #[test]
    fn text_that_is_almost_a_formula_is_read_or_refused(
        parts in proptest::collection::vec(proptest::sample::select(vec![
            "x", "2", ".5", "+", "-", "*", "/", "^", "(", ")", "|", "sin", "√", "²", "!", "°", "{", "}", "\\frac", "_", "log", ",", "=", "π", "e", "\\", "[", "]", " ", "\\left",
        ]), 0..60)
    ) {
        let text = parts.concat();
        if let Err(error) = parse(&text, &["x"]) {
            prop_assert!(error.at <= text.chars().count());
        }
        let _ = parse_equation(&text, &["x"]);
    }
}

#[test]
fn printing_takes_no_longer_for_each_level_of_signs() {
    let inner = vec!["x"; 55].join("+");
    let text = format!("{}{inner}{}", "x--(".repeat(15), ")".repeat(15));
    let expr = parse(&text, &["x"]).expect("it is within the bounds");
    // Printed twice at each level it had two million pieces.
    let began = std::time::Instant::now();
    let printed = expr.to_string();
    assert!(began.elapsed() < std::time::Duration::from_secs(1));
    assert_eq!(parse(&printed, &["x"]).as_ref(), Ok(&expr));
}
