//! The rules, applied to a tree.

use ruff_python_ast::name::Name;
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{
    Comprehension, Expr, ExprAttribute, ExprCall, ExprContext, ExprName, Identifier, ModModule,
    Operator, Parameters, PatternKeyword, Stmt, StmtClassDef, StmtFunctionDef, StmtImport,
    StmtImportFrom, StringLiteral, TypeParams,
};
use ruff_python_parser::parse_string_annotation;
use ruff_text_size::{Ranged, TextRange, TextSize};

use super::finding::{FindingCode, Findings};
use super::imports::SceneImports;
use super::names::{self, Binding, Bindings, ModuleNames};
use super::{rules, short, syntax};
use crate::job::check_file_name;

/// Whether a call of `open` reads a file of the scene's folder: its name and how it is opened are
/// written out, and nothing else is computed. Whether the file is there shows when it runs.
fn reads_a_file_sent_along(call: &ExprCall) -> bool {
    let text = |expr: &Expr| match expr {
        Expr::StringLiteral(literal) => Some(literal.value.to_str().to_owned()),
        _ => None,
    };
    let reading = |expr: &Expr| text(expr).is_some_and(|mode| matches!(&*mode, "r" | "rt" | "rb"));
    let named = |expr: &Expr| text(expr).is_some_and(|name| check_file_name(&name).is_ok());
    let (file, mode) = match &*call.arguments.args {
        [file] => (file, None),
        [file, mode] => (file, Some(mode)),
        _ => return false,
    };
    named(file)
        && mode.is_none_or(reading)
        && call.arguments.keywords.iter().all(|keyword| {
            let name = keyword.arg.as_ref().map(Identifier::as_str);
            match name {
                Some("mode") => mode.is_none() && reading(&keyword.value),
                Some("encoding" | "newline" | "errors") => text(&keyword.value).is_some(),
                _ => false,
            }
        })
}

/// Reports everything in `module` that the policy does not like, and what only Python's compiler,
/// not its grammar, refuses.
pub(super) fn walk(
    findings: &mut Findings<'_>,
    imports: &SceneImports,
    text: &str,
    module: &ModModule,
) {
    let mut walker = Walker {
        findings,
        imports,
        text,
        module: ModuleNames::of(module),
        scopes: Vec::new(),
        loops: 0,
        in_text_annotation: false,
    };
    walker.visit_body(&module.body);
}

/// The longest chain `a.b.c…` that is followed from a module.
const ATTRIBUTE_STEPS_MAX: usize = 10;

struct Walker<'w, 's> {
    findings: &'w mut Findings<'s>,
    /// What scenes may import beside what every scene may.
    imports: &'w SceneImports,
    text: &'w str,
    module: ModuleNames,
    /// The functions and classes around the current node, outermost first.
    scopes: Vec<Scope>,
    /// The loops around the current statement within its function.
    loops: u32,
    in_text_annotation: bool,
}

struct Scope {
    kind: ScopeKind,
    bindings: Bindings,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ScopeKind {
    Function { is_async: bool },
    Lambda,
    Comprehension,
    TypeParams,
    Class,
}

/// What a plain name stands for where it is read.
enum Resolved {
    Module(String),
    /// The scene's own.
    Own,
    /// A builtin, or what a star import brought.
    Outside,
}

impl Walker<'_, '_> {
    fn resolve(&self, name: &Name, at: TextSize) -> Resolved {
        for (depth, scope) in self.scopes.iter().enumerate().rev() {
            if scope.bindings.globals.contains(name) {
                break;
            }
            match (scope.bindings.names.get(name), scope.kind) {
                (None, _) => {}
                // A class body reads the names around it until it binds its own, and its methods
                // never see its names: only what it says of modules counts, and only in itself.
                (Some(binding), ScopeKind::Class) => {
                    if let Binding::Module(path) = binding
                        && depth + 1 == self.scopes.len()
                    {
                        return Resolved::Module(path.clone());
                    }
                }
                (Some(Binding::Module(path)), _) => return Resolved::Module(path.clone()),
                (Some(Binding::Value), _) => return Resolved::Own,
            }
        }
        let star = self.star_that_brings(name);
        let own = self.module.is_own(name, at, star.map(|(_, end)| end));
        // `from math import exp as eval` makes `eval` the scene's own only from there on.
        let refused_before =
            rules::forbidden_builtin(name).is_some() || matches!(star, Some((None, _)));
        match self.module.binding(name) {
            Some(Binding::Module(path)) if own || !refused_before => {
                return Resolved::Module(path.clone());
            }
            _ if own => return Resolved::Own,
            _ => {}
        }
        match star {
            Some((Some(path), _)) => Resolved::Module(path.to_owned()),
            Some((None, _)) | None => Resolved::Outside,
        }
    }

