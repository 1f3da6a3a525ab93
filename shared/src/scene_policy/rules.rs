//! What a scene may use, as tables: one place to change when a real scene is refused.
//!
//! The names were taken from what `from manim import *` of Manim 0.22 brings, and from the
//! modules that the allowed modules carry as attributes (`enum.bltns` is `builtins`). Whatever
//! only reads a file is left out on purpose where the sandbox has nothing to read.

/// Modules a scene may import. Their submodules too, except those in [`is_denied_module`].
pub(super) const MODULES: &[&str] = &[
    "__future__",
    "abc",
    "array",
    "base64",
    "bisect",
    "calendar",
    "cmath",
    "collections",
    "colorsys",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "graphlib",
    "hashlib",
    "heapq",
    "html",
    "itertools",
    "json",
    "manim",
    "manimpango",
    "math",
    "networkx",
    "numbers",
    "numpy",
    "operator",
    "pprint",
    "random",
    "re",
    "scipy",
    "statistics",
    "string",
    "textwrap",
    "time",
    "typing",
    "typing_extensions",
    "unicodedata",
    "warnings",
];

/// Submodules that may be imported although their package may not.
const SUBMODULES_OF_OTHER_PACKAGES: &[&str] = &["pygments.style", "pygments.token"];

/// Members that may be imported although their module may not: `from types import …`.
const MEMBERS_OF_OTHER_MODULES: &[(&str, &str)] =
    &[("types", "MethodType"), ("types", "SimpleNamespace")];

/// Submodules of allowed modules that read files, run programs or load native code.
const DENIED_SUBMODULES: &[&str] = &[
    "manim._config",
    "manim.cli",
    "manim.gui",
    "manim.plugins",
    "manim.utils.caching",
    "manim.utils.commands",
    "manim.utils.docbuild",
    "manim.utils.file_ops",
    "manim.utils.hashing",
    "manim.utils.ipython_magic",
    "manim.utils.module_ops",
    "manim.utils.testing",
    "manim.utils.tex_file_writing",
    "manim.utils.typst_file_writing",
    "networkx.drawing",
    "networkx.readwrite",
    "numpy.compat",
    "numpy.ctypeslib",
    "numpy.distutils",
    "numpy.f2py",
    "numpy.lib.format",
    "numpy.lib.npyio",
    "numpy.testing",
    "scipy.datasets",
    "scipy.io",
    "scipy.misc",
];

/// Members of allowed modules that are refused wherever in the package they are found,
/// with what a scene can do instead.
const DENIED_MEMBERS: &[(&str, &[&str], &str)] = &[
    (
        "manim",
        &[
            "capture",
            "ensure_executable",
            "get_dir_layout",
            "get_ipython",
            "get_video_metadata",
            "guarantee_empty_existence",
            "guarantee_existence",
            "modify_atime",
            "open_file",
        ],
        "it starts programs or changes files, which a render does not do: delete this line",
    ),
    (
        "numpy",
        &[
            "DataSource",
            "fromfile",
            "fromregex",
            "genfromtxt",
            "load",
            "loadtxt",
            "memmap",
            "open_memmap",
            "save",
            "savetxt",
            "savez",
            "savez_compressed",
        ],
        "write the numbers into the scene, for example `np.array([…])`",
    ),
    (
        "networkx",
        &["nx_agraph", "nx_latex", "nx_pydot", "nx_pylab"],
        "show the graph with Manim: `Graph.from_networkx(g)`",
    ),
    (
        "operator",
        &["attrgetter", "methodcaller"],
        "use a lambda, for example `key=lambda item: item.name`",
    ),
    ("string", &["Formatter"], "use an f-string"),
    (
        "typing",
        &["ForwardRef", "get_type_hints"],
        "use the types themselves, not their text form",
    ),
    (
        "typing_extensions",
        &["ForwardRef", "evaluate_forward_ref", "get_type_hints"],
        "use the types themselves, not their text form",
    ),
    (
        "scipy",
        &["LowLevelCallable"],
        "pass a Python function or a lambda",
    ),
];

/// Public names under which allowed modules carry modules that are not allowed.
const CARRIED_MODULES: &[&str] = &[
    "ET",
    "ast",
    "asyncio",
    "atexit",
    "av",
    "bltns",
    "builtins",
    "cairo",
    "codecs",
    "copyreg",
    "ctypes",
    "fcntl",
    "gc",
    "glob",
    "importlib",
    "inspect",
    "io",
    "linecache",
    "logging",
    "marshal",
    "mmap",
    "moderngl",
    "multiprocessing",
    "os",
    "pathlib",
    "pickle",
    "pkgutil",
    "platform",
    "posix",
    "pty",
    "resource",
    "runpy",
    "shutil",
    "signal",
    "socket",
    "sp",
    "srt",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "traceback",
    "types",
    "zlib",
];

