//! What comes out is what the `manim` command makes.

use manimq_worker::sandbox::{
    ArtifactRole, Encoder, FailureClass, OutputFormat, OutputSpec, RenderEvent, Stage,
};

use crate::support::*;

fn same_frames_as_the_command(file: &str, flags: &[&str], output: OutputSpec) {
    let path = scene_path(file);
    let (_folder, bare) = bare_manim(&path, flags);
    let mut request = request_for(&std::fs::read_to_string(&path).expect("a scene"));
    request.output = output;
    let rendered = render(request).expect("a film");
    let folder = tempfile::tempdir().expect("a folder");
    let ours = frame_sums(&save(&rendered, folder.path()));
    assert!(!ours.is_empty());
    tell(&format!("{file} {flags:?}"));
    assert_same_frames(&ours, &frame_sums(&bare));
    assert_eq!(rendered.artifacts[0].frames, ours.len() as u64);
}

fn manim_low() -> OutputSpec {
    OutputSpec {
        encoder: Encoder::Manim,
        ..OutputSpec::default()
    }
}

#[test]
fn shapes_have_the_frames_of_the_bare_command() {
    same_frames_as_the_command("shapes.py", &["-ql"], manim_low());
}

#[test]
fn text_and_axes_have_the_frames_of_the_bare_command() {
    same_frames_as_the_command("text_axes.py", &["-ql"], manim_low());
}

#[test]
fn formulas_have_the_frames_of_the_bare_command() {
    same_frames_as_the_command("mathtex.py", &["-ql"], manim_low());
}

#[test]
fn formulas_of_xelatex_have_the_frames_of_the_bare_command() {
    same_frames_as_the_command("xelatex.py", &["-ql"], manim_low());
}

#[test]
fn exact_sizes_and_rates_have_the_frames_of_the_bare_command() {
    let output = OutputSpec {
        width: 400,
        height: 600,
        fps: 12.5,
        ..manim_low()
    };
    same_frames_as_the_command("shapes.py", &["-r", "400,600", "--fps", "12.5"], output);
}

#[test]
fn scenes_with_cameras_of_their_own_have_the_frames_of_the_bare_command() {
    for scene in ["Zoomed", "Linear", "Moving"] {
        let path = scene_path("cameras.py");
        let (_folder, bare) = bare_manim(&path, &["-ql", scene]);
        for encoder in [Encoder::Manim, Encoder::Fast] {
            let mut request = request_for(&std::fs::read_to_string(&path).expect("a scene"));
            request.scene = Some(scene.to_owned());
            request.output.encoder = encoder;
            let rendered = render(request).expect("a film");
            let folder = tempfile::tempdir().expect("a folder");
            let film = save(&rendered, folder.path());
            if encoder == Encoder::Manim {
                assert_same_frames(&frame_sums(&film), &frame_sums(&bare));
            } else {
                let likeness = ssim(&film, &bare);
                // A grid of lines a pixel wide looks less alike: the command's own film has lost some of it.
                assert!(likeness >= 0.98, "{scene}: {likeness}");
            }
        }
    }
}

#[test]
fn the_largest_picture_has_room_in_the_memory_of_a_job() {
    let path = scene_path("moment.py");
    for encoder in [Encoder::Manim, Encoder::Fast] {
        let mut request = request_for(&std::fs::read_to_string(&path).expect("a scene"));
        request.output = OutputSpec {
            width: 3840,
            height: 2160,
            fps: 60.0,
            encoder,
            ..OutputSpec::default()
        };
        let rendered = render(request).expect("a film");
        let film = &rendered.artifacts[0];
        assert_eq!((film.width, film.height), (3840, 2160), "{encoder:?}");
        tell(&format!(
            "4K, {encoder:?}: {} MiB at most",
            rendered.usage.peak_memory_bytes >> 20
        ));
    }
}

#[test]
fn portrait_and_square_frames_are_those_of_the_bare_command() {
    for (width, height) in [(480, 854), (480, 480)] {
        let output = OutputSpec {
            width,
            height,
            ..manim_low()
        };
        let size = format!("{width},{height}");
        same_frames_as_the_command("shapes.py", &["-r", &size, "--fps", "15"], output);
    }
}

