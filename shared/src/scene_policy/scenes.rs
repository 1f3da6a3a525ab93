//! Which scenes a file defines, and which one is meant.
//!
//! Manim imports the file and takes the classes that derive from `Scene`. This module reads the
//! statements of the file in order and does the same with names only: it follows imports,
//! aliases and classes of the file, and says so when it cannot be sure.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use ruff_python_ast::name::Name;
use ruff_python_ast::visitor::{self, Visitor};
use ruff_python_ast::{
    ExceptHandler, Expr, ExprContext, ExprName, ModModule, Stmt, StmtClassDef, StmtImportFrom,
};
use ruff_python_parser::parse_expression;
use ruff_text_size::{Ranged, TextRange, TextSize};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::finding::{FindingCode, Findings};
use super::{names, rules, short};

/// The longest scene name, in characters.
pub const SCENE_NAME_CHARS_MAX: usize = 128;

/// The name of a scene class: a Python identifier of at most [`SCENE_NAME_CHARS_MAX`] characters,
/// in the form in which Python keeps it (NFKC).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String)]
pub struct SceneName(String);

impl SceneName {
    /// The name as Python spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SceneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SceneName> for String {
    fn from(name: SceneName) -> Self {
        name.0
    }
}

impl TryFrom<String> for SceneName {
    type Error = SceneSelectError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl FromStr for SceneName {
    type Err = SceneSelectError;

    /// Takes what Python takes as one plain name; keywords, paths and spaces are refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || SceneSelectError::InvalidName {
            requested: short(text),
        };
        // NFKC can make a name longer, so it is measured on both sides of it.
        let fits = |name: &str| {
            name.chars().take(SCENE_NAME_CHARS_MAX + 1).count() <= SCENE_NAME_CHARS_MAX
        };
        if !fits(text) {
            return Err(refused());
        }
        // The parser knows which characters a name may have, what NFKC makes of them, and which
        // words are keywords. The bound above keeps its recursion small.
        let parsed = parse_expression(text).map_err(|_| refused())?;
        match parsed.expr() {
            Expr::Name(name) if name.range().len().to_usize() == text.len() && fits(&name.id) => {
                Ok(Self(name.id.to_string()))
            }
            _ => Err(refused()),
        }
    }
}

/// A scene that a file defines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SceneClass {
    /// The class's name.
    pub name: SceneName,
    /// The line of its `class` statement, from 1.
    pub line: u32,
    /// Whether it has a `construct` of its own or from a class of the same file, or may have
    /// one from a class that is not in the file. Without one it draws nothing: it is a base for
    /// others.
    pub has_construct: bool,
}

/// Which scene of a file is rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectedScene {
    /// A scene that the file defines.
    Known(SceneName),
    /// A scene that was asked for and not found, in a file whose classes cannot all be told from
    /// the text. The renderer decides.
    Unconfirmed(SceneName),
    /// None was asked for and none was found, in such a file. The renderer takes the only one.
    Undetermined,
}

impl SelectedScene {
    /// The name to give to the renderer, if there is one.
    pub fn name(&self) -> Option<&SceneName> {
        match self {
            Self::Known(name) | Self::Unconfirmed(name) => Some(name),
            Self::Undetermined => None,
        }
    }
}

/// Why no scene could be selected. `Display` is shown to the user as it stands, with
/// [`SceneSelectError::hint`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SceneSelectError {
    /// The file defines no scene.
    #[error("the file defines no scene: no class in it derives from Manim's `Scene`")]
    NoScene,
    /// The file defines several scenes and none was asked for.
    #[error("the file defines {} scenes and none was named: {}", .names.len(), listed(.names))]
    Several {
        /// The scenes, in the file's order.
        names: Vec<SceneName>,
    },
    /// The file defines scenes, but not the one that was asked for.
    #[error("the file defines no scene `{requested}`; it defines {}", listed(.names))]
    NotFound {
        /// What was asked for.
        requested: SceneName,
        /// The scene whose name is most like it, if one is near.
        nearest: Option<SceneName>,
        /// The scenes, in the file's order.
        names: Vec<SceneName>,
    },
    /// What was asked for is no name of a class.
    #[error(
        "`{requested}` is not the name of a scene: a name has letters, digits and `_` only, \
         starts with no digit, and has at most {SCENE_NAME_CHARS_MAX} characters"
    )]
    InvalidName {
        /// What was asked for, cut to a length that can be shown.
        requested: String,
    },
}