    /// The star import that binds `name` to a module, or to something refused: the path of the
    /// module if it is one, and the import's place.
    fn star_that_brings(&self, name: &str) -> Option<(Option<&'static str>, TextSize)> {
        self.module.stars().find_map(|(package, end)| {
            let path = (package == "manim")
                .then(|| rules::manim_star_module(name))
                .flatten();
            (path.is_some() || rules::denied_member(package, name).is_some()).then_some((path, end))
        })
    }

    /// The dotted path of the module, or the part of one, that `expr` stands for.
    fn path_of(&self, expr: &Expr) -> Option<String> {
        match expr {
            Expr::Name(name) => match self.resolve(&name.id, name.start()) {
                Resolved::Module(path) => Some(path),
                Resolved::Own | Resolved::Outside => None,
            },
            Expr::Attribute(attribute) => {
                // Each attribute of a chain asks for the path of all before it, so a long chain
                // is left at once: no module lies that deep.
                let steps = std::iter::successors(Some(expr), |step| match step {
                    Expr::Attribute(inner) => Some(&*inner.value),
                    _ => None,
                });
                if steps.take(ATTRIBUTE_STEPS_MAX + 1).count() > ATTRIBUTE_STEPS_MAX {
                    return None;
                }
                let path = format!("{}.{}", self.path_of(&attribute.value)?, attribute.attr);
                names::may_be_module(&path).then_some(path)
            }
            Expr::Named(named) => self.path_of(&named.value),
            _ => None,
        }
    }

    /// Binds in the scope around the current node; a comprehension has none of its own for that.
    fn bind(&mut self, name: &Name, binding: Binding) {
        let scope = self
            .scopes
            .iter_mut()
            .rfind(|scope| scope.kind != ScopeKind::Comprehension);
        match scope {
            Some(scope) => scope.bindings.bind(name, binding),
            None => self.module.bind(name, binding),
        }
    }

    /// `name = module` makes `name` another word for the module.
    fn note_alias(&mut self, target: &Expr, value: &Expr) {
        if let Expr::Name(name) = target
            && matches!(value, Expr::Name(_) | Expr::Attribute(_) | Expr::Named(_))
            && let Some(path) = self.path_of(value)
        {
            self.bind(&name.id, Binding::Module(path));
        }
    }

    fn within(&mut self, kind: ScopeKind, bindings: Bindings, visit: impl FnOnce(&mut Self)) {
        self.scopes.push(Scope { kind, bindings });
        let loops = std::mem::take(&mut self.loops);
        visit(self);
        self.loops = loops;
        self.scopes.pop();
    }

    fn visit_function(&mut self, function: &StmtFunctionDef) {
        for decorator in &function.decorator_list {
            self.visit_decorator(decorator);
        }
        self.check_bound_name(&function.name.id, function.name.range);
        self.visit_defaults(&function.parameters);
        self.with_type_params(function.type_params.as_deref(), |walker| {
            for parameter in &*function.parameters {
                walker.check_bound_name(&parameter.name().id, parameter.name().range);
                if let Some(annotation) = parameter.annotation() {
                    walker.visit_annotation(annotation);
                }
            }
            if let Some(returns) = &function.returns {
                walker.visit_annotation(returns);
            }
            let mut bindings = Bindings::of_body(&function.body);
            bindings.add_parameters(&function.parameters);
            let kind = ScopeKind::Function {
                is_async: function.is_async,
            };
            walker.within(kind, bindings, |walker| walker.visit_body(&function.body));
        });
        self.check_parameters(&function.parameters);
    }

    fn visit_class(&mut self, class: &StmtClassDef) {
        for decorator in &class.decorator_list {
            self.visit_decorator(decorator);
        }
        self.check_bound_name(&class.name.id, class.name.range);
        self.with_type_params(class.type_params.as_deref(), |walker| {
            if let Some(arguments) = &class.arguments {
                walker.visit_arguments(arguments);
            }
            let bindings = Bindings::of_body(&class.body);
            walker.within(ScopeKind::Class, bindings, |walker| {
                walker.visit_body(&class.body)
            });
        });
    }