#[test]
fn what_a_scene_sets_in_config_has_the_frames_of_the_bare_command() {
    same_frames_as_the_command("framed.py", &["-ql"], manim_low());
    let portrait = OutputSpec {
        width: 480,
        height: 854,
        ..manim_low()
    };
    let flags = ["-r", "480,854", "--fps", "15"];
    same_frames_as_the_command("framed.py", &flags, portrait);
}

#[test]
fn films_of_sections_have_the_frames_of_the_bare_command() {
    let path = scene_path("sections.py");
    let source = std::fs::read_to_string(&path).expect("a scene");
    let formats: [(&[&str], OutputFormat); 3] = [
        (&[], OutputFormat::Mp4),
        (&["--format", "mov"], OutputFormat::Mov),
        (&["--format", "webm"], OutputFormat::Webm),
    ];
    for (flags, format) in formats {
        let flags = [&["-ql", "--save_sections"], flags].concat();
        let (folder, _) = bare_manim(&path, &flags);
        let bare = films_of_sections(folder.path());
        assert!(bare.len() >= 2, "{bare:?}");
        for encoder in [Encoder::Manim, Encoder::Fast] {
            let mut request = request_for(&source);
            request.output = OutputSpec {
                format,
                encoder,
                sections: true,
                ..OutputSpec::default()
            };
            let rendered = render(request).expect("films");
            let sections: Vec<_> = rendered
                .artifacts
                .iter()
                .filter(|artifact| artifact.role == ArtifactRole::Section)
                .collect();
            assert_eq!(sections.len(), bare.len(), "{format:?} {encoder:?}");
            let (mut frames, place) = (0, tempfile::tempdir().expect("a folder"));
            for (number, (section, theirs)) in sections.iter().zip(&bare).enumerate() {
                assert_eq!(
                    section.name,
                    format!("section-{:02}.{}", number + 1, format.as_str())
                );
                let ours = frame_sums(&save_artifact(section, place.path()));
                let theirs = frame_sums(theirs);
                assert_eq!(ours.len() as u64, section.frames);
                assert_eq!(ours.len(), theirs.len(), "{format:?} {encoder:?} {number}");
                if encoder == Encoder::Manim {
                    assert_eq!(ours, theirs, "{format:?} {number}");
                }
                frames += section.frames;
            }
            assert_eq!(rendered.artifacts[0].role, ArtifactRole::Video);
            assert_eq!(rendered.artifacts[0].frames, frames);
            let film = frame_sums(&save(&rendered, place.path()));
            assert_eq!(film.len() as u64, frames, "{format:?} {encoder:?}");
        }
    }
}

/// What `--save_sections` has made below a media folder, in order.
fn films_of_sections(media: &std::path::Path) -> Vec<std::path::PathBuf> {
    let found = output_of(std::process::Command::new("find").arg(media).args([
        "-path",
        "*/480p15/sections/*",
        "-not",
        "-name",
        "*.json",
        "-type",
        "f",
    ]));
    let mut films: Vec<_> = found.lines().map(std::path::PathBuf::from).collect();
    films.sort();
    films
}

#[test]
fn more_sections_than_a_result_has_room_for_are_told() {
    let lines = "for n in range(13):\n    self.next_section(str(n))\n    self.wait(0.1)";
    let mut request = constructing(lines);
    request.output.encoder = Encoder::Fast;
    render(request.clone()).expect("one film");
    request.output.sections = true;
    let rendered = render(request).expect("the film and twelve of sections");
    let sections = rendered
        .artifacts
        .iter()
        .filter(|file| file.role == ArtifactRole::Section);
    assert_eq!(sections.count(), 12);
    let told = rendered
        .warnings
        .iter()
        .any(|warning| warning.contains("13 sections") && warning.contains("first 12"));
    assert!(told, "{:?}", rendered.warnings);
}

#[test]
fn a_format_that_the_scene_sets_is_told_with_the_flag_that_asks_for_it() {
    for (setting, made) in [
        ("config.format = 'gif'", "gif"),
        ("config.format = 'webm'", "webm"),
        ("config.save_last_frame = True", "png"),
    ] {
        let request = request_for(&format!(
            "from manim import *\n{setting}\nclass A(Scene):\n    def construct(self):\n        \
             self.play(FadeIn(Square()), run_time=0.2)\n"
        ));
        let failure = failure(render(request));
        assert_class(&failure, FailureClass::Validation);
        assert_eq!(
            failure.message,
            format!("the scene sets format {made}, the job asks for mp4")
        );
        let hint = failure.hint.unwrap_or_default();
        assert!(hint.contains(&format!("--format {made}")), "{hint}");
    }
    let transparent = "from manim import *\nconfig.transparent = True\nclass A(Scene):\n    def construct(self):\n        self.wait(0.2)\n";
    let failure = failure(render(request_for(transparent)));
    assert_class(&failure, FailureClass::Validation);
    let hint = failure.hint.unwrap_or_default();
    assert!(hint.contains("--format mov"), "{hint}");
}

