//! Where files go: exactly where `manim render` of Manim 0.22 would put them
//! (`manim/_config/output_plan.py`, `default.cfg`).

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use manimq_shared::job::{Format, OutputSpec};
use sha2::{Digest as _, Sha256};

/// The version in the names of stills and GIFs that the user did not name.
const MANIM_VERSION: &str = "0.22.0";

/// How many films of one name are kept apart.
pub const NUMBER_MAX: u32 = 999;

/// Bytes of a file that are read at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// What decides where a file goes.
#[derive(Debug, Clone)]
pub struct Place {
    /// `--media_dir`.
    pub media_dir: PathBuf,
    /// The source's name without `.py`.
    pub stem: PathBuf,
    /// `-o`.
    pub output_file: Option<PathBuf>,
    /// What a film is called that no scene of the user's names. Another film of that name is not replaced.
    pub film: Option<String>,
}

impl Place {
    /// The path for a scene's file. `format` is what the file is, which is not what was asked for
    /// if a scene without animations became a picture.
    #[must_use]
    pub fn path(&self, scene: &str, output: &OutputSpec, format: Format) -> PathBuf {
        let scene = self.film.as_deref().unwrap_or(scene);
        let folder = match format {
            Format::Png => self.media_dir.join("images").join(&self.stem),
            Format::Mp4 | Format::Webm | Format::Mov | Format::Gif => {
                let (_, height, fps) = output.size();
                self.media_dir
                    .join("videos")
                    .join(&self.stem)
                    .join(format!("{height}p{fps}"))
            }
        };
        let name = match (&self.output_file, format) {
            (Some(name), _) => name.clone(),
            (None, Format::Png | Format::Gif) => {
                PathBuf::from(format!("{scene}_ManimCE_v{MANIM_VERSION}"))
            }
            (None, Format::Mp4 | Format::Webm | Format::Mov) => PathBuf::from(scene),
        };
        folder.join(with_extension(&name, format.as_str()))
    }
}

/// What tells one file's content from another's.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hex.
    pub sha256: &'a str,
}

impl Content<'_> {
    /// Whether the file at `path` has this content. It is read only if its length is the right one.
    fn is_at(self, path: &Path) -> io::Result<bool> {
        if std::fs::metadata(path)?.len() != self.bytes {
            return Ok(false);
        }
        let mut file = File::open(path)?;
        let (mut digest, mut block) = (Sha256::new(), vec![0; BLOCK_BYTES]);
        loop {
            match file.read(&mut block)? {
                0 => break,
                n => digest.update(&block[..n]),
            }
        }
        Ok(hex::encode(digest.finalize()).eq_ignore_ascii_case(self.sha256))
    }
}

/// `path`, or where another file is there already, the first of `path-2`, `path-3` … where none is; none if all up to
/// `number_max` are taken. `content` is that of the file that is to be put there: the same one may be replaced.
#[must_use]
pub fn not_another(path: &Path, content: Content<'_>, number_max: u32) -> Option<PathBuf> {
    let is_free = |path: &PathBuf| match content.is_at(path) {
        Ok(is_same) => is_same,
        Err(error) => error.kind() == ErrorKind::NotFound,
    };
    let stem = path.file_stem().unwrap_or_default();
    let numbered = (2..=number_max).map(|n| {
        let mut name = stem.to_owned();
        name.push(format!("-{n}"));
        if let Some(extension) = path.extension() {
            name.push(".");
            name.push(extension);
        }
        path.with_file_name(name)
    });
    std::iter::once(path.to_owned())
        .chain(numbered)
        .find(is_free)
}

/// The path for the film of the `n`-th section, from 0, of the film at `path`. The command adds the
/// section's name, which a result does not tell.
#[must_use]
pub fn section(path: &Path, n: usize) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("_{n:04}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name("sections").join(name)
}

/// The path for the subtitles of the film at `path`: beside it, where players look for them.
#[must_use]
pub fn subtitles(path: &Path) -> PathBuf {
    path.with_extension("srt")
}

/// Adds the extension unless it is there: `a` and `a.mp4` become `a.mp4`, `v1.2` becomes `v1.2.mp4`.
/// The name of a still or GIF holds the version's dots, so what is there is never replaced.
fn with_extension(path: &Path, extension: &str) -> PathBuf {
    if path.extension().is_some_and(|e| e == extension) {
        return path.to_owned();
    }
    let mut name = OsString::from(path);
    name.push(".");
    name.push(extension);
    name.into()
}

