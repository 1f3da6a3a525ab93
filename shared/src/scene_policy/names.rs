//! Which names a scene binds, where, and what is known of them.
//!
//! Python decides at compile time whether a name is local to a function: if the function binds it
//! anywhere, a read of it there can never reach the builtin of that name. So `input` as a
//! parameter is the author's own. At module level a name is only the author's own after the
//! statement that binds it, and only if nothing deletes it.

use std::collections::{HashMap, HashSet};

use ruff_python_ast::name::Name;
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{
    Alias, CmpOp, Comprehension, ExceptHandler, Expr, ExprContext, ExprName, Identifier, ModModule,
    Parameter, Parameters, Pattern, Stmt, StmtIf, StmtImportFrom, TypeParams,
};
use ruff_text_size::{Ranged, TextSize};

use super::rules;

/// The longest dotted path that is followed. No module's path is longer, and following endless
/// ones takes quadratic time.
pub(super) const PATH_CHARS_MAX: usize = 120;

/// What a name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Binding {
    /// A module, or a part of one, by its dotted path.
    Module(String),
    /// Anything else.
    Value,
}

/// The names that one function, class or module body binds.
#[derive(Debug, Default)]
pub(super) struct Bindings {
    pub(super) names: HashMap<Name, Binding>,
    pub(super) globals: HashSet<Name>,
}

impl Bindings {
    /// The names bound by `body` itself, not by the functions and classes in it.
    pub(super) fn of_body(body: &[Stmt]) -> Self {
        let mut bindings = Self::default();
        bindings.visit_body(body);
        bindings
    }

    /// Only the names that walrus operators in `expr` bind.
    pub(super) fn of_lambda(expr: &Expr) -> Self {
        let mut bindings = Self::default();
        bindings.visit_expr(expr);
        bindings
    }

    pub(super) fn add_parameters(&mut self, parameters: &Parameters) {
        for parameter in parameters {
            self.bind(&parameter.name().id, Binding::Value);
        }
    }

    pub(super) fn add_type_params(&mut self, type_params: &TypeParams) {
        for type_param in type_params {
            self.bind(&type_param.name().id, Binding::Value);
        }
    }

    /// The names that a `for` target or a comprehension target binds.
    pub(super) fn add_target(&mut self, target: &Expr) {
        self.visit_expr(target);
    }

    /// Remembers the most revealing thing: a name that is a module once counts as a module.
    pub(super) fn bind(&mut self, name: &Name, binding: Binding) {
        match self.names.get_mut(name) {
            Some(Binding::Module(_)) => {}
            Some(known) => *known = binding,
            None => {
                self.names.insert(name.clone(), binding);
            }
        }
    }
}

/// The path that `import path` or `import path as name` binds, and the name.
pub(super) fn import_binding(alias: &Alias) -> (Name, String) {
    match &alias.asname {
        Some(name) => (name.id.clone(), alias.name.to_string()),
        None => {
            let package = alias.name.split('.').next().unwrap_or_default();
            (Name::new(package), package.to_owned())
        }
    }
}

/// The path that `from module import name` binds, and the name. `None` for a star or a relative
/// import.
pub(super) fn import_from_binding(
    import: &StmtImportFrom,
    alias: &Alias,
) -> Option<(Name, String)> {
    let module = import.module.as_ref()?;
    if import.level > 0 || alias.name.as_str() == "*" {
        return None;
    }
    let name = alias.asname.as_ref().unwrap_or(&alias.name);
    Some((name.id.clone(), format!("{module}.{}", alias.name)))
}

/// Whether the last part of a path can be a module: modules are lowercase, classes are not.
///
/// `manim.Scene` is a class, and its underscore methods are for its subclasses.
pub(super) fn may_be_module(path: &str) -> bool {
    let last = path.rsplit('.').next().unwrap_or(path);
    if path.len() > PATH_CHARS_MAX {
        return false;
    }
    !last.starts_with(char::is_uppercase) || rules::is_manim_star_module(path)
}