/// Submodules that share their name with one of [`CARRIED_MODULES`].
const NOT_CARRIED: &[&str] = &["manim.mobject.types", "scipy.signal"];

/// Modules that `from manim import *` binds, under the name it binds them to.
const MANIM_STAR_MODULES: &[(&str, &str)] = &[
    ("AS2700", "manim.utils.color.AS2700"),
    ("BS381", "manim.utils.color.BS381"),
    ("DVIPSNAMES", "manim.utils.color.DVIPSNAMES"),
    ("SVGNAMES", "manim.utils.color.SVGNAMES"),
    ("X11", "manim.utils.color.X11"),
    ("XKCD", "manim.utils.color.XKCD"),
    ("animation", "manim.animation"),
    ("camera", "manim.camera"),
    ("color", "manim.utils.color"),
    ("constants", "manim.constants"),
    ("core", "manim.utils.color.core"),
    ("data_structures", "manim.data_structures"),
    ("manager", "manim.manager"),
    ("manim_colors", "manim.utils.color.manim_colors"),
    ("mobject", "manim.mobject"),
    ("np", "numpy"),
    ("opengl", "manim.opengl"),
    ("plugins", "manim.plugins"),
    ("rate_functions", "manim.utils.rate_functions"),
    ("renderer", "manim.renderer"),
    ("scene", "manim.scene"),
    ("typing", "manim.typing"),
    ("unit", "manim.utils.unit"),
    ("utils", "manim.utils"),
];

/// Modules of Manim that hold colours, or functions of numbers, and next to nothing else. Which of them a scene means
/// may show while it renders: `getattr(manim_colors, name)`.
const PLAIN_MODULES: &[&str] = &[
    "manim.utils.color.AS2700",
    "manim.utils.color.BS381",
    "manim.utils.color.DVIPSNAMES",
    "manim.utils.color.SVGNAMES",
    "manim.utils.color.X11",
    "manim.utils.color.XKCD",
    "manim.utils.color.manim_colors",
    "manim.utils.rate_functions",
];

/// Enums that `from manim import *` binds.
const MANIM_ENUMS: &[&str] = &[
    "CapStyleType",
    "DefaultSectionType",
    "LineJointType",
    "RendererType",
];

/// Manim's own scene classes, all of which `from manim import *` binds.
pub(super) const SCENE_CLASSES: &[&str] = &[
    "LinearTransformationScene",
    "MovingCameraScene",
    "Scene",
    "SpecialThreeDScene",
    "ThreeDScene",
    "VectorScene",
    "ZoomedScene",
];

const NO_ASSETS_BY_PATH: &str = "a scene runs alone, without files or programs around it: write \
     its data into the scene, or send a file along and read it with `open(\"data.csv\")`, its name \
     written out";
const NO_CODE_FROM_TEXT: &str =
    "write the code out; for a formula pass a function, for example `lambda x: x**2`";
const NO_LOOKING_AROUND: &str = "keep the values in a dict of your own";

/// Builtins that no scene needs, with what to do instead.
const FORBIDDEN_BUILTINS: &[(&str, &str)] = &[
    (
        "__import__",
        "write an import statement at the top of the scene",
    ),
    (
        "breakpoint",
        "no debugger is attached to a render: delete this line",
    ),
    ("compile", NO_CODE_FROM_TEXT),
    ("delattr", "write `del object.name`"),
    ("eval", NO_CODE_FROM_TEXT),
    ("exec", NO_CODE_FROM_TEXT),
    ("exit", "return from `construct` instead"),
    (
        "getattr",
        "write `object.name`, or keep the values in a dict",
    ),
    ("globals", NO_LOOKING_AROUND),
    (
        "input",
        "nobody can answer while a scene renders: write the value into the scene",
    ),
    ("locals", NO_LOOKING_AROUND),
    ("memoryview", "use a list or a NumPy array"),
    ("open", NO_ASSETS_BY_PATH),
    ("quit", "return from `construct` instead"),
    (
        "setattr",
        "write `object.name = …`, or keep the values in a dict",
    ),
    ("vars", NO_LOOKING_AROUND),
];

/// Dunder names that may be read as plain names.
const PLAIN_DUNDER_NAMES: &[&str] = &[
    "__class__",
    "__debug__",
    "__doc__",
    "__file__",
    "__module__",
    "__name__",
    "__qualname__",
];