#[test]
fn every_higher_quality_has_the_frames_of_the_bare_command() {
    for (flag, width, height, fps) in [
        ("-qm", 1280, 720, 30.0),
        ("-qh", 1920, 1080, 60.0),
        ("-qp", 2560, 1440, 60.0),
        ("-qk", 3840, 2160, 60.0),
    ] {
        let output = OutputSpec {
            width,
            height,
            fps,
            ..manim_low()
        };
        same_frames_as_the_command("moment.py", &[flag], output);
    }
}

/// Both films show the same: 1 is equal. Less than 0.99 can be seen.
#[test]
fn the_fast_film_looks_like_that_of_the_bare_command() {
    for file in ["shapes.py", "text_axes.py", "mathtex.py", "framed.py"] {
        let path = scene_path(file);
        let mut request = request_for(&std::fs::read_to_string(&path).expect("a scene"));
        request.output.encoder = Encoder::Fast;
        let rendered = render(request).expect("a film");
        let folder = tempfile::tempdir().expect("a folder");
        let (_folder, bare) = bare_manim(&path, &["-ql"]);
        let likeness = ssim(&save(&rendered, folder.path()), &bare);
        tell(&format!("SSIM of {file}: {likeness:.4}"));
        assert!(likeness >= 0.99, "{file}: {likeness}");
    }
}

#[test]
fn every_format_has_the_frames_of_the_bare_command() {
    let formats: [(&[&str], OutputFormat, bool); 6] = [
        (&["-ql", "--format", "gif"], OutputFormat::Gif, false),
        (&["-ql", "--format", "webm"], OutputFormat::Webm, false),
        (&["-ql", "--format", "mov"], OutputFormat::Mov, false),
        (&["-ql", "-t", "--format", "mov"], OutputFormat::Mov, true),
        (&["-ql", "-t", "--format", "webm"], OutputFormat::Webm, true),
        (&["-ql", "-s"], OutputFormat::Png, false),
    ];
    for (flags, format, transparent) in formats {
        let output = OutputSpec {
            format,
            transparent,
            ..manim_low()
        };
        same_frames_as_the_command("shapes.py", flags, output);
    }
}

#[test]
fn the_fast_film_plays_and_has_the_right_size_rate_and_length() {
    for (width, height, fps) in [(854, 480, 15.0), (1280, 720, 30.0)] {
        let source = std::fs::read_to_string(scene_path("shapes.py")).expect("a scene");
        let mut request = request_for(&source);
        request.output = OutputSpec {
            width,
            height,
            fps,
            encoder: Encoder::Fast,
            ..manim_low()
        };
        let rendered = render(request).expect("a film");
        assert_eq!(
            rendered.warnings,
            Vec::<String>::new(),
            "the stream covers plain mp4"
        );
        let film = &rendered.artifacts[0];
        let folder = tempfile::tempdir().expect("a folder");
        let found = ffprobe(
            &save(&rendered, folder.path()),
            "stream=codec_name,width,height,r_frame_rate,nb_read_frames",
        );
        for line in [
            "codec_name=h264".to_owned(),
            format!("width={width}"),
            format!("height={height}"),
            format!("r_frame_rate={fps}/1"),
            format!("nb_read_frames={}", film.frames),
        ] {
            assert!(
                found.lines().any(|l| l == line),
                "{line} is not in\n{found}"
            );
        }
        assert_eq!((film.width, film.height), (width, height));
        assert!((film.fps - fps).abs() < 1e-9);
        assert_eq!(film.mime, "video/mp4");
    }
}