impl SceneSelectError {
    /// The stable name of the reason, for programs: `no-scene`, `several-scenes`,
    /// `scene-not-found`, `invalid-scene-name`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoScene => "no-scene",
            Self::Several { .. } => "several-scenes",
            Self::NotFound { .. } => "scene-not-found",
            Self::InvalidName { .. } => "invalid-scene-name",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::NoScene => "start with `class MyScene(Scene):` and put the drawing into its \
                              `construct` method"
                .to_owned(),
            Self::Several { names } => match names.first() {
                Some(first) => format!("name one of them, for example `{first}`"),
                None => "name one of them".to_owned(),
            },
            Self::NotFound {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::NotFound { nearest: None, .. } => "name one of the scenes in the file".to_owned(),
            Self::InvalidName { requested } => {
                if requested.ends_with(".py") || requested.contains(['/', '\\']) {
                    "this looks like a path: give the name of the class, such as `MyScene`"
                        .to_owned()
                } else {
                    "give the name after `class`, such as `MyScene`".to_owned()
                }
            }
        }
    }
}

/// At most ten names, and how many more there are.
fn listed(names: &[SceneName]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<String> = names
        .iter()
        .take(SHOWN)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The scenes of a file, and whether these are certainly all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Scenes {
    pub(super) classes: Vec<SceneClass>,
    pub(super) certain: bool,
}

/// Selects `requested` among `scenes`, or the only one.
pub(super) fn select(
    scenes: &[SceneClass],
    certain: bool,
    requested: Option<&str>,
) -> Result<SelectedScene, SceneSelectError> {
    let names = |of: &mut dyn Iterator<Item = &SceneClass>| -> Vec<SceneName> {
        of.map(|scene| scene.name.clone()).collect()
    };
    if let Some(requested) = requested {
        let requested: SceneName = requested.parse()?;
        return if scenes.iter().any(|scene| scene.name == requested) {
            Ok(SelectedScene::Known(requested))
        } else if !certain {
            Ok(SelectedScene::Unconfirmed(requested))
        } else if scenes.is_empty() {
            Err(SceneSelectError::NoScene)
        } else {
            let all = scenes.iter().map(|scene| scene.name.as_str());
            let nearest = rules::nearest(requested.as_str(), all)
                .and_then(|near| scenes.iter().find(|scene| scene.name.as_str() == near))
                .map(|scene| scene.name.clone());
            Err(SceneSelectError::NotFound {
                requested,
                nearest,
                names: names(&mut scenes.iter()),
            })
        };
    }
    // Base classes without `construct` draw nothing: whoever has one lesson on top of such a base
    // need not say which of the two is meant.
    let mut drawing = names(&mut scenes.iter().filter(|scene| scene.has_construct));
    if drawing.is_empty() {
        drawing = names(&mut scenes.iter());
    }
    match drawing.len() {
        0 if certain => Err(SceneSelectError::NoScene),
        0 => Ok(SelectedScene::Undetermined),
        1 => Ok(SelectedScene::Known(drawing.remove(0))),
        _ => Err(SceneSelectError::Several { names: drawing }),
    }
}

/// Finds the scenes of a file.
pub(super) fn find(findings: &mut Findings<'_>, module: &ModModule) -> Scenes {
    let mut reader = Reader {
        certain: true,
        ..Reader::default()
    };
    reader.read(&module.body);
    if let Some(range) = reader.not_imported {
        findings.deny(
            FindingCode::MissingImport,
            range,
            "Manim is not imported, so this class of it has no meaning here",
            Some("add `from manim import *` as the first line".to_owned()),
        );
    }
    let mut classes: Vec<(TextSize, Name, bool)> = reader
        .known
        .into_iter()
        .filter_map(|(name, kind)| match kind {
            Kind::SceneClass { at, has_construct } => Some((at, name, has_construct)),
            _ => None,
        })
        .collect();
    classes.sort();
    let classes = classes
        .into_iter()
        // A name is too long only in a hostile file; it can be rendered by no request.
        .filter(|(_, name, _)| name.chars().count() <= SCENE_NAME_CHARS_MAX)
        .map(|(at, name, has_construct)| SceneClass {
            name: SceneName(name.to_string()),
            line: findings.position(at).0,
            has_construct,
        })
        .collect();
    Scenes {
        classes,
        certain: reader.certain,
    }
}

/// What a name of the module stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// One of Manim's scene classes.
    ManimScene,
    /// A scene class of this file, defined at `at`.
    SceneClass { at: TextSize, has_construct: bool },
    /// A class of this file that is no scene but may add `construct` to one.
    OtherClass { has_construct: bool },
    /// A module, or a part of one, by its path.
    Module(String),
    /// A function of this file; whether it can return a scene class.
    Function { makes_scenes: bool },
    /// Surely no scene class.
    Other,
    /// Cannot be told.
    Unknown,
}