/// Dunder names that not even the scene itself may bind.
const RESERVED_DUNDER_NAMES: &[&str] = &[
    "__build_class__",
    "__builtins__",
    "__import__",
    "__loader__",
    "__spec__",
];

/// Dunder attributes that reach nothing beyond the object they are asked of.
const HARMLESS_DUNDERS: &[&str] = &[
    "__abs__",
    "__add__",
    "__all__",
    "__and__",
    "__author__",
    "__bool__",
    "__call__",
    "__ceil__",
    "__class__",
    "__complex__",
    "__contains__",
    "__copy__",
    "__deepcopy__",
    "__delitem__",
    "__divmod__",
    "__doc__",
    "__enter__",
    "__eq__",
    "__exit__",
    "__float__",
    "__floor__",
    "__floordiv__",
    "__format__",
    "__ge__",
    "__getitem__",
    "__gt__",
    "__hash__",
    "__iadd__",
    "__iand__",
    "__ifloordiv__",
    "__imatmul__",
    "__imod__",
    "__imul__",
    "__index__",
    "__init__",
    "__int__",
    "__invert__",
    "__ior__",
    "__ipow__",
    "__isub__",
    "__iter__",
    "__itruediv__",
    "__ixor__",
    "__le__",
    "__len__",
    "__length_hint__",
    "__lt__",
    "__main__",
    "__matmul__",
    "__missing__",
    "__mod__",
    "__module__",
    "__mul__",
    "__name__",
    "__ne__",
    "__neg__",
    "__new__",
    "__next__",
    "__or__",
    "__pos__",
    "__post_init__",
    "__pow__",
    "__qualname__",
    "__radd__",
    "__rand__",
    "__repr__",
    "__reversed__",
    "__rfloordiv__",
    "__rmatmul__",
    "__rmod__",
    "__rmul__",
    "__ror__",
    "__round__",
    "__rpow__",
    "__rsub__",
    "__rtruediv__",
    "__rxor__",
    "__setitem__",
    "__str__",
    "__sub__",
    "__truediv__",
    "__trunc__",
    "__version__",
    "__xor__",
];

/// Dunder attributes that are harmless on `super()` and `object` alone.
const DUNDERS_OF_SUPER: &[&str] = &[
    "__delattr__",
    "__getattr__",
    "__getattribute__",
    "__init_subclass__",
    "__set_name__",
    "__setattr__",
];

/// Attributes of frames, code objects and arrays that lead out of the scene, whatever the object.
const FORBIDDEN_ATTRIBUTES: &[&str] = &[
    "ag_await",
    "ag_code",
    "ag_frame",
    "co_code",
    "co_consts",
    "co_filename",
    "co_names",
    "co_varnames",
    "cr_await",
    "cr_code",
    "cr_frame",
    "cr_origin",
    "ctypes",
    "f_back",
    "f_builtins",
    "f_code",
    "f_globals",
    "f_locals",
    "f_trace",
    "func_code",
    "func_globals",
    "gi_code",
    "gi_frame",
    "gi_yieldfrom",
    "tb_frame",
    "tb_next",
    "tofile",
];

/// The first part of a dotted path: `numpy` of `numpy.random`.
fn root(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Whether the dotted `path` is `module`, or lies in it.
pub(super) fn lies_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether `path` lies in a package of which a scene may import something.
pub(super) fn is_in_allowed_package(path: &str) -> bool {
    MODULES.contains(&root(path))
}

/// Whether `path` may be imported as a module, its package being allowed at all.
pub(super) fn is_allowed_module(path: &str) -> bool {
    SUBMODULES_OF_OTHER_PACKAGES.contains(&path)
        || MODULES.contains(&root(path))
            && path.len() <= super::names::PATH_CHARS_MAX
            && !is_denied_module(path)
}

/// Whether `path` is, or lies in, a submodule that is refused although its package is allowed.
pub(super) fn is_denied_module(path: &str) -> bool {
    DENIED_SUBMODULES.iter().any(|denied| lies_in(path, denied))
}

/// Whether `from module import member` is fine although `module` is not allowed as a whole.
pub(super) fn is_allowed_member(module: &str, member: &str) -> bool {
    MEMBERS_OF_OTHER_MODULES.contains(&(module, member))
}

/// Whether the module at `path` is one that `from manim import *` binds, whatever its name
/// looks like.
pub(super) fn is_manim_star_module(path: &str) -> bool {
    MANIM_STAR_MODULES.iter().any(|(_, known)| *known == path)
}

/// Whether a scene may choose among the members of the module at `path` while it renders.
pub(super) fn is_plain_module(path: &str) -> bool {
    PLAIN_MODULES.contains(&path)
}

/// Whether `from manim import *` binds `name` to an enum.
pub(super) fn is_manim_enum(name: &str) -> bool {
    MANIM_ENUMS.contains(&name)
}

/// If `member` of the module at `path` is refused: what to do instead.
pub(super) fn denied_member(path: &str, member: &str) -> Option<&'static str> {
    let package = root(path);
    if package == "networkx" && (member.starts_with("read_") || member.starts_with("write_")) {
        return Some("build the graph in the scene, for example `nx.Graph([(1, 2), (2, 3)])`");
    }
    DENIED_MEMBERS
        .iter()
        .find(|(of, members, _)| *of == package && members.contains(&member))
        .map(|(_, _, hint)| *hint)
}