    fn with_type_params(&mut self, params: Option<&TypeParams>, visit: impl FnOnce(&mut Self)) {
        match params {
            None => visit(self),
            Some(params) => {
                let mut bindings = Bindings::default();
                bindings.add_type_params(params);
                self.within(ScopeKind::TypeParams, bindings, |walker| {
                    walker.visit_type_params(params);
                    visit(walker);
                });
            }
        }
    }

    fn visit_defaults(&mut self, parameters: &Parameters) {
        for default in parameters
            .iter()
            .filter_map(|parameter| parameter.default())
        {
            self.visit_expr(default);
        }
    }

    /// Python evaluates the first `iter` outside of the comprehension, everything else inside.
    fn visit_comprehension_of(&mut self, generators: &[Comprehension], elements: &[&Expr]) {
        let mut bindings = Bindings::default();
        for generator in generators {
            bindings.add_target(&generator.target);
        }
        if let Some(first) = generators.first() {
            self.visit_expr(&first.iter);
        }
        let loops = self.loops;
        self.within(ScopeKind::Comprehension, bindings, |walker| {
            walker.loops = loops;
            for (index, generator) in generators.iter().enumerate() {
                if index > 0 {
                    walker.visit_expr(&generator.iter);
                }
                walker.visit_expr(&generator.target);
                for condition in &generator.ifs {
                    walker.visit_expr(condition);
                }
            }
            for element in elements {
                walker.visit_expr(element);
            }
        });
    }

    fn check_parameters(&mut self, parameters: &Parameters) {
        let mut seen = std::collections::HashSet::new();
        for parameter in parameters {
            let name = parameter.name();
            if !seen.insert(&name.id) {
                let message = format!("the parameter `{}` appears twice", short(&name.id));
                self.syntax_error(name.range, message, "give each parameter a name of its own");
            }
        }
    }

    fn syntax_error(&mut self, range: TextRange, message: impl Into<String>, hint: &str) {
        self.findings.deny(
            FindingCode::SyntaxError,
            range,
            message,
            Some(hint.to_owned()),
        );
    }

    /// The function around the current node, unless a class body or nothing is in between.
    fn function_around(&self) -> Option<ScopeKind> {
        self.scopes
            .iter()
            .rev()
            .map(|scope| scope.kind)
            .find(|kind| !matches!(kind, ScopeKind::Comprehension | ScopeKind::TypeParams))
            .filter(|kind| *kind != ScopeKind::Class)
    }

    fn visit_import(&mut self, import: &StmtImport) {
        for alias in &import.names {
            let path = alias.name.as_str();
            if !self.is_allowed_module(path) {
                self.deny_import(path, alias.name.range);
            } else {
                self.check_path(path, alias.name.range);
            }
            if let Some(name) = &alias.asname {
                self.check_bound_name(&name.id, name.range);
            }
        }
    }

    fn visit_import_from(&mut self, import: &StmtImportFrom) {
        if import.level > 0 {
            self.findings.deny(
                FindingCode::RelativeImport,
                import.range,
                "a relative import has nothing to import from: a scene is one file",
                Some("move what is needed into the scene".to_owned()),
            );
            return;
        }
        let Some(module) = &import.module else { return };
        let path = module.as_str();
        let allowed = self.is_allowed_module(path);
        let mut module_denied = false;
        for alias in &import.names {
            let member = alias.name.as_str();
            if let Some(name) = &alias.asname {
                self.check_bound_name(&name.id, name.range);
            }
            if allowed {
                if member != "*" {
                    self.check_member(path, member, alias.name.range);
                }
            } else if !rules::is_allowed_member(path, member)
                && !self.imports.admit(&format!("{path}.{member}"))
                && !module_denied
            {
                module_denied = true;
                self.deny_import(path, module.range);
            }
        }
        if allowed {
            self.check_path(path, module.range);
        }
    }

    fn is_allowed_module(&self, path: &str) -> bool {
        rules::is_allowed_module(path) || self.imports.admit(path)
    }

    fn deny_import(&mut self, path: &str, range: TextRange) {
        let hint = if rules::is_in_allowed_package(path) {
            "this part reads files, starts programs or loads native code, which a scene cannot do"
                .to_owned()
        } else {
            rules::import_hint(path)
        };
        self.findings.deny(
            FindingCode::ImportNotAllowed,
            range,
            format!("import of `{}` is not allowed", short(path)),
            Some(hint),
        );
    }