#[test]
fn every_format_goes_through_the_stream() {
    let formats = [
        (OutputFormat::Mp4, false, "h264", "yuv420p"),
        (OutputFormat::Mov, false, "h264", "yuv420p"),
        (OutputFormat::Mov, true, "qtrle", "argb"),
        (OutputFormat::Webm, false, "vp9", "yuv420p"),
        (OutputFormat::Gif, false, "gif", "bgra"),
    ];
    let source = std::fs::read_to_string(scene_path("sections.py")).expect("a scene");
    for (format, transparent, codec, pixels) in formats {
        let mut request = request_for(&source);
        request.output = OutputSpec {
            format,
            transparent,
            encoder: Encoder::Fast,
            ..OutputSpec::default()
        };
        let rendered = render(request).expect("a film");
        assert_eq!(rendered.warnings, Vec::<String>::new(), "{format:?}");
        let folder = tempfile::tempdir().expect("a folder");
        let path = save(&rendered, folder.path());
        let found = ffprobe(&path, "stream=codec_name,pix_fmt,nb_read_frames");
        for line in [
            format!("codec_name={codec}"),
            format!("pix_fmt={pixels}"),
            format!("nb_read_frames={}", rendered.artifacts[0].frames),
        ] {
            assert!(
                found.lines().any(|l| l == line),
                "{line} is not in\n{found}"
            );
        }
        let kinds = output_of(
            std::process::Command::new("ffprobe")
                .args([
                    "-v",
                    "error",
                    "-show_entries",
                    "stream=codec_type",
                    "-of",
                    "csv=p=0",
                ])
                .arg(&path),
        );
        let sound = format != OutputFormat::Gif;
        assert_eq!(kinds.contains("audio"), sound, "{format:?}: {kinds}");
    }
}

#[test]
fn a_codec_that_the_scene_has_chosen_is_used_and_told() {
    let mut request = request_for(
        "from manim import *\nconfig.pixel_format = 'yuv444p'\nclass A(Scene):\n\
         \x20   def construct(self):\n        self.wait(0.2)\n",
    );
    request.output.encoder = Encoder::Fast;
    let rendered = render(request).expect("a film");
    assert_eq!(rendered.warnings.len(), 1, "{:?}", rendered.warnings);
    let folder = tempfile::tempdir().expect("a folder");
    let found = ffprobe(&save(&rendered, folder.path()), "stream=pix_fmt");
    assert_eq!(found.trim(), "pix_fmt=yuv444p");
}

/// Sounds of two kinds: one that is heard later and quieter, and one that Manim converts before it is mixed in.
const SOUNDS: &str = r#"
from manim import *
class Sounds(Scene):
    def construct(self):
        square = Square()
        self.add_sound("low.wav")
        self.play(Create(square), run_time=1)
        self.add_sound("high.mp3", time_offset=0.25, gain=-6)
        self.wait(1)
        self.play(FadeOut(square), run_time=1)
"#;

/// A second of a tone, in a file of the kind that its name says.
pub fn tone(folder: &std::path::Path, name: &str, hertz: u32) -> Vec<u8> {
    let path = folder.join(name);
    output_of(
        std::process::Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i"])
            .arg(format!("sine=frequency={hertz}:duration=1"))
            .arg(&path),
    );
    std::fs::read(path).expect("a sound")
}

/// What is heard, decoded: a fingerprint, and seconds.
pub fn heard(film: &std::path::Path) -> (String, f64) {
    let ffmpeg = |format: &[&str]| {
        let mut command = std::process::Command::new("ffmpeg");
        command.args(["-v", "error", "-i"]).arg(film);
        output_of(command.args(["-map", "0:a"]).args(format).arg("-"))
    };
    let sum = ffmpeg(&["-f", "md5"]);
    let length = output_of(
        std::process::Command::new("ffprobe")
            .args(["-v", "error", "-select_streams", "a", "-show_entries"])
            .args(["stream=duration", "-of", "csv=p=0"])
            .arg(film),
    );
    (sum, length.trim().parse().expect("seconds"))
}

#[test]
fn what_is_heard_is_what_the_bare_command_lets_hear() {
    let folder = tempfile::tempdir().expect("a folder");
    let scene = folder.path().join("scene.py");
    std::fs::write(&scene, SOUNDS).expect("a scene");
    let sounds = [
        ("low.wav", tone(folder.path(), "low.wav", 220)),
        ("high.mp3", tone(folder.path(), "high.mp3", 880)),
    ];
    // The command looks for sounds where it runs.
    let bare = bare_manim_in(folder.path(), &scene, &["-ql"]);
    let theirs = heard(&bare);
    assert!(theirs.1 > 2.0, "{theirs:?}");
    for encoder in [Encoder::Manim, Encoder::Fast] {
        let mut request = with_files(request_for(SOUNDS), &sounds);
        request.output.encoder = encoder;
        let rendered = render(request).expect("a film");
        let place = tempfile::tempdir().expect("a folder");
        assert_eq!(heard(&save(&rendered, place.path())), theirs, "{encoder:?}");
    }
}