/// Whether `member` of the module at `path` is a module that may not be imported by itself.
pub(super) fn is_carried_module(path: &str, member: &str) -> bool {
    CARRIED_MODULES.contains(&member)
        && !NOT_CARRIED
            .iter()
            .any(|known| known.strip_suffix(member) == Some(&format!("{path}.")))
}

/// The path of the module that `from manim import *` binds to `name`.
pub(super) fn manim_star_module(name: &str) -> Option<&'static str> {
    MANIM_STAR_MODULES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, path)| *path)
}

/// If the builtin `name` is refused: what to do instead.
pub(super) fn forbidden_builtin(name: &str) -> Option<&'static str> {
    FORBIDDEN_BUILTINS
        .iter()
        .find(|(builtin, _)| *builtin == name)
        .map(|(_, hint)| *hint)
}

/// Whether `name` has the form `__x__`.
pub(super) fn is_dunder(name: &str) -> bool {
    name.len() > 4 && name.starts_with("__") && name.ends_with("__")
}

/// Whether the dunder `name` may be read as a plain name.
pub(super) fn is_plain_dunder_name(name: &str) -> bool {
    PLAIN_DUNDER_NAMES.contains(&name)
}

/// Whether the dunder `name` may not be bound by a scene.
pub(super) fn is_reserved_dunder_name(name: &str) -> bool {
    RESERVED_DUNDER_NAMES.contains(&name)
}

/// Whether the dunder attribute `name` is harmless on any object.
pub(super) fn is_harmless_dunder(name: &str) -> bool {
    HARMLESS_DUNDERS.contains(&name)
}

/// Whether the dunder attribute `name` is harmless on `super()` and `object`.
pub(super) fn is_dunder_of_super(name: &str) -> bool {
    DUNDERS_OF_SUPER.contains(&name)
}

/// Whether the attribute `name` is refused on any object.
pub(super) fn is_forbidden_attribute(name: &str) -> bool {
    FORBIDDEN_ATTRIBUTES.contains(&name)
}

/// Whether an attribute whose name starts with `prefix` can be a refused one.
///
/// `step_` cannot: `getattr(self, f"step_{n}")` is a common way to order a lesson.
pub(super) fn can_start_a_refused_attribute(prefix: &str) -> bool {
    prefix.is_empty()
        || prefix.starts_with('_')
        || FORBIDDEN_ATTRIBUTES
            .iter()
            .any(|name| name.starts_with(prefix) || prefix.starts_with(name))
}