    /// Each step of an imported dotted path, as if it were an attribute.
    fn check_path(&mut self, path: &str, range: TextRange) {
        let steps = path.match_indices('.').map(|(dot, _)| dot);
        for dot in steps {
            let member = path[dot + 1..].split('.').next().unwrap_or_default();
            if self.check_member(&path[..dot], member, range) {
                break;
            }
        }
    }

    /// Whether `member` of the module at `path` is refused; reports it.
    fn check_member(&mut self, path: &str, member: &str, range: TextRange) -> bool {
        // A module that is not allowed is reported where it is imported, and only there.
        if !rules::is_in_allowed_package(path) || rules::is_denied_module(path) {
            return false;
        }
        let full = format!("{path}.{member}");
        let shown = short(&full);
        let (code, message, hint) = if rules::is_dunder(member) {
            return false;
        } else if member.starts_with('_') {
            (
                FindingCode::PrivateMember,
                format!("`{shown}` is private to its module"),
                "use the public names of the module".to_owned(),
            )
        } else if let Some(hint) = rules::denied_member(path, member) {
            (
                FindingCode::MemberNotAllowed,
                format!("`{shown}` is not allowed"),
                hint.to_owned(),
            )
        } else if rules::is_denied_module(&full) {
            (
                FindingCode::MemberNotAllowed,
                format!("`{shown}` is not allowed"),
                "this part reads files, starts programs or loads native code, which a scene \
                 cannot do"
                    .to_owned(),
            )
        } else if rules::is_carried_module(path, member) {
            (
                FindingCode::MemberNotAllowed,
                format!("`{shown}` leads to a module that is not allowed"),
                rules::import_hint(member),
            )
        } else {
            return false;
        };
        self.findings.deny(code, range, message, Some(hint));
        true
    }

    /// An attribute name, however it is spelled: `x.name`, `case X(name=…)`, `getattr(x, "name")`.
    fn check_attribute(&mut self, name: &str, receiver: Option<&Expr>, range: TextRange) {
        if rules::is_dunder(name) {
            let of_super = receiver.is_some_and(is_super_or_object);
            // What an object itself was given: no more than `self.name` says one by one.
            let of_self = name == "__dict__" && receiver.is_some_and(|object| self.is_self(object));
            if rules::is_harmless_dunder(name)
                || (of_super && rules::is_dunder_of_super(name))
                || of_self
            {
                return;
            }
            self.findings.deny(
                FindingCode::DunderAttribute,
                range,
                format!("the attribute `{}` is not allowed", short(name)),
                Some(dunder_attribute_hint(name).to_owned()),
            );
        } else if rules::is_forbidden_attribute(name) {
            self.findings.deny(
                FindingCode::ForbiddenAttribute,
                range,
                format!("the attribute `{}` is not allowed", short(name)),
                Some(
                    "it belongs to Python's inner life or to files: no drawing needs it".to_owned(),
                ),
            );
        } else if let Some(path) = receiver.and_then(|receiver| self.path_of(receiver)) {
            self.check_member(&path, name, range);
        }
    }

    /// A name that is read.
    fn check_name(&mut self, name: &Name, range: TextRange) {
        let text = name.as_str();
        if rules::is_dunder(text) {
            // `__radd__ = __add__` in a class: the names of the interpreter are reserved, so any
            // other that the scene binds is its own.
            let bound_by_scene = self.module.binding(name).is_some()
                || self
                    .scopes
                    .iter()
                    .any(|scope| scope.bindings.names.contains_key(name));
            let reserved = rules::is_reserved_dunder_name(text);
            if reserved || !(rules::is_plain_dunder_name(text) || bound_by_scene) {
                let hint = rules::forbidden_builtin(text).unwrap_or("no drawing needs it");
                self.deny_name(text, range, hint);
            }
            return;
        }
        let builtin = rules::forbidden_builtin(text);
        if builtin.is_none() && self.star_that_brings(text).is_none() {
            return;
        }
        match self.resolve(name, range.start()) {
            Resolved::Own => {}
            Resolved::Module(path) => {
                // `plugins` of `from manim import *` is refused by itself, `np` is not.
                if rules::is_denied_module(&path) {
                    self.deny_name(text, range, "a scene has no use for this part of Manim");
                }
            }
            Resolved::Outside => {
                let star = self
                    .module
                    .stars()
                    .find_map(|(module, _)| rules::denied_member(module, text));
                if let Some(hint) = builtin.or(star) {
                    self.deny_name(text, range, hint);
                }
            }
        }
    }

