//! The still that comes while the film is being drawn: there early, and believed no more than the film.

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    Encoder, EventSender, RenderError, RenderEvent, RenderRequest, Sandbox, Still,
};

use crate::cores::slow_to_draw;
use crate::support::*;

/// Draws until it is stopped.
const ENDLESS: &str = "square = Square(fill_opacity=1)\nself.add(square)\n\
                       while True: self.play(Rotate(square), run_time=1)";

/// Renders until a still comes, then interrupts.
async fn first_still(sandbox: &mut LocalSandbox, request: RenderRequest) -> Option<Still> {
    let stop = request.stop.clone();
    let (events, mut incoming) = EventSender::channel(64);
    let wait = tokio::spawn(async move {
        let mut found = None;
        while let Some(event) = incoming.recv().await {
            if let RenderEvent::Still(still) = event {
                assert!(found.replace(still).is_none(), "one of a job");
                stop.cancel();
            }
        }
        found
    });
    let result = sandbox.render(request, events).await;
    assert!(
        matches!(result, Err(RenderError::Interrupted)),
        "{result:?}"
    );
    sandbox.reset().await.expect("ready for the next job");
    wait.await.expect("no panic")
}

#[test]
fn a_film_that_takes_long_has_a_still_while_it_is_drawn() {
    block_on(async {
        for level in [Level::Full, Level::Container] {
            let config = LocalConfig {
                level: Some(level),
                ..own_config()
            };
            let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
            let mut requests = [constructing(ENDLESS), constructing(ENDLESS)];
            requests[0].output.encoder = Encoder::Fast;
            // Where it may be split, it is: whoever draws leaves the still.
            let split = slow_to_draw("", ENDLESS);
            for request in requests.into_iter().chain([split]) {
                let still = first_still(&mut sandbox, request).await;
                let still = still.expect("a still");
                assert_eq!((still.width, still.height), (427, 240));
                let folder = tempfile::tempdir().expect("a folder");
                let file = folder.path().join("still.jpg");
                std::fs::write(&file, &still.jpeg).expect("written");
                let seen = ffprobe(&file, "stream=codec_name,width,height");
                for line in ["codec_name=mjpeg", "width=427", "height=240"] {
                    assert!(seen.lines().any(|found| found == line), "{seen}");
                }
                assert!(still.jpeg.len() < 48 * 1024, "{}", still.jpeg.len());
            }
            sandbox.close().await;
        }
    });
}

/// What comes of a job that makes something else than a picture of what is called its still.
fn still_of(lines: &str, wait_s: f32) -> usize {
    let request = constructing(&format!(
        "import os, time\nfrom PIL import Image\nself.play(FadeIn(Square()), run_time=1/15)\n\
         name = '.manimq-still.jpg'\n\
         try: {lines}\nexcept PermissionError: pass\n\
         for _ in range(3): self.renderer.file_writer.meter._report({{'e': 'still'}})\n\
         time.sleep({wait_s})\nself.play(FadeIn(Circle()), run_time=2/15)"
    ));
    let (result, events) = render_with_events(request);
    result.expect("the film counts");
    let stills = events
        .iter()
        .filter(|event| matches!(event, RenderEvent::Still(_)));
    stills.count()
}

#[test]
fn what_a_scene_leaves_in_the_place_of_its_still_is_left_out_unless_it_is_a_small_picture() {
    for lines in [
        "pass",
        "os.symlink('/etc/hostname', name)",
        "Image.new('RGB', (9, 9)).save('a.jpg'); os.symlink('a.jpg', name)",
        "Image.new('RGB', (9, 9)).save('a.jpg'); os.link('a.jpg', name)",
        "os.mkdir(name)",
        "open(name, 'wb').write(b'<html><script>alert(1)</script>')",
        "open(name, 'wb').write(b'\\xff\\xd8\\xff\\xe0' + bytes(9999))",
        "Image.new('RGB', (9, 9)).save(name, 'PNG')",
        "Image.new('RGB', (3000, 9)).save(name)",
        "Image.effect_noise((1000, 1000), 90).save(name, quality=95)",
        "os.truncate(os.open(name, os.O_CREAT | os.O_WRONLY), 40000)",
    ] {
        assert_eq!(still_of(lines, 0.5), 0, "{lines}");
    }
    assert_eq!(still_of("Image.new('RGB', (9, 9)).save(name)", 8.0), 1);
}