/// What to do instead of importing `module`.
pub(super) fn import_hint(module: &str) -> String {
    let package = root(module);
    let text = match package {
        "os" | "pathlib" | "glob" | "shutil" | "io" | "tempfile" | "pickle" | "zipfile"
        | "sqlite3" | "fileinput" => NO_ASSETS_BY_PATH,
        "sys" | "argparse" | "site" => {
            "a scene has no command line and no module path of its own: delete what needs it"
        }
        "subprocess" | "socket" | "requests" | "urllib" | "http" | "urllib3" | "aiohttp"
        | "httpx" | "ssl" | "ftplib" | "smtplib" | "webbrowser" => {
            "a render starts no programs and has no network: write the data into the scene"
        }
        "threading" | "multiprocessing" | "asyncio" | "concurrent" | "queue" | "signal" => {
            "a scene runs in one thread: use updaters or `LaggedStart` to run things side by side"
        }
        "types" => "use a dataclass, or `from types import SimpleNamespace`",
        "logging" => "use `print(…)`, or Manim's own `logger`",
        "manimlib" | "manimgl" | "manim_imports_ext" | "big_ol_pile_of_manim_imports" => {
            "this scene is for ManimGL; the service renders Manim Community: `from manim import *`"
        }
        "colour" => "Manim has its own: `from manim import ManimColor`",
        "PIL" | "cv2" | "imageio" => {
            "give the picture's name to Manim: `ImageMobject(\"photo.png\")`"
        }
        "matplotlib" | "plotly" | "seaborn" => {
            "it is not installed: draw with Manim's `Axes`, `BarChart` or `NumberPlane`"
        }
        "pandas" | "sympy" | "sklearn" | "torch" | "tensorflow" | "shapely" | "numba" => {
            "it is not installed: use NumPy or SciPy, or write the result into the scene"
        }
        "manim_cad_drawing_utils"
        | "manim_chemistry"
        | "manim_circuit"
        | "manim_code_blocks"
        | "manim_data_structures"
        | "manim_editor"
        | "manim_fonts"
        | "manim_ml"
        | "manim_physics"
        | "manim_presentation"
        | "manim_revealjs"
        | "manim_rubikscube"
        | "manim_slides"
        | "manim_themes"
        | "manim_voiceover" => {
            return format!(
                "this plugin is not admitted here: use what Manim itself has, or ask the operator, who \
                 installs it where the workers have Manim and sets MANIMQ_SCENE_IMPORTS={package} for API and workers"
            );
        }
        _ => {
            return match nearest(package, MODULES.iter().copied()) {
                Some(near) if near != package => format!("did you mean `{near}`?"),
                _ => "a scene is one file with Manim, NumPy, SciPy, NetworkX and the parts of \
                      the standard library that only compute: if this is a file of your own, \
                      copy what you need from it into the scene"
                    .to_owned(),
            };
        }
    };
    text.to_owned()
}

/// The candidate most like `given`, if one is near enough to be meant.
pub(super) fn nearest<'a>(
    given: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let folded = given.to_lowercase();
    candidates
        .map(|candidate| {
            let likeness = strsim::jaro_winkler(&folded, &candidate.to_lowercase());
            (likeness, candidate)
        })
        // 0.84: `Intro` → `IntroScene` and `nmupy` → `numpy` pass, `foo` → `functools` does not.
        .filter(|(likeness, _)| *likeness >= 0.84)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_name_nothing_twice() {
        let tables = [
            MODULES,
            DENIED_SUBMODULES,
            CARRIED_MODULES,
            PLAIN_MODULES,
            MANIM_ENUMS,
            SCENE_CLASSES,
            HARMLESS_DUNDERS,
            FORBIDDEN_ATTRIBUTES,
        ];
        for table in tables {
            assert!(table.is_sorted_by(|one, other| one < other), "{table:?}");
        }
        for (_, members, _) in DENIED_MEMBERS {
            assert!(
                members.is_sorted_by(|one, other| one < other),
                "{members:?}"
            );
        }
    }

    #[test]
    fn a_refused_submodule_belongs_to_an_allowed_package() {
        for path in DENIED_SUBMODULES {
            assert!(is_in_allowed_package(path), "{path} needs no rule");
            assert!(!is_allowed_module(path) && !is_allowed_module(&format!("{path}.x")));
        }
        assert!(is_allowed_module("manim.utils.color"));
        assert!(is_allowed_module("pygments.token") && !is_allowed_module("pygments"));
    }

    #[test]
    fn a_carried_module_is_not_one_that_may_be_imported() {
        for name in CARRIED_MODULES {
            assert!(!MODULES.contains(name), "{name}");
            assert!(is_carried_module("manim", name));
        }
        assert!(!is_carried_module("scipy", "signal"));
        assert!(!is_carried_module("manim.mobject", "types"));
    }

    #[test]
    fn only_a_start_that_no_refused_attribute_has_is_safe() {
        for safe in ["step_", "x", "set_", "fx"] {
            assert!(!can_start_a_refused_attribute(safe), "{safe}");
        }
        for unsafe_ in ["", "_", "__glo", "f_", "f", "gi_frame"] {
            assert!(can_start_a_refused_attribute(unsafe_), "{unsafe_}");
        }
    }

    #[test]
    fn the_nearest_name_is_near_or_none() {
        let near = |given| nearest(given, ["IntroScene", "Outro", "Pythagoras"].into_iter());
        assert_eq!(near("introscene"), Some("IntroScene"));
        assert_eq!(near("Intro"), Some("IntroScene"));
        assert_eq!(near("Pythagors"), Some("Pythagoras"));
        assert_eq!(near("Zebra"), None);
    }
}
