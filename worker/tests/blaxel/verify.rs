//! The worker's program itself: what `verify` says, and what `run` refuses.

use crate::cloud::KEY;
use crate::faults::{Fault, What};
use crate::support::*;

/// Runs the program with settings for the counterpart, and these in addition.
async fn worker(site: &Site, words: &[&str], more: &[(&str, &str)]) -> (bool, String, String) {
    let output = worker_program(site)
        .args(words)
        .env("MANIM_SANDBOX_IMAGE", "sandbox/manim:latest")
        .envs(more.iter().copied())
        .output()
        .await
        .expect("it starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (said, errors) = (text(output.stdout), text(output.stderr));
    assert!(
        !said.contains(KEY) && !errors.contains(KEY),
        "{said}{errors}"
    );
    (output.status.success(), said, errors)
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_goes_through_everything_and_its_status_tells() {
    let site = Site::new().await;
    let (good, said, log) = worker(&site, &["verify"], &[]).await;
    assert!(good, "{said}{log}");
    for line in [
        "✓ image configured: sandbox/manim:latest\n",
        "✓ sandbox name: manim-sb\n",
        "✓ key: counterp… (BLAXEL_API_KEY)\n",
        "✓ control plane reachable: ",
        "✓ sandbox 'manim-sb': DEPLOYED",
        "✓ wake-up: ",
        "✓ Manim 0.",
        "✓ FFmpeg libraries ",
        "✓ LaTeX: ",
        "✓ Custom sandbox verified: Manim and FFmpeg are available\n",
        "✓ round trip of a file\n",
        "✓ one-frame render: ",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    for line in [
        "Connecting to persistent sandbox: manim-sb",
        "✓ Custom sandbox verified: Manim and FFmpeg are available",
        "Successfully connected to sandbox: manim-sb",
    ] {
        assert!(log.contains(line), "{line}: {log}");
    }
    eventually("nothing runs there", || {
        site.machine.processes.running().is_empty()
    })
    .await;
    let other = [("MANIM_SANDBOX_IMAGE", "sandbox/other:latest")];
    let (good, said, log) = worker(&site, &["verify", "--json"], &other).await;
    assert!(
        log.contains("runs the image sandbox/manim:latest, MANIM_SANDBOX_IMAGE says sandbox/other"),
        "{log}"
    );
    let report: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert!(good && report["manim"].is_string(), "{said}{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_address_is_given_is_used_without_the_control_plane() {
    let site = Site::new().await;
    let address = site.address();
    let more = [
        ("BLAXEL_SANDBOX_URL", address.as_str()),
        ("BL_API_URL", "http://127.0.0.1:1/v0"),
    ];
    let (good, said, log) = worker(&site, &["verify"], &more).await;
    assert!(
        good && said.contains("control plane: not asked"),
        "{said}{log}"
    );
    assert_eq!(site.cloud.count("control GET"), 0);
}

/// `verify` fails with this error, and below this line of the list stands what to do.
async fn fails(site: &Site, more: (&str, &str), line: &str, error: &str, fix: &str) {
    let (good, said, errors) = worker(site, &["verify"], &[more]).await;
    let mut lines = said.lines().skip_while(|each| !each.starts_with(line));
    assert!(!good && lines.next().is_some(), "{more:?}: {said}");
    let below = lines.next().unwrap_or_default();
    assert!(
        below.starts_with("    ") && below.contains(fix),
        "{more:?}: {said}"
    );
    assert!(errors.contains(error), "{more:?}: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_says_what_is_wrong_and_what_to_do() {
    let site = Site::new().await;
    let no_version = site.cloud.control_url().replace("/v0", "");
    for (more, line, error, fix) in [
        (
            ("BLAXEL_API_KEY", ""),
            "✗ key: none",
            "Authentication required",
            "BL_API_KEY",
        ),
        (
            ("BLAXEL_API_KEY", "a-word-that-is-not-taken"),
            "✗ control plane: Authentication required",
            "Authentication required",
            "BLAXEL_API_KEY",
        ),
        (
            ("BL_WORKSPACE", ""),
            "✗ control plane: ",
            "400",
            "set BL_WORKSPACE",
        ),
        (
            ("BL_API_URL", no_version.as_str()),
            "✗ control plane: ",
            "404",
            "BL_API_URL",
        ),
        (
            ("MANIM_SANDBOX_NAME", "nobody"),
            "✗ control plane: Sandbox 'nobody' not found",
            "Sandbox 'nobody' not found",
            "deploy_sandbox.sh --name nobody --server-image",
        ),
        (
            ("MANIM_SANDBOX_PYTHON", "/bin/false"),
            "✗ connection: ",
            "Custom sandbox verification failed",
            "MANIM_SANDBOX_PYTHON",
        ),
    ] {
        fails(&site, more, line, error, fix).await;
    }
    site.cloud.fail(Fault::once("health", What::Gone));
    let (error, fix) = ("Sandbox 'manim-sb' not found", "bl get sandboxes");
    fails(&site, ("RUST_LOG", "info"), "✗ wake-up: ", error, fix).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_sees_an_image_without_latex_or_a_renderer_that_works_and_a_file_that_does_not_arrive()
 {
    let site = Site::new().await;
    for (file, more, line, fix) in [
        (
            "manimq_renderer/tex.py",
            "Programs.find = classmethod(lambda cls: cls(None, None, None))",
            "✗ connection: Custom sandbox verification failed: sandbox 'manim-sb': LaTeX",
            "deploy_sandbox.sh --server-image",
        ),
        (
            "manimq_renderer/scene.py",
            "raise RuntimeError('a broken image')",
            "✗ connection: Custom sandbox verification failed: sandbox 'manim-sb': the renderer",
            "deploy_sandbox.sh --server-image",
        ),
        (
            "manimq_renderer/scene.py",
            "def choose_scene(module, wanted): raise ValueError('a broken image')",
            "✗ connection: Custom sandbox verification failed: sandbox 'manim-sb': the test render failed",
            "deploy_sandbox.sh --server-image",
        ),
    ] {
        let brought = site.machine.processes.started("manimq-bring");
        let renderer = renderer_with(file, more);
        let folder = renderer.path().to_string_lossy();
        let error = "Custom sandbox verification failed";
        fails(&site, ("MANIMQ_RENDERER_DIR", &folder), line, error, fix).await;
        assert_eq!(
            site.machine.processes.started("manimq-bring"),
            brought + 1,
            "another renderer is brought"
        );
    }
    site.cloud.fail(Fault::always("write", What::Full));
    let line = "✗ round trip of a file";
    fails(
        &site,
        ("RUST_LOG", "info"),
        line,
        "round trip",
        "run it again",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_more_slots_than_its_sandboxes_take_does_not_start() {
    let site = Site::new().await;
    for (more, words) in [
        (("MANIMQ_SLOTS", "3"), "--slots-per-sandbox"),
        (("MANIM_SANDBOX_NAME", "a,B"), "\"B\" is no sandbox's name"),
        (("MANIM_SANDBOX_NAME", "a,a"), "twice"),
        (
            (
                "BLAXEL_SANDBOX_URL",
                "http://127.0.0.1:1,http://127.0.0.1:2",
            ),
            "2 addresses for 1 names",
        ),
    ] {
        let (good, _, errors) = worker(&site, &["run"], &[more]).await;
        assert!(!good && errors.contains(words), "{more:?}: {errors}");
    }
}