impl<'a> Visitor<'a> for Bindings {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(function) => {
                self.bind(&function.name.id, Binding::Value);
                for decorator in &function.decorator_list {
                    self.visit_decorator(decorator);
                }
                for default in function.parameters.iter().filter_map(|p| p.default()) {
                    self.visit_expr(default);
                }
            }
            Stmt::ClassDef(class) => {
                self.bind(&class.name.id, Binding::Value);
                for decorator in &class.decorator_list {
                    self.visit_decorator(decorator);
                }
                if let Some(arguments) = &class.arguments {
                    self.visit_arguments(arguments);
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let (name, path) = import_binding(alias);
                    self.bind(&name, Binding::Module(path));
                }
            }
            Stmt::ImportFrom(import) => {
                for alias in &import.names {
                    if let Some((name, path)) = import_from_binding(import, alias) {
                        let binding = if may_be_module(&path) {
                            Binding::Module(path)
                        } else {
                            Binding::Value
                        };
                        self.bind(&name, binding);
                    }
                }
            }
            Stmt::Global(global) => {
                self.globals
                    .extend(global.names.iter().map(|name| name.id.clone()));
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(ExprName {
                id,
                ctx: ExprContext::Store | ExprContext::Del,
                ..
            }) => {
                self.bind(id, Binding::Value);
            }
            // A lambda is a function of its own; only its defaults are evaluated here.
            Expr::Lambda(lambda) => {
                if let Some(parameters) = &lambda.parameters {
                    for default in parameters.iter().filter_map(|p| p.default()) {
                        self.visit_expr(default);
                    }
                }
            }
            _ => visitor::walk_expr(self, expr),
        }
    }

    /// The target belongs to the comprehension; a walrus in it belongs to us.
    fn visit_comprehension(&mut self, comprehension: &'a Comprehension) {
        self.visit_expr(&comprehension.iter);
        for condition in &comprehension.ifs {
            self.visit_expr(condition);
        }
    }

    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.bind(&name.id, Binding::Value);
        }
        visitor::walk_except_handler(self, handler);
    }

    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        if let Some(name) = pattern_name(pattern) {
            self.bind(&name.id, Binding::Value);
        }
        visitor::walk_pattern(self, pattern);
    }
}

/// What is known of the module's own names.
#[derive(Debug, Default)]
pub(super) struct ModuleNames {
    bindings: Bindings,
    /// Where a name is bound for certain: the end of the first plain statement that binds it.
    bound_after: HashMap<Name, TextSize>,
    /// Names that some `del` in the file may take away again.
    deleted: HashSet<Name>,
    /// Whether the file gives `__name__` a value of its own.
    dunder_name_bound: bool,
    /// The packages whose names a star import brings, with the place of the last such import.
    stars: HashMap<&'static str, TextSize>,
}

impl ModuleNames {
    pub(super) fn of(module: &ModModule) -> Self {
        let mut rebindings = Rebindings::default();
        rebindings.visit_body(&module.body);
        let mut names = Self {
            bindings: Bindings::of_body(&module.body),
            deleted: rebindings.deleted,
            dunder_name_bound: rebindings.dunder_name_bound,
            ..Self::default()
        };
        for stmt in &module.body {
            names.note_plain_binding(stmt);
        }
        let mut stars = Stars(&mut names.stars);
        stars.visit_body(&module.body);
        names
    }

    fn note_plain_binding(&mut self, stmt: &Stmt) {
        let mut note = |name: &Name| {
            self.bound_after.entry(name.clone()).or_insert(stmt.end());
        };
        match stmt {
            Stmt::FunctionDef(function) => note(&function.name.id),
            Stmt::ClassDef(class) => note(&class.name.id),
            Stmt::Assign(assign) => {
                for target in &assign.targets {
                    if let Expr::Name(name) = target {
                        note(&name.id);
                    }
                }
            }
            Stmt::AnnAssign(assign) if assign.value.is_some() => {
                if let Expr::Name(name) = &*assign.target {
                    note(&name.id);
                }
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    note(&import_binding(alias).0);
                }
            }
            Stmt::ImportFrom(import) => {
                for (name, _) in import
                    .names
                    .iter()
                    .filter_map(|a| import_from_binding(import, a))
                {
                    note(&name);
                }
            }
            _ => {}
        }
    }

    /// Whether a read of `name` at `at` finds what the scene itself bound, not a builtin, and
    /// not what a star import brought if there is one.
    pub(super) fn is_own(&self, name: &Name, at: TextSize, star: Option<TextSize>) -> bool {
        !self.deleted.contains(name)
            && self
                .bound_after
                .get(name)
                .is_some_and(|end| *end <= at && star.is_none_or(|star| star < *end))
    }

    /// Whether the block of `if_` never runs in a render, whose `__name__` is not `__main__`.
    pub(super) fn is_dead(&self, if_: &StmtIf) -> bool {
        !self.dunder_name_bound && is_main_guard(if_)
    }

    pub(super) fn binding(&self, name: &Name) -> Option<&Binding> {
        self.bindings.names.get(name)
    }

    pub(super) fn bind(&mut self, name: &Name, binding: Binding) {
        self.bindings.bind(name, binding);
    }

    /// The star-imported packages, with the end of the last import of each.
    pub(super) fn stars(&self) -> impl Iterator<Item = (&'static str, TextSize)> {
        self.stars.iter().map(|(package, end)| (*package, *end))
    }
}