#[test]
fn a_seed_gives_the_same_film_twice_and_none_gives_another() {
    let film = |seed| {
        let mut request = constructing(
            "for _ in range(3):\n    self.add(Dot(np.random.uniform(-3, 3, 3) * [1, 1, 0]))\nself.wait(0.2)",
        );
        request.output.seed = seed;
        let rendered = render(request).expect("a film");
        let folder = tempfile::tempdir().expect("a folder");
        frame_sums(&save(&rendered, folder.path()))
    };
    assert_eq!(film(Some(7)), film(Some(7)));
    assert_ne!(
        film(None),
        film(None),
        "slots must not share their random numbers"
    );
}

#[test]
fn chance_gives_an_unseeded_scene_the_same_film_twice_and_another_one_another() {
    let film = |chance: &str| {
        let mut request = request_for(
            "from manim import *\nimport random\nPLACE = random.uniform(-3, 3)\nclass A(Scene):\n    def construct(self):\n        \
             assert self.random_seed is None\n        self.add(Dot([PLACE, np.random.uniform(-3, 3), 0]))\n        self.wait(0.2)\n",
        );
        request.output.chance = Some(chance.to_owned());
        let rendered = render(request).expect("a film");
        let folder = tempfile::tempdir().expect("a folder");
        frame_sums(&save(&rendered, folder.path()))
    };
    assert_eq!(film("one"), film("one"));
    assert_ne!(film("one"), film("other"));
}

#[test]
fn odd_sides_are_rendered_where_the_codec_takes_them() {
    for (format, transparent) in [
        (OutputFormat::Webm, false),
        (OutputFormat::Webm, true),
        (OutputFormat::Mov, true),
        (OutputFormat::Gif, true),
        (OutputFormat::Png, false),
    ] {
        for encoder in [Encoder::Fast, Encoder::Manim] {
            let mut request = constructing("self.play(FadeIn(Square()), run_time=0.2)");
            request.output = OutputSpec {
                format,
                transparent,
                encoder,
                width: 321,
                height: 243,
                ..OutputSpec::default()
            };
            let film = &render(request).expect("a film").artifacts[0];
            assert_eq!(
                (film.width, film.height),
                (321, 243),
                "{format:?} {transparent} {encoder:?}"
            );
        }
    }
}

#[test]
fn random_numbers_of_module_level_differ_from_job_to_job() {
    let number = || {
        let request = request_for(
            "from manim import *\nimport random\nprint(random.random(), np.random.rand())\n\
             class A(Scene):\n    def construct(self):\n        self.wait(0.1)\n",
        );
        log_of(&render_with_events(request).1)
    };
    let (first, second, third) = (number(), number(), number());
    assert!(
        first != second && second != third && first != third,
        "{first} {second} {third}"
    );
}

#[test]
fn progress_comes_while_it_renders_and_ends_with_all_frames() {
    let mut request = constructing(
        "for _ in range(3):\n    self.play(Rotate(VGroup(*[Square() for _ in range(150)])), run_time=1)",
    );
    request.output.encoder = Encoder::Fast;
    let (result, events) = render_with_events(request);
    let rendered = result.expect("a film");
    assert_eq!(events[0], RenderEvent::Started);
    let progress: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            RenderEvent::Progress(progress) => Some(progress),
            RenderEvent::Started | RenderEvent::Still(_) | RenderEvent::Log { .. } => None,
        })
        .collect();
    assert!(progress.len() >= 3, "{progress:#?}");
    assert!(
        progress
            .windows(2)
            .all(|two| two[0].frames <= two[1].frames)
    );
    let last = progress[progress.len() - 1];
    assert_eq!(
        (last.stage, last.animation, last.frames),
        (Stage::Encoding, 3, 45)
    );
    assert_eq!(last.animation_frames_total, Some(15));
    assert_eq!(rendered.usage.animations, 3);
    assert!(rendered.usage.cpu_s > 0.0 && rendered.usage.peak_memory_bytes > 50 << 20);
}

