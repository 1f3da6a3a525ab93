//! Attacks that one scene cannot tell by itself; the others are the corpus in `tests/attacks/`.

use manimq_worker::sandbox::{FailureClass, RenderError, Sandbox};

use crate::support::*;

#[test]
fn the_environment_of_the_worker_is_in_no_process_of_the_slot() {
    block_on(async {
        let before = descendants(std::process::id());
        let sandbox = own_sandbox().await;
        let mut seen = 0;
        for (pid, _) in descendants(std::process::id()).difference(&before) {
            // Another test may have ended one meanwhile.
            let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
                continue;
            };
            let command =
                std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if command.contains("/opt/sbx/main.py") {
                seen += 1;
                let text = String::from_utf8_lossy(&environment);
                assert!(!text.contains("CARGO"), "{pid}: {text}");
                assert!(!text.contains("HOME=/root"), "{pid}: {text}");
            }
        }
        assert!(seen >= 2, "bubblewrap and the zygote are looked at");
        drop(sandbox);
    });
}

#[test]
fn the_slot_runs_as_a_user_that_owns_nothing() {
    if !rustix::process::geteuid().is_root() {
        return; // an ordinary worker runs slots as itself
    }
    block_on(async {
        let config = own_config();
        let uid = config.uid_base + config.slot_index;
        let sandbox = manimq_worker::sandbox::local::LocalSandbox::connect(config)
            .await
            .expect("a sandbox");
        let of_that_user = descendants(std::process::id())
            .into_iter()
            .filter(|(pid, _)| {
                std::fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                    status.contains(&format!("Uid:\t{uid}\t{uid}\t{uid}\t{uid}"))
                })
            })
            .count();
        assert_eq!(of_that_user, 2, "bubblewrap and the zygote");
        drop(sandbox);
    });
}

#[test]
fn a_job_cannot_blame_us() {
    for class in ["internal", "sandbox_unavailable", "lost_worker", "stalled"] {
        let request = constructing(&format!(
            "import json, os\n\
             os.write(3, json.dumps({{'e': 'failed', 'class': '{class}', 'message': 'm', 'line': -1, 'stack': 'x'}}).encode() + b'\\n')\n\
             os._exit(1)"
        ));
        let failure = failure(render_then_check(request));
        assert_class(&failure, FailureClass::SceneError);
        assert_eq!((failure.line, failure.stack.len()), (None, 0));
    }
}

#[test]
fn deep_and_long_messages_do_not_hurt_the_guard() {
    for lines in [
        "os.write(3, b'[' * 60_000 + b'\\n')",
        "os.write(3, b'{\"e\": ' + b'9' * 50_000 + b'}\\n')",
        "while True: os.write(3, b'x' * 4096)",
        "while True: os.write(3, b'{\"e\": \"frames\", \"frames\": 1}\\n' * 1000)",
        "while True: os.write(3, b'\\n' * 4096)",
    ] {
        let mut request = constructing(&format!("import os, time\n{lines}\ntime.sleep(20)"));
        request.limits.wall = std::time::Duration::from_secs(20);
        let failure = failure(render_then_check(request));
        assert_class(&failure, FailureClass::SandboxDenied);
    }
}

#[test]
fn the_renderer_in_the_jobs_memory_may_be_broken_at_will() {
    let request = constructing(
        r#"
import gc, os, sys
for module in list(sys.modules.values()):
    for name in list(vars(module)) if hasattr(module, "__dict__") else []:
        if name in ("write_all", "send", "clean_failure", "describe", "main", "_say"):
            setattr(module, name, None)
os.close(3)
raise ValueError
"#,
    );
    assert!(matches!(
        render_then_check(request),
        Err(RenderError::Failed(_))
    ));
}

#[test]
fn events_of_the_wrong_form_are_the_scenes_failure() {
    for lines in [
        "os.write(3, b'{\"e\":\"stage\",\"stage\":[]}\\n')",
        "os.write(3, b'{\"e\":\"done\",\"prepare_s\":1' + b'0' * 400 + b'}\\n')",
        "os.write(3, b'{\"e\":\"confined\"}\\n')",
        "os.write(3, b'{\"e\":\"tex\",\"text\":{},\"compiler\":[],\"extension\":{}}\\n')",
        "os.write(3, b'{\"e\":\"failed\",\"class\":{},\"line\":1e400,\"stack\":{},\"latex\":[]}\\n')",
        "os.write(3, b'{\"e\":\"stopped_at\",\"line\":[],\"class\":\"internal\"}\\n'); ctypes.string_at(0)",
        "pass",
    ] {
        for status in [0, 1, 70, 71] {
            let request = constructing(&format!("import ctypes, os\n{lines}\nos._exit({status})"));
            let failure = failure(render_then_check(request));
            assert!(
                matches!(
                    failure.class,
                    FailureClass::Validation | FailureClass::SceneError
                ),
                "{lines}, {status}: {failure:#?}"
            );
        }
    }
}

#[test]
fn a_failure_that_grows_when_it_is_escaped_stays_a_failure() {
    for filler in ["\\x01", "\\\\", "\\\"", "\\u202e", "\\U0001f600", "\\ud800"] {
        let failure = failure(render_then_check(constructing(&format!(
            "import json, os\n\
             def text(length): return \"{filler}\" * length\n\
             def say(data):\n\
             \x20   while data: data = data[os.write(3, data):]\n\
             say(json.dumps({{'e': 'failed', 'message': text(4000), 'line': 1, 'code': text(500),\n\
             \x20   'scenes': [text(200)] * 100, 'stack': [{{'line': 1, 'function': text(200), 'code': text(300)}}] * 12,\n\
             \x20   }}, ensure_ascii=\"{filler}\" >= \"\\x7f\").encode() + b'\\n')\n\
             os._exit(1)"
        ))));
        assert_eq!(failure.line, Some(1), "{filler}: {failure:#?}");
        assert!(
            !failure
                .message
                .contains(['\u{1}', '\u{1b}', '\u{202e}', '\r']),
            "{filler}"
        );
    }
}

#[test]
fn an_earlier_jobs_names_are_not_in_memory() {
    let search = r#"
import ctypes, gc, os, re
libc = ctypes.CDLL(None, use_errno=True)
libc.sbrk.restype = ctypes.c_void_p
libc.write.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
needle = re.compile(b"n[e]edle_[q]7zx")
near, out = os.pipe()
top = libc.sbrk(0) >> 16
blocks = {(id(each) >> 16) + step for each in gc.get_objects() for step in range(-16, 17)}
blocks |= set(range(top - 2048, top + 1))
seen = 0
before = b""
for block in sorted(blocks):
    for page in range(16):
        if libc.write(out, (block << 16) + page * 4096, 4096) != 4096:
            before = b""
            continue
        data = os.read(near, 4096)
        seen += 1
        if needle.search(before + data):
            raise RuntimeError("BREACH: an earlier job's message")
        before = data[-16:]
if seen < 5000:
    raise RuntimeError(f"only {seen} pages were looked at")
"#;
    block_on(async {
        let mut sandbox = own_sandbox().await;
        let mut earlier = request_for(GOOD);
        earlier.file_name = "needle_q7zx.py".into();
        // Longer than the next message, which may come to lie over this one.
        earlier.job_id = format!("{}needle_q7zx", "j".repeat(3000));
        for request in [earlier, request_for(&format!("{search}{GOOD}"))] {
            if let Err(error) = render_in(&mut sandbox, request).await.0 {
                panic!("not held: {error}");
            }
            sandbox.reset().await.expect("ready for the next job");
        }
    });
}