/// Whether `-o` names a file at all.
#[must_use]
pub fn is_file_name(path: &Path) -> bool {
    path.file_name().is_some() && !path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use manimq_shared::job::{Aspect, FrameRate, Quality};

    fn place(output_file: Option<&str>) -> Place {
        Place {
            media_dir: "./media".into(),
            stem: "two".into(),
            output_file: output_file.map(Into::into),
            film: None,
        }
    }

    /// Each path was printed by `manim render` 0.22.0.
    #[test]
    fn files_go_where_manim_puts_them() {
        let low = OutputSpec {
            quality: Quality::Low,
            ..OutputSpec::default()
        };
        let at = |name, format| place(name).path("A", &low, format);
        for (name, format, path) in [
            (None, Format::Mp4, "./media/videos/two/480p15/A.mp4"),
            (None, Format::Mov, "./media/videos/two/480p15/A.mov"),
            (
                None,
                Format::Gif,
                "./media/videos/two/480p15/A_ManimCE_v0.22.0.gif",
            ),
            (
                None,
                Format::Png,
                "./media/images/two/A_ManimCE_v0.22.0.png",
            ),
            (Some("img"), Format::Png, "./media/images/two/img.png"),
            (
                Some("sub/x.y"),
                Format::Webm,
                "./media/videos/two/480p15/sub/x.y.webm",
            ),
            (
                Some("z.mp4"),
                Format::Mp4,
                "./media/videos/two/480p15/z.mp4",
            ),
            (Some("/tmp/abs/z"), Format::Mp4, "/tmp/abs/z.mp4"),
        ] {
            assert_eq!(at(name, format), PathBuf::from(path));
        }
        let tall = OutputSpec {
            fps: Some(FrameRate::whole(24)),
            aspect: Aspect::Tall,
            ..low.clone()
        };
        assert_eq!(
            place(None).path("A", &tall, Format::Mp4),
            PathBuf::from("./media/videos/two/854p24/A.mp4")
        );
        let exact = OutputSpec {
            width: Some(640),
            height: Some(480),
            fps: FrameRate::new(29.97),
            ..low
        };
        assert_eq!(
            place(None).path("A", &exact, Format::Mp4),
            PathBuf::from("./media/videos/two/480p29.97/A.mp4")
        );
    }

    #[test]
    fn another_film_of_the_same_name_is_not_replaced_and_the_same_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            media_dir: folder.path().into(),
            film: Some("bubble-sort-5-2".to_owned()),
            ..place(None)
        };
        let path = place.path("sorting", &OutputSpec::default(), Format::Mp4);
        assert!(path.starts_with(folder.path()) && path.ends_with("bubble-sort-5-2.mp4"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let at = |content: &str, bytes: usize| {
            let content = Content {
                bytes: bytes as u64,
                sha256: &hex::encode(Sha256::digest(content)),
            };
            not_another(&path, content, 3)
        };
        let put = |content: &str| {
            let path = at(content, content.len())?;
            std::fs::write(&path, content).unwrap();
            path.file_name().unwrap().to_str().map(str::to_owned)
        };
        for (content, name) in [
            ("one", Some("bubble-sort-5-2.mp4")),
            ("one", Some("bubble-sort-5-2.mp4")),
            ("two", Some("bubble-sort-5-2-2.mp4")),
            ("three", Some("bubble-sort-5-2-3.mp4")),
            ("two", Some("bubble-sort-5-2-2.mp4")),
            // All that there may be are taken.
            ("four", None),
        ] {
            assert_eq!(put(content).as_deref(), name, "{content}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        // A file of another length is another one, whatever its content would come to.
        assert_eq!(at("one", 4), None);
    }

    #[test]
    fn films_of_sections_lie_in_a_folder_beside_the_film() {
        assert_eq!(
            section(Path::new("media/videos/two/480p15/A.mp4"), 2),
            PathBuf::from("media/videos/two/480p15/sections/A_0002.mp4")
        );
    }

    #[test]
    fn subtitles_lie_beside_the_film_under_its_name() {
        for (film, srt) in [
            (
                "media/videos/two/480p15/A.mp4",
                "media/videos/two/480p15/A.srt",
            ),
            ("out/x.y.webm", "out/x.y.srt"),
        ] {
            assert_eq!(subtitles(Path::new(film)), PathBuf::from(srt));
        }
    }

    #[test]
    fn a_name_must_be_one() {
        for good in ["a", "a/b", "/x/y.mp4"] {
            assert!(is_file_name(Path::new(good)), "{good}");
        }
        for bad in ["", "/", "..", "a/..", "out/"] {
            assert!(!is_file_name(Path::new(bad)), "{bad}");
        }
    }
}
