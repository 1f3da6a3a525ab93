//! Files that come with a scene: seen by it, frame for frame as by the bare command, and by
//! nobody else.

use manimq_worker::sandbox::local::Level;
use manimq_worker::sandbox::{FailureClass, OutputFormat};

use crate::support::*;

const LOOK: &str = "
from manim import *
import os
class Look(Scene):
    def construct(self):
        assert open('data/a.txt', 'rb').read() == b'x' * 3_000_000, 'content'
        assert open('empty').read() == '', 'empty'
        assert sorted(os.listdir('.')) == ['data', 'empty', 'scene.py'], os.listdir('.')
        open('data/a.txt', 'w').write('mine')
        self.add(Square())
        self.wait(1 / 15)
";

const NOTHING_LEFT: &str = "
from manim import *
import os
class Look(Scene):
    def construct(self):
        assert os.listdir('.') == ['scene.py'], os.listdir('.')
        self.add(Square())
        self.wait(1 / 15)
";

fn seen_and_gone(level: Level) {
    let files = || vec![("data/a.txt", vec![b'x'; 3_000_000]), ("empty", Vec::new())];
    render_then_check_at(level, with_files(request_for(LOOK), &files())).expect("all is there");
    render_then_check_at(level, request_for(NOTHING_LEFT)).expect("nothing is left");
    // What a job did to its copy is its own affair.
    let request = with_files(request_for(LOOK), &files());
    render_then_check_at(level, request.clone()).expect("the first");
    render_then_check_at(level, request).expect("the same files again");
}

#[test]
fn a_scene_finds_its_files_and_the_next_one_does_not() {
    seen_and_gone(Level::Full);
}

#[test]
fn a_scene_finds_its_files_and_the_next_one_does_not_at_level_container() {
    seen_and_gone(Level::Container);
}

#[test]
fn no_name_of_a_file_is_in_the_way_of_what_a_render_leaves() {
    let source = "
from manim import *
class Named(Scene):
    def construct(self):
        for name in ('out', 'media'):
            assert open(name).read() == 'x' * 9
        self.play(Write(Text('a')), run_time=0.2)
        self.play(Write(MathTex('a')), run_time=0.2)
";
    let files = [("out", vec![b'x'; 9]), ("media", vec![b'x'; 9])];
    for format in [OutputFormat::Mp4, OutputFormat::Png] {
        let mut request = with_files(request_for(source), &files);
        request.output.format = format;
        render(request).expect("a result");
    }
    let below = [("out/result.mp4", vec![1]), ("media/videos", vec![2])];
    let scene = constructing("self.play(Create(Square()), run_time=0.2)");
    render(with_files(scene, &below)).expect("a film");
}

#[test]
fn what_to_render_may_be_longer_than_a_pipe_holds() {
    // As JSON six bytes a letter: 75 kB of names.
    let names: Vec<String> = (0..128)
        .map(|n| format!("{n:03}{}", "я".repeat(95)))
        .collect();
    let files: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), vec![b'x']))
        .collect();
    let scene = constructing("import os\nassert len(os.listdir('.')) == 129\nself.wait(1 / 15)");
    render(with_files(scene, &files)).expect("it has all that it was told");
}

#[test]
fn a_film_drawn_on_several_cores_and_by_a_scout_has_its_files_too() {
    let source = "
from manim import *
class Slow(Scene):
    def construct(self):
        size = len(open('a.bin', 'rb').read())
        assert size == 2_000_000, size
        dots = VGroup(*[Dot([x / 9, y / 9, 0]) for x in range(-30, 30) for y in range(-20, 20)])
        self.play(Rotate(dots, PI), run_time=2)
        assert len(open('a.bin', 'rb').read()) == size
";
    let mut request = with_files(request_for(source), &[("a.bin", vec![7; 2_000_000])]);
    request.cores = 2;
    request.limits.wall = std::time::Duration::from_secs(240);
    let rendered = render(request).expect("a film");
    assert_eq!(rendered.usage.frames, 30);
}

#[test]
fn files_count_as_what_the_job_has_on_disk() {
    for level in [Level::Full, Level::Container] {
        let mut request = with_files(request_for(GOOD), &[("big", vec![1; 30 << 20])]);
        request.limits.disk_bytes = 16 << 20;
        let failure = failure(render_then_check_at(level, request));
        assert_eq!(failure.class, FailureClass::OutputLimit, "{failure:?}");
    }
}

#[test]
fn pictures_that_unpack_to_more_than_there_is_end_their_job_only() {
    // 60,000 × 60,000 pixels in some 4 MB, and a drawing whose entities name each other.
    let make = "
import struct, sys, zlib
def chunk(kind, data):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
packer = zlib.compressobj(9)
row = bytes(1 + 60_000 // 8)
data = b''.join(packer.compress(row) for _ in range(60_000)) + packer.flush()
head = struct.pack('>IIBBBBB', 60_000, 60_000, 1, 0, 0, 0, 0)
sys.stdout.buffer.write(b'\\x89PNG\\r\\n\\x1a\\n' + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b''))
";
    let bomb = std::process::Command::new(python_env().join("bin/python3"))
        .args(["-c", make])
        .output()
        .expect("Python");
    assert!(bomb.status.success(), "{bomb:?}");
    let mut drawing = String::from("<?xml version=\"1.0\"?><!DOCTYPE svg [<!ENTITY a0 \"ha\">");
    for i in 1..40 {
        let before = format!("&a{};", i - 1).repeat(10);
        drawing.push_str(&format!("<!ENTITY a{i} \"{before}\">"));
    }
    drawing.push_str("]><svg xmlns=\"http://www.w3.org/2000/svg\"><text>&a39;</text></svg>");
    for (name, content, line) in [
        ("a.png", bomb.stdout, "self.add(ImageMobject('a.png'))"),
        (
            "a.svg",
            drawing.into_bytes(),
            "self.add(SVGMobject('a.svg'))",
        ),
    ] {
        let mut request = with_files(constructing(line), &[(name, content)]);
        request.limits.wall = std::time::Duration::from_secs(30);
        let failure = failure(render_then_check(request));
        assert!(!failure.class.is_ours(), "{name}: {failure:?}");
    }
}