#[derive(Default)]
struct Reader {
    known: HashMap<Name, Kind>,
    manim_star: bool,
    unknown_star: bool,
    certain: bool,
    not_imported: Option<TextRange>,
}

impl Reader {
    fn read(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.read_stmt(stmt);
        }
    }

    fn read_stmt(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::ClassDef(class) => {
                let kind = self.class(class);
                self.known.insert(class.name.id.clone(), kind);
            }
            Stmt::FunctionDef(function) => {
                let mut inner = InnerClasses::default();
                inner.visit_body(&function.body);
                let makes_scenes = inner.found;
                self.known
                    .insert(function.name.id.clone(), Kind::Function { makes_scenes });
            }
            Stmt::Import(import) => {
                for alias in &import.names {
                    let (name, path) = names::import_binding(alias);
                    self.known.insert(name, Kind::Module(path));
                }
            }
            Stmt::ImportFrom(import) => self.import_from(import),
            Stmt::Assign(assign) => {
                let kind = self.value(&assign.value);
                for target in &assign.targets {
                    self.assign(target, &kind);
                }
            }
            Stmt::AnnAssign(assign) => {
                if let Some(value) = &assign.value {
                    let kind = self.value(value);
                    self.assign(&assign.target, &kind);
                }
            }
            Stmt::Delete(delete) => {
                for target in &delete.targets {
                    if let Expr::Name(name) = target {
                        self.known.remove(&name.id);
                    }
                }
            }
            Stmt::If(if_) => {
                // Manim imports the file, so this block does not run.
                if !names::is_main_guard(if_) {
                    self.read(&if_.body);
                }
                for clause in &if_.elif_else_clauses {
                    self.read(&clause.body);
                }
            }
            Stmt::For(for_) => {
                self.assign(&for_.target, &Kind::Unknown);
                self.read(&for_.body);
                self.read(&for_.orelse);
            }
            Stmt::While(while_) => {
                self.read(&while_.body);
                self.read(&while_.orelse);
            }
            Stmt::With(with) => {
                for target in with
                    .items
                    .iter()
                    .filter_map(|item| item.optional_vars.as_deref())
                {
                    self.assign(target, &Kind::Unknown);
                }
                self.read(&with.body);
            }
            Stmt::Try(try_) => {
                self.read(&try_.body);
                for ExceptHandler::ExceptHandler(handler) in &try_.handlers {
                    self.read(&handler.body);
                }
                self.read(&try_.orelse);
                self.read(&try_.finalbody);
            }
            Stmt::Match(match_) => {
                for case in &match_.cases {
                    self.read(&case.body);
                }
            }
            Stmt::Return(_)
            | Stmt::TypeAlias(_)
            | Stmt::AugAssign(_)
            | Stmt::Raise(_)
            | Stmt::Assert(_)
            | Stmt::Global(_)
            | Stmt::Nonlocal(_)
            | Stmt::Expr(_)
            | Stmt::Pass(_)
            | Stmt::Break(_)
            | Stmt::Continue(_)
            | Stmt::IpyEscapeCommand(_) => {}
        }
    }

    fn import_from(&mut self, import: &StmtImportFrom) {
        let module = import.module.as_ref().map_or("", |module| module.as_str());
        for alias in &import.names {
            if alias.name.as_str() == "*" {
                match package(module) {
                    _ if import.level > 0 => self.unknown_star = true,
                    "manim" => self.manim_star = true,
                    known if rules::MODULES.contains(&known) => {}
                    _ => self.unknown_star = true,
                }
                continue;
            }
            let name = alias.asname.as_ref().unwrap_or(&alias.name);
            let kind = if import.level > 0 {
                Kind::Unknown
            } else {
                member(module, alias.name.as_str())
            };
            self.known.insert(name.id.clone(), kind);
        }
    }

    fn assign(&mut self, target: &Expr, kind: &Kind) {
        match target {
            Expr::Name(name) => {
                // A second name for a class adds no scene: Manim goes by the class's own name.
                let kind = match kind {
                    Kind::SceneClass {
                        has_construct: false,
                        ..
                    } => Kind::ManimScene,
                    Kind::SceneClass {
                        has_construct: true,
                        ..
                    } => Kind::Unknown,
                    other => other.clone(),
                };
                self.known.insert(name.id.clone(), kind);
            }
            Expr::Tuple(tuple) => tuple
                .elts
                .iter()
                .for_each(|e| self.assign(e, &Kind::Unknown)),
            Expr::List(list) => list
                .elts
                .iter()
                .for_each(|e| self.assign(e, &Kind::Unknown)),
            _ => {}
        }
    }

    /// What an expression stands for, as the base of a class or the value of a name.
    fn value(&mut self, expr: &Expr) -> Kind {
        match expr {
            Expr::Name(name) => self.name(name),
            Expr::Attribute(attribute) => match self.value(&attribute.value) {
                Kind::Module(path) => member(&path, attribute.attr.as_str()),
                _ => Kind::Unknown,
            },
            // `Generic[T]`
            Expr::Subscript(subscript) => self.value(&subscript.value),
            Expr::Call(call) => {
                let makes_scenes = match self.value(&call.func) {
                    Kind::Function { makes_scenes } => makes_scenes,
                    // An object, not a class.
                    Kind::ManimScene | Kind::SceneClass { .. } | Kind::OtherClass { .. } => false,
                    Kind::Module(_) | Kind::Unknown => false,
                    Kind::Other => is_type_of_three(call),
                };
                if makes_scenes {
                    self.certain = false;
                }
                Kind::Unknown
            }
            Expr::If(if_) => {
                let (one, other) = (self.value(&if_.body), self.value(&if_.orelse));
                if one == other { one } else { Kind::Unknown }
            }
            _ if expr.is_literal_expr() => Kind::Other,
            _ => Kind::Unknown,
        }
    }

    fn name(&mut self, name: &ExprName) -> Kind {
        if let Some(known) = self.known.get(&name.id) {
            return known.clone();
        }
        let (at, name) = (name.range, &name.id);
        if rules::SCENE_CLASSES.contains(&name.as_str()) {
            if !self.manim_star && !self.unknown_star {
                self.not_imported.get_or_insert(at);
            }
            return Kind::ManimScene;
        }
        if self.manim_star
            && let Some(path) = rules::manim_star_module(name)
        {
            return Kind::Module(path.to_owned());
        }
        // A name that nothing binds is a builtin or an error of the scene, unless a star import
        // that nobody can look into brings it.
        if self.unknown_star {
            Kind::Unknown
        } else {
            Kind::Other
        }
    }

    fn class(&mut self, class: &StmtClassDef) -> Kind {
        let mut is_scene = false;
        let mut has_construct = defines_construct(&class.body);
        let mut unknown_bases = false;
        let bases = class
            .arguments
            .as_ref()
            .map_or(&[][..], |arguments| &arguments.args);
        for base in bases {
            match self.value(base) {
                Kind::ManimScene => is_scene = true,
                Kind::SceneClass {
                    has_construct: inherited,
                    ..
                } => {
                    is_scene = true;
                    has_construct |= inherited;
                }
                Kind::OtherClass {
                    has_construct: inherited,
                } => has_construct |= inherited,
                Kind::Other | Kind::Function { .. } => {}
                Kind::Module(path) if rules::MODULES.contains(&package(&path)) => {}
                Kind::Module(_) => unknown_bases = true,
                Kind::Unknown if names_a_scene(base) => is_scene = true,
                Kind::Unknown => unknown_bases = true,
            }
        }
        if unknown_bases {
            has_construct = true;
        }
        if is_scene {
            Kind::SceneClass {
                at: class.name.range.start(),
                has_construct,
            }
        } else if unknown_bases {
            self.certain = false;
            Kind::Unknown
        } else {
            Kind::OtherClass { has_construct }
        }
    }
}