#[test]
fn what_a_scene_prints_arrives_as_harmless_text() {
    let request = constructing(
        "print('one', flush=True)\nimport sys\nprint('\\x1b[31mtwo\\x1b[0m', file=sys.stderr)\n\
         logger.info('three')\nself.wait(0.1)",
    );
    let (result, events) = render_with_events(request);
    result.expect("a film");
    let log = log_of(&events);
    assert!(log.contains("one\n"), "{log}");
    assert!(log.contains("\\u{1b}[31mtwo"), "{log}");
    assert!(
        log.contains("three"),
        "the author's own log lines stay: {log}"
    );
    assert!(
        !log.contains("Partial movie file"),
        "Manim's inner ones do not: {log}"
    );
}

#[test]
fn configuration_in_the_source_is_heeded() {
    let request = request_for(
        "from manim import *\nconfig.background_color = WHITE\nconfig.pixel_width = 300\n\
         config.pixel_height = 200\nclass A(Scene):\n    def construct(self):\n        self.wait(0.2)\n",
    );
    let film = &render(request).expect("a film").artifacts[0];
    assert_eq!((film.width, film.height), (300, 200));
    // And nothing of it is left for the next job.
    let film = &render(request_for(GOOD)).expect("a film").artifacts[0];
    assert_eq!((film.width, film.height), (854, 480));
}

#[test]
fn a_film_comes_with_a_small_still_and_with_its_subtitles() {
    for encoder in [Encoder::Fast, Encoder::Manim] {
        let source = std::fs::read_to_string(scene_path("sections.py")).expect("a scene");
        let mut request = request_for(&source);
        request.output = OutputSpec {
            width: 1920,
            height: 1080,
            encoder,
            ..OutputSpec::default()
        };
        let rendered = render(request).expect("a film");
        let named = |name: &str| {
            let found = rendered.artifacts.iter().find(|file| file.name == name);
            found.unwrap_or_else(|| panic!("{name} is missing: {:?}", rendered.artifacts))
        };
        assert_eq!(rendered.artifacts[0].role, ArtifactRole::Video);
        let poster = named("poster.jpg");
        assert_eq!((poster.width, poster.height), (640, 360));
        assert_eq!(
            (poster.role.as_str(), poster.mime.as_str()),
            ("poster", "image/jpeg")
        );
        assert!(poster.bytes < 64 * 1024, "{} bytes", poster.bytes);
        let subtitles = named("subtitles.srt");
        let mut text = String::new();
        std::io::Read::read_to_string(&mut subtitles.file.here().expect("here"), &mut text)
            .expect("text");
        assert!(text.contains("It begins"), "{text}");
        assert!(text.contains("00:00:00,000 --> 00:00:01,000"), "{text}");
    }
}

#[test]
fn what_a_scene_puts_in_the_place_of_still_and_subtitles_is_left_out() {
    // Written by the last that runs before the job ends.
    let fake = "
import os, atexit
real = os.rename
def rename(source, target):
    real(source, target)
    for name, data in (('poster.jpg', POSTER), ('subtitles.srt', SUBTITLES)):
        path = '.manimq-out/' + name
        if data is None:
            os.mkdir(path)
        else:
            file = os.open(path, os.O_WRONLY | os.O_CREAT)
            os.write(file, data)
            os.close(file)
os.rename = rename
self.play(FadeIn(Square()), run_time=2/15)
class Writer:
    def save(self, path): pass
self.renderer.file_writer.poster = Writer()
";
    for (poster, subtitles) in [
        (
            "b'<html><script>alert(1)</script>'",
            "b'\\x00 00:00 --> 00:01'",
        ),
        ("b'\\xff\\xd8\\xff\\xe0' + bytes(9999)", "b'#!/bin/sh'"),
        (
            "None",
            "b'\\xff\\xfe1\\n00:00:00,000 --> 00:00:01,000\\nhi'",
        ),
        ("bytes(2 << 20)", "b' --> ' * (1 << 18)"),
    ] {
        let lines = fake
            .replace("POSTER", poster)
            .replace("SUBTITLES", subtitles);
        let mut request = constructing(&lines);
        request.output.encoder = Encoder::Fast;
        let rendered = render_then_check(request).expect("the film counts");
        let names: Vec<&str> = rendered.artifacts.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["video.mp4"], "{poster} {subtitles}");
    }
}
