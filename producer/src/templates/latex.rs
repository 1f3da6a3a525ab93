//! Which LaTeX a user may send: what sets formulas, and nothing that reads, writes or defines.
//!
//! The sandbox is what holds; this is for an error at the right character, before anything is rendered.

use super::resolve::is_unwanted;

/// Commands that set something within a formula.
const COMMANDS: &str = "
frac dfrac tfrac cfrac binom dbinom tbinom sqrt left right middle big Big bigg Bigg bigl bigr Bigl Bigr cdot cdots
ldots dots vdots ddots times div ast star circ bullet pm mp oplus otimes odot wedge vee cap cup setminus sqcup sum
prod coprod int iint iiint oint lim limsup liminf sup inf max min arg det dim ker deg gcd lcm mod bmod pmod exp ln
log lg sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh coth alpha beta gamma delta epsilon varepsilon
zeta eta theta vartheta iota kappa lambda mu nu xi pi varpi rho varrho sigma varsigma tau upsilon phi varphi chi psi
omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega infty partial nabla hbar ell Re Im aleph emptyset
varnothing forall exists nexists neg lnot land lor in notin ni subset supset subseteq supseteq subsetneq leq le geq ge
neq ne equiv approx sim simeq cong propto ll gg prec succ perp parallel mid nmid angle triangle square diamond to
rightarrow leftarrow Rightarrow Leftarrow leftrightarrow Leftrightarrow longrightarrow Longrightarrow mapsto
longmapsto implies iff uparrow downarrow nearrow searrow hookrightarrow xrightarrow vec hat widehat bar overline
underline tilde widetilde dot ddot overbrace underbrace overset underset stackrel not prime backslash langle rangle
lvert rvert lVert rVert vert Vert lfloor rfloor lceil rceil lbrace rbrace mathrm mathbf mathit mathsf mathtt mathcal
mathbb mathfrak boldsymbol operatorname text textbf textit textrm limits nolimits displaystyle textstyle quad qquad
begin end therefore because blacksquare Box checkmark boxed cancel substack hline phantom colon";

/// Environments within a formula.
const ENVIRONMENTS: &str =
    "matrix pmatrix bmatrix Bmatrix vmatrix Vmatrix smallmatrix cases aligned array gathered";

fn knows(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|known| known == word)
}

/// Whether a text is LaTeX that may be set in math mode.
///
/// # Errors
/// The first thing that may not, at which character, and what to do.
pub(super) fn check(text: &str) -> Result<(), String> {
    let chars: Vec<char> = text.chars().collect();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    let wrong = |at: usize, what: String| Err(format!("character {}: {what}", at + 1));
    while at < chars.len() {
        let start = at;
        at += 1;
        match chars[start] {
            '{' => open.push(start),
            '}' if open.pop().is_none() => {
                return wrong(start, "`}` closes nothing; remove it".into());
            }
            '}' => {}
            '\\' => {
                let mut name = String::new();
                while let Some(c) = chars.get(at).filter(|c| c.is_ascii_alphabetic()) {
                    name.push(*c);
                    at += 1;
                }
                if name.is_empty() {
                    match chars.get(at) {
                        Some(
                            '\\' | ',' | ';' | ':' | '!' | ' ' | '{' | '}' | '|' | '%' | '_' | '&'
                            | '#' | '$',
                        ) => at += 1,
                        _ => return wrong(start, "a backslash needs a command after it".into()),
                    }
                } else if !knows(COMMANDS, &name) {
                    let name: String = name.chars().take(40).collect();
                    return wrong(
                        start,
                        format!(
                            "`\\{name}` is not among the LaTeX commands that formulas may use; leave it out"
                        ),
                    );
                } else if name == "begin" || name == "end" {
                    let rest: String = chars[at..].iter().take(20).collect();
                    let environment = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
                    if !environment.is_some_and(|(name, _)| knows(ENVIRONMENTS, name)) {
                        return wrong(
                            at,
                            format!(
                                "`\\{name}` needs one of {{{}}}",
                                ENVIRONMENTS.replace(' ', "}, {")
                            ),
                        );
                    }
                }
            }
            '^' if chars.get(at) == Some(&'^') => {
                return wrong(
                    start,
                    "`^^` is not allowed; put braces around the exponent".into(),
                );
            }
            '$' => {
                return wrong(
                    start,
                    "the text is in math mode already; remove the `$`".into(),
                );
            }
            '%' => return wrong(start, "`%` begins a comment in LaTeX; write `\\%`".into()),
            '#' => {
                return wrong(
                    start,
                    "`#` has a meaning of its own in LaTeX; write `\\#`".into(),
                );
            }
            '~' => {}
            c if is_unwanted(c) => {
                return wrong(start, format!("{c:?} cannot stand in LaTeX; remove it"));
            }
            _ => {}
        }
    }
    match open.last() {
        Some(at) => wrong(*at, "this `{` is never closed".into()),
        None if text.trim().is_empty() => Err("a formula is missing here".into()),
        None => Ok(()),
    }
}