/// Looks for scene classes that a function defines and could return.
#[derive(Default)]
struct InnerClasses {
    found: bool,
}

impl<'a> Visitor<'a> for InnerClasses {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        // The base may be a parameter, so any base counts.
        if let Stmt::ClassDef(class) = stmt {
            self.found |= class
                .arguments
                .as_ref()
                .is_some_and(|bases| !bases.args.is_empty());
        }
        visitor::walk_stmt(self, stmt);
    }

    fn visit_expr(&mut self, expr: &'a Expr) {
        if let Expr::Call(call) = expr {
            self.found |= is_type_of_three(call);
        }
        visitor::walk_expr(self, expr);
    }
}

/// `type(name, bases, namespace)` makes a class.
fn is_type_of_three(call: &ruff_python_ast::ExprCall) -> bool {
    matches!(&*call.func, Expr::Name(name) if name.id.as_str() == "type")
        && call.arguments.args.len() == 3
}

/// What `member` of the module at `path` is.
fn member(path: &str, member: &str) -> Kind {
    let known_package = rules::MODULES.contains(&package(path));
    if rules::SCENE_CLASSES.contains(&member) && package(path) == "manim" {
        return Kind::ManimScene;
    }
    let full = format!("{path}.{member}");
    if !names::may_be_module(&full) {
        return if known_package {
            Kind::Other
        } else {
            Kind::Unknown
        };
    }
    // A lowercase member is a module, a function or a value; only a module leads to classes.
    if full.len() > names::PATH_CHARS_MAX {
        Kind::Unknown
    } else {
        Kind::Module(full)
    }
}

fn package(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Whether the last part of a base that leads outside of the file is the name of a Manim scene.
fn names_a_scene(base: &Expr) -> bool {
    match base {
        Expr::Name(name) => rules::SCENE_CLASSES.contains(&name.id.as_str()),
        Expr::Attribute(attribute) => rules::SCENE_CLASSES.contains(&attribute.attr.as_str()),
        _ => false,
    }
}

/// Whether a class body binds `construct`, as a method or otherwise.
fn defines_construct(body: &[Stmt]) -> bool {
    struct Finder(bool);
    impl<'a> Visitor<'a> for Finder {
        fn visit_stmt(&mut self, stmt: &'a Stmt) {
            match stmt {
                Stmt::FunctionDef(function) => self.0 |= function.name.as_str() == "construct",
                Stmt::ClassDef(_) => {}
                _ => visitor::walk_stmt(self, stmt),
            }
        }
        fn visit_expr(&mut self, expr: &'a Expr) {
            if let Expr::Name(name) = expr {
                self.0 |= name.id.as_str() == "construct" && name.ctx == ExprContext::Store;
            }
            visitor::walk_expr(self, expr);
        }
    }
    let mut finder = Finder(false);
    finder.visit_body(body);
    finder.0
}