    fn deny_name(&mut self, name: &str, range: TextRange, hint: &str) {
        self.findings.deny(
            FindingCode::ForbiddenName,
            range,
            format!("`{}` is not allowed in a scene", short(name)),
            Some(hint.to_owned()),
        );
    }

    /// A name that is bound: only the hooks of the interpreter are refused.
    fn check_bound_name(&mut self, name: &Name, range: TextRange) {
        if rules::is_reserved_dunder_name(name) {
            self.deny_name(name, range, "choose another name");
        }
    }

    fn is_builtin(&self, expr: &Expr, name: &str) -> bool {
        matches!(expr, Expr::Name(read) if read.id.as_str() == name
            && matches!(self.resolve(&read.id, read.start()), Resolved::Outside))
    }

    /// Returns whether the called name itself still has to be looked at.
    fn check_call(&mut self, call: &ExprCall) -> bool {
        let attribute_call = ["getattr", "setattr", "delattr"]
            .into_iter()
            .find(|name| self.is_builtin(&call.func, name));
        if let Some(function) = attribute_call {
            self.check_attribute_call(function, call);
            return false;
        }
        if let Some(module) = module_looked_through(call)
            && self.is_plain_module(module)
        {
            self.findings.warn(
                FindingCode::ComputedAttribute,
                call.range(),
                "this takes whatever the module has while rendering",
                Some("name what you mean, and a check can tell whether it is there".to_owned()),
            );
            return false;
        }
        if self.is_builtin(&call.func, "open") && reads_a_file_sent_along(call) {
            return false;
        }
        if let Expr::Attribute(method) = &*call.func
            && matches!(method.attr.as_str(), "format" | "format_map")
        {
            self.check_format(method, call);
        }
        if self.path_of(&call.func).as_deref() == Some("time.sleep") {
            self.findings.warn(
                FindingCode::RealTimeSleep,
                call.range(),
                "`time.sleep` holds up the render and leaves no trace in the film",
                Some("use `self.wait(seconds)`".to_owned()),
            );
        }
        true
    }

    /// `getattr(object, name)` is as good as `object.name` if the name can be known.
    fn check_attribute_call(&mut self, function: &str, call: &ExprCall) {
        let (object, name) = match &*call.arguments.args {
            [object, name, ..] if !object.is_starred_expr() && !name.is_starred_expr() => {
                (object, name)
            }
            _ => {
                let hint = rules::forbidden_builtin(function).unwrap_or_default();
                self.deny_name(function, call.func.range(), hint);
                return;
            }
        };
        match known_start(name) {
            KnownStart::Whole(name_text) => {
                self.check_attribute(&name_text, Some(object), name.range());
            }
            KnownStart::Prefix(prefix) if !rules::can_start_a_refused_attribute(&prefix) => {}
            // `getattr(manim_colors, f"{color}_{shade}")`.
            KnownStart::Prefix(prefix)
                if !(prefix.is_empty() && self.reads_manims(function, object)) =>
            {
                self.deny_computed(function, name.range());
            }
            // `for key, value in kwargs.items(): setattr(self, key, value)` is old, and common.
            KnownStart::Prefix(_) | KnownStart::Unknown
                if self.is_self(object) || self.reads_manims(function, object) =>
            {
                self.findings.warn(
                    FindingCode::ComputedAttribute,
                    name.range(),
                    format!("`{function}` with a name that is only known while rendering"),
                    Some("a dict of your own says the same and can be checked".to_owned()),
                );
            }
            KnownStart::Prefix(_) | KnownStart::Unknown => {
                self.deny_computed(function, name.range());
            }
        }
    }

    fn deny_computed(&mut self, function: &str, range: TextRange) {
        self.findings.deny(
            FindingCode::ComputedAttribute,
            range,
            format!("`{function}` needs an attribute name that can be read in the scene"),
            Some(
                "write the name as a text that starts with a letter, such as \
                 `getattr(self, f\"step_{n}\")`, or keep the values in a dict"
                    .to_owned(),
            ),
        );
    }