/// What may happen to names anywhere in the file.
#[derive(Default)]
struct Rebindings {
    deleted: HashSet<Name>,
    dunder_name_bound: bool,
}

impl Rebindings {
    fn bound(&mut self, name: &str) {
        self.dunder_name_bound |= name == "__name__";
    }
}

impl<'a> Visitor<'a> for Rebindings {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(function) => self.bound(&function.name),
            Stmt::ClassDef(class) => self.bound(&class.name),
            _ => {}
        }
        visitor::walk_stmt(self, stmt);
    }
    fn visit_parameter(&mut self, parameter: &'a Parameter) {
        self.bound(&parameter.name);
        visitor::walk_parameter(self, parameter);
    }
    fn visit_alias(&mut self, alias: &'a Alias) {
        self.bound(alias.asname.as_ref().unwrap_or(&alias.name));
    }
    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Name(ExprName { id, ctx, .. }) = expr {
            if *ctx != ExprContext::Load {
                self.bound(id);
            }
            if *ctx == ExprContext::Del {
                self.deleted.insert(id.clone());
            }
        }
        visitor::walk_expr(self, expr);
    }
    fn visit_pattern(&mut self, pattern: &'a Pattern) {
        if let Some(name) = pattern_name(pattern) {
            self.bound(name);
        }
        visitor::walk_pattern(self, pattern);
    }
    /// `except E as name:` deletes the name at its end.
    fn visit_except_handler(&mut self, handler: &'a ExceptHandler) {
        let ExceptHandler::ExceptHandler(inner) = handler;
        if let Some(name) = &inner.name {
            self.bound(name);
            self.deleted.insert(name.id.clone());
        }
        visitor::walk_except_handler(self, handler);
    }
}

/// The name that a pattern itself binds.
fn pattern_name(pattern: &Pattern) -> Option<&Identifier> {
    match pattern {
        Pattern::MatchAs(pattern) => pattern.name.as_ref(),
        Pattern::MatchStar(pattern) => pattern.name.as_ref(),
        Pattern::MatchMapping(pattern) => pattern.rest.as_ref(),
        Pattern::MatchValue(_)
        | Pattern::MatchSingleton(_)
        | Pattern::MatchSequence(_)
        | Pattern::MatchClass(_)
        | Pattern::MatchOr(_) => None,
    }
}

/// Whether `if_` is `if __name__ == "__main__":`, whose block does not run when Manim imports
/// the file.
pub(super) fn is_main_guard(if_: &StmtIf) -> bool {
    let Expr::Compare(compare) = &*if_.test else {
        return false;
    };
    let is_name = |expr: &Expr| matches!(expr, Expr::Name(name) if name.id.as_str() == "__name__");
    let is_main = |expr: &Expr| matches!(expr, Expr::StringLiteral(text) if text.value.to_str() == "__main__");
    match (&*compare.ops, &*compare.comparators) {
        ([CmpOp::Eq], [right]) => {
            is_name(&compare.left) && is_main(right) || is_main(&compare.left) && is_name(right)
        }
        _ => false,
    }
}

struct Stars<'m>(&'m mut HashMap<&'static str, TextSize>);

impl<'a> Visitor<'a> for Stars<'_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        if let Stmt::ImportFrom(import) = stmt
            && import.level == 0
            && let Some(module) = &import.module
            && import.names.iter().any(|alias| alias.name.as_str() == "*")
            && let package = module.split('.').next().unwrap_or_default()
            && let Some(known) = rules::MODULES.iter().find(|known| **known == package)
        {
            self.0.insert(known, stmt.end());
        }
        visitor::walk_stmt(self, stmt);
    }
    fn visit_expr(&mut self, _: &'a Expr) {}
}