    /// Whether `function` reads what is Manim's own, and no more: constants, functions, members of an enum.
    fn reads_manims(&self, function: &str, object: &Expr) -> bool {
        let is_enum = || {
            matches!(object, Expr::Name(name) if rules::is_manim_enum(&name.id)
                && matches!(self.resolve(&name.id, name.start()), Resolved::Outside))
        };
        function == "getattr" && (self.is_plain_module(object) || is_enum())
    }

    fn is_plain_module(&self, expr: &Expr) -> bool {
        self.path_of(expr)
            .is_some_and(|path| rules::is_plain_module(&path))
    }

    fn is_self(&self, expr: &Expr) -> bool {
        matches!(expr, Expr::Name(name) if name.id.as_str() == "self"
            && matches!(self.resolve(&name.id, name.start()), Resolved::Own))
    }

    /// Replacement fields can walk attributes: `"{0.__class__}".format(x)`.
    fn check_format(&mut self, method: &ExprAttribute, call: &ExprCall) {
        let template = match &*method.value {
            Expr::StringLiteral(text) => text,
            // `str.format(template, …)`
            Expr::Name(name) if name.id.as_str() == "str" => match call.arguments.args.first() {
                Some(Expr::StringLiteral(text)) => text,
                _ => return,
            },
            _ => return,
        };
        let suspicious = replacement_fields(template.value.to_str())
            .into_iter()
            .find(|name| {
                rules::is_forbidden_attribute(name)
                    || rules::is_dunder(name) && !rules::is_harmless_dunder(name)
            });
        if let Some(name) = suspicious {
            self.findings.deny(
                FindingCode::FormatField,
                template.range(),
                format!("this format string reads the attribute `{}`", short(&name)),
                Some("format plain values: `f\"{value}\"`".to_owned()),
            );
        }
    }

    fn check_string(&mut self, literal: &StringLiteral) {
        if let Some(word) = dunder_word(&literal.value) {
            self.findings.warn(
                FindingCode::DunderString,
                literal.range,
                format!("this text contains `{}`", short(word)),
                Some("nothing is wrong if it is only shown".to_owned()),
            );
        }
    }

    /// An annotation in quotes can be evaluated (`functools.singledispatch` does): look into it.
    fn visit_text_annotation(&mut self, literal: &StringLiteral) {
        if self.in_text_annotation || syntax::too_deep_to_parse(&literal.value).is_some() {
            return;
        }
        let Ok(parsed) = parse_string_annotation(self.text, literal) else {
            return;
        };
        if syntax::too_deep_expr(parsed.expr()) {
            return;
        }
        self.in_text_annotation = true;
        self.visit_expr(parsed.expr());
        self.in_text_annotation = false;
    }

    fn visit_loop_body(&mut self, body: &[Stmt], orelse: &[Stmt]) {
        self.loops += 1;
        self.visit_body(body);
        self.loops -= 1;
        self.visit_body(orelse);
    }
}

impl<'a> Visitor<'a> for Walker<'_, '_> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::FunctionDef(function) => self.visit_function(function),
            Stmt::ClassDef(class) => self.visit_class(class),
            Stmt::Import(import) => self.visit_import(import),
            Stmt::ImportFrom(import) => self.visit_import_from(import),
            // A text that stands alone is a docstring or a comment.
            Stmt::Expr(alone) if alone.value.is_string_literal_expr() => {}
            Stmt::Assign(assign) => {
                visitor::walk_stmt(self, stmt);
                for target in &assign.targets {
                    self.note_alias(target, &assign.value);
                    // `__match_args__` names the attributes that `case X(a, b)` reads.
                    if matches!(target, Expr::Name(name) if name.id.as_str() == "__match_args__") {
                        let mut names = TextsIn(Vec::new());
                        names.visit_expr(&assign.value);
                        for (name, range) in names.0 {
                            self.check_attribute(&name, None, range);
                        }
                    }
                }
            }
            Stmt::AnnAssign(assign) => {
                visitor::walk_stmt(self, stmt);
                if let Some(value) = &assign.value {
                    self.note_alias(&assign.target, value);
                }
            }
            Stmt::For(for_) => {
                self.visit_expr(&for_.iter);
                self.visit_expr(&for_.target);
                self.visit_loop_body(&for_.body, &for_.orelse);
            }
            Stmt::While(while_) => {
                self.visit_expr(&while_.test);
                self.visit_loop_body(&while_.body, &while_.orelse);
            }
            // A way to run the file by hand, often with `os.system("manim …")`: a render passes it by.
            Stmt::If(if_) if self.module.is_dead(if_) => {
                let policy = self.findings.set_policy(false);
                self.visit_body(&if_.body);
                self.findings.set_policy(policy);
                for clause in &if_.elif_else_clauses {
                    self.visit_elif_else_clause(clause);
                }
            }
            Stmt::Break(_) | Stmt::Continue(_) if self.loops == 0 => {
                let word = if stmt.is_break_stmt() {
                    "break"
                } else {
                    "continue"
                };
                let message = format!("`{word}` stands outside of a loop");
                self.syntax_error(stmt.range(), message, "use it only inside `for` or `while`");
            }
            Stmt::Return(_) => {
                if !matches!(self.scopes.last(), Some(scope) if scope.kind != ScopeKind::Class) {
                    self.syntax_error(
                        stmt.range(),
                        "`return` stands outside of a function",
                        "indent it so that it belongs to a function",
                    );
                }
                visitor::walk_stmt(self, stmt);
            }
            _ => visitor::walk_stmt(self, stmt),
        }
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Name(ExprName { id, ctx, range, .. }) => match ctx {
                ExprContext::Load => self.check_name(id, *range),
                ExprContext::Store | ExprContext::Del => self.check_bound_name(id, *range),
                ExprContext::Invalid => {}
            },
            Expr::Attribute(attribute) => {
                let Identifier { id, range, .. } = &attribute.attr;
                self.check_attribute(id, Some(&attribute.value), *range);
                visitor::walk_expr(self, expr);
            }
            Expr::Call(call) => {
                if self.check_call(call) {
                    self.visit_expr(&call.func);
                }
                self.visit_arguments(&call.arguments);
            }
            Expr::Named(named) => {
                visitor::walk_expr(self, expr);
                self.note_alias(&named.target, &named.value);
            }
            Expr::Lambda(lambda) => {
                let mut bindings = Bindings::of_lambda(&lambda.body);
                if let Some(parameters) = &lambda.parameters {
                    self.visit_defaults(parameters);
                    self.check_parameters(parameters);
                    bindings.add_parameters(parameters);
                }
                self.within(ScopeKind::Lambda, bindings, |walker| {
                    walker.visit_expr(&lambda.body)
                });
            }
            Expr::ListComp(comp) => self.visit_comprehension_of(&comp.generators, &[&comp.elt]),
            Expr::SetComp(comp) => self.visit_comprehension_of(&comp.generators, &[&comp.elt]),
            Expr::Generator(comp) => self.visit_comprehension_of(&comp.generators, &[&comp.elt]),
            Expr::DictComp(comp) => {
                let mut elements: Vec<&Expr> = comp.key.as_deref().into_iter().collect();
                elements.push(&comp.value);
                self.visit_comprehension_of(&comp.generators, &elements);
            }
            Expr::Yield(_) | Expr::YieldFrom(_) => {
                if self.function_around().is_none() {
                    self.syntax_error(
                        expr.range(),
                        "`yield` stands outside of a function",
                        "indent it so that it belongs to a function",
                    );
                }
                visitor::walk_expr(self, expr);
            }
            Expr::Await(_) => {
                if self.function_around() != Some(ScopeKind::Function { is_async: true }) {
                    self.syntax_error(
                        expr.range(),
                        "`await` stands outside of an async function",
                        "Manim's scenes are not async: call the function without `await`",
                    );
                }
                visitor::walk_expr(self, expr);
            }
            _ => visitor::walk_expr(self, expr),
        }
    }

    fn visit_annotation(&mut self, expr: &'a Expr) {
        match expr {
            Expr::StringLiteral(text) if text.value.as_slice().len() == 1 => {
                self.visit_text_annotation(&text.value.as_slice()[0]);
            }
            _ => self.visit_expr(expr),
        }
    }

    fn visit_pattern_keyword(&mut self, keyword: &'a PatternKeyword) {
        self.check_attribute(&keyword.attr.id, None, keyword.attr.range);
        visitor::walk_pattern_keyword(self, keyword);
    }

    fn visit_string_literal(&mut self, literal: &'a StringLiteral) {
        self.check_string(literal);
    }
}

/// The texts in an expression.
struct TextsIn(Vec<(String, TextRange)>);

impl<'a> Visitor<'a> for TextsIn {
    fn visit_string_literal(&mut self, literal: &'a StringLiteral) {
        self.0.push((literal.value.to_string(), literal.range));
    }
}

/// What can be said of a text before the scene runs.
enum KnownStart {
    Whole(String),
    Prefix(String),
    Unknown,
}

fn known_start(expr: &Expr) -> KnownStart {
    match expr {
        Expr::StringLiteral(text) => KnownStart::Whole(text.value.to_str().to_owned()),
        Expr::FString(text) => {
            // Through the parts of `"a" f"b{c}"`, up to the first replacement field.
            let mut prefix = String::new();
            for part in text.value.iter() {
                match part {
                    ruff_python_ast::FStringPart::Literal(literal) => prefix.push_str(literal),
                    ruff_python_ast::FStringPart::FString(fstring) => {
                        for element in &fstring.elements {
                            match element.as_literal() {
                                Some(literal) => prefix.push_str(&literal.value),
                                None => return KnownStart::Prefix(prefix),
                            }
                        }
                    }
                }
            }
            KnownStart::Whole(prefix)
        }
        Expr::BinOp(sum) if sum.op == Operator::Add => match known_start(&sum.left) {
            KnownStart::Whole(left) if !left.is_empty() => KnownStart::Prefix(left),
            KnownStart::Whole(_) => known_start(&sum.right),
            other => other,
        },
        Expr::BinOp(percent) if percent.op == Operator::Mod => up_to(&percent.left, '%'),
        Expr::Call(call) => match &*call.func {
            Expr::Attribute(method) if method.attr.as_str() == "format" => {
                up_to(&method.value, '{')
            }
            _ => KnownStart::Unknown,
        },
        _ => KnownStart::Unknown,
    }
}

/// The part of a literal template before its first placeholder.
fn up_to(template: &Expr, placeholder: char) -> KnownStart {
    match template {
        Expr::StringLiteral(text) => {
            let text = text.value.to_str();
            KnownStart::Prefix(text.split(placeholder).next().unwrap_or(text).to_owned())
        }
        _ => KnownStart::Unknown,
    }
}

/// The module of `module.__dict__.items()`, `keys` or `values`: a look at what there is. It can reach the module's
/// builtins, as ARCHITECTURE.md says.
fn module_looked_through(call: &ExprCall) -> Option<&Expr> {
    let Expr::Attribute(view) = &*call.func else {
        return None;
    };
    match &*view.value {
        Expr::Attribute(dict)
            if dict.attr.as_str() == "__dict__"
                && matches!(view.attr.as_str(), "items" | "keys" | "values")
                && call.arguments.is_empty() =>
        {
            Some(&dict.value)
        }
        _ => None,
    }
}

fn is_super_or_object(expr: &Expr) -> bool {
    match expr {
        Expr::Call(call) => matches!(&*call.func, Expr::Name(name) if name.id.as_str() == "super"),
        Expr::Name(name) => name.id.as_str() == "object",
        _ => false,
    }
}

fn dunder_attribute_hint(name: &str) -> &'static str {
    match name {
        "__dict__" => "keep the values in a dict of your own",
        "__base__" | "__bases__" | "__mro__" | "__subclasses__" => {
            "name the class you mean, or use `isinstance`"
        }
        "__code__" | "__globals__" | "__closure__" | "__builtins__" | "__self__" | "__func__" => {
            "no drawing needs to look inside a function"
        }
        _ => "no drawing needs it; plain methods and operators do the same",
    }
}

/// The attribute names in the replacement fields of a format string.
fn replacement_fields(template: &str) -> Vec<String> {
    let mut names = Vec::new();
    for field in template.split('{').skip(1) {
        let field = field.split(['}', ':', '!']).next().unwrap_or(field);
        names.extend(field.split(['.', '[', ']']).skip(1).map(str::to_owned));
    }
    names
}

/// The first word in `text` that is, or could become part of, a dunder name that is refused as an
/// attribute. `__init__` in a lesson about Python is none.
fn dunder_word(text: &str) -> Option<&str> {
    if !text.contains("__") {
        return None;
    }
    text.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .find(|word| {
            (word.starts_with("__") || word.ends_with("__"))
                && word.contains(|c: char| c != '_')
                && !rules::is_harmless_dunder(word)
                && !rules::is_plain_dunder_name(word)
        })
}
