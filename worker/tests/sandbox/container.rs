//! Level `container`: the same renders and the same walls where nobody may make a namespace.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    ConnectError, Encoder, RenderError, RenderRequest, Rendered, Sandbox,
};

use crate::support::*;

/// Text, formulas, a file of its own, and long enough for a scout.
fn rich() -> RenderRequest {
    let mut request = constructing(
        "import tempfile, shutil\n\
         with tempfile.NamedTemporaryFile('w', suffix='.txt') as file:\n\
         \x20   file.write('words'); file.flush()\n\
         \x20   shutil.copy2(file.name, 'copy.txt')\n\
         assert open('copy.txt').read() == 'words'\n\
         formula = MathTex(r'\\int_0^1 x^2\\,dx = \\frac{1}{3}')\n\
         self.play(Write(Text('Area')), run_time=0.5)\n\
         self.play(Write(formula), run_time=0.5)\n\
         for _ in range(12): self.play(formula.animate.rotate(0.5), run_time=0.5)",
    );
    request.output.encoder = Encoder::Fast;
    request
}

fn at(level: Option<Level>, folder: &Path) -> LocalConfig {
    LocalConfig {
        level,
        folder: folder.to_owned(),
        ..own_config()
    }
}

/// Reachable by the slots' users.
fn open_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("0711");
    folder
}

/// A disk of so many MiB, gone when dropped; `None` where nobody may mount one.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(mib: u32) -> Option<Self> {
        let folder = open_folder();
        let options = format!("size={mib}m,mode=711");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "none"])
            .arg(folder.path())
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_not_the_fault_of_who_finds_it_so() {
    let Some(disk) = SmallDisk::mount(160) else {
        tell("skipped: nobody may mount a disk here");
        return;
    };
    let lost = |ended: Result<Rendered, RenderError>| match ended {
        Err(RenderError::SandboxLost { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let ballast = disk.0.path().join("ballast");
    block_on(async {
        let config = at(Some(Level::Container), disk.0.path());
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        // As another's files would: there is no room, and a moment later there is.
        let finds_none = constructing(
            "import time\n\
             with open('rest', 'wb', buffering=0) as file:\n\
             \x20   try:\n\
             \x20       while True: file.write(bytes(2 ** 20))\n\
             \x20   except OSError: time.sleep(4)\n\
             import os; os.unlink('rest')\n\
             raise ValueError('of no room')",
        );
        let ended = lost(render_in(&mut sandbox, finds_none).await.0);
        assert!(ended.contains("disk was full"), "{ended}");
        sandbox.reset().await.expect("another slot");
        fs::write(&ballast, vec![1; 100 << 20]).expect("room");
        let ended = lost(render_in(&mut sandbox, rich()).await.0);
        assert!(ended.contains("MiB are left"), "{ended}");
        let none = sandbox.reset().await;
        assert!(
            matches!(none, Err(ConnectError::Unavailable { .. })),
            "{none:?}"
        );
        fs::remove_file(&ballast).expect("it");
        sandbox.reset().await.expect("room again");
        render_in(&mut sandbox, rich()).await.0.expect("a film");
        sandbox.close().await;
    });
}

#[test]
fn it_renders_the_same_frames_and_leaves_no_file() {
    let folder = open_folder();
    let rendered = block_on(async {
        let config = at(Some(Level::Container), folder.path());
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        assert_eq!(sandbox.level(), Level::Container);
        let rendered = render_in(&mut sandbox, rich()).await.0.expect("a film");
        // The guard tidies up while the film is already on its way.
        eventually("nothing of the job is left", || {
            fs::read_dir(folder.path())
                .expect("the folder")
                .flatten()
                .all(|area| fs::read_dir(area.path()).expect("the area").count() == 0)
        });
        sandbox.close().await;
        rendered
    });
    assert_eq!(fs::read_dir(folder.path()).expect("it").count(), 0);
    let films = tempfile::tempdir().expect("a folder");
    let here = frame_sums(&save(&rendered, films.path()));
    let full = render(rich()).expect("a film");
    assert_eq!(here, frame_sums(&save(&full, films.path())));
}

#[test]
fn all_of_its_processes_are_dead_when_it_is_dropped() {
    let folder = open_folder();
    block_on(async {
        let config = at(Some(Level::Container), folder.path());
        let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        let zygote = sandbox.zygote_pid().expect("connected");
        let request = constructing("self.add(Tex(r'\\loop\\iftrue\\repeat'))");
        let (events, _incoming) = manimq_worker::sandbox::EventSender::channel(64);
        let all = {
            let render = sandbox.render(request, events);
            tokio::pin!(render);
            // Those that every job has, and latex below a child of the guard's.
            let mut all = descendants(zygote);
            while all.len() < WAITING + 2 {
                tokio::select! {
                    ended = &mut render => panic!("it is endless: {ended:?}"),
                    () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
                }
                all = descendants(zygote);
            }
            all
        };
        drop(sandbox);
        assert!(all.iter().all(|&process| !is_alive(process)), "{all:?}");
    });
    assert_eq!(fs::read_dir(folder.path()).expect("it").count(), 0);
}

/// What the helper below is to do; it is no test, and only runs when a test starts it.
const HELPER: &str = "MANIMQ_TEST_CONTAINER_HELPER";

/// This program again with the helper alone, where no namespace can be made, as in a container
/// without privileges; as an ordinary user if `user` says so.
fn where_namespaces_are_denied(what: &str, user: Option<u32>, folder: &Path) -> Output {
    let mut command = Command::new(std::env::current_exe().expect("our path"));
    command
        .args(["container::helper_in_a_container", "--exact", "--nocapture"])
        .env(HELPER, what)
        .env("MANIMQ_PYTHON_ENV", python_env())
        .env("TMPDIR", folder);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let filter = denied_in_containers();
    // SAFETY: two system calls between fork and exec.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&filter).map_err(std::io::Error::other));
    }
    command.output().expect("it starts")
}

/// What the default profiles of container engines refuse, as far as it matters here.
fn denied_in_containers() -> seccompiler::BpfProgram {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_bpf,
        libc::SYS_keyctl,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
    ]
    .into_iter()
    .map(|call| (call, Vec::new()))
    .collect();
    let namespace = |bit: u32| {
        let bit = 1 << bit;
        let condition =
            SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(bit), bit);
        SeccompRule::new(vec![condition.expect("valid")]).expect("valid")
    };
    let bits = [17, 25, 26, 27, 28, 29, 30];
    rules.insert(libc::SYS_clone, bits.into_iter().map(namespace).collect());
    let arch = std::env::consts::ARCH.try_into().expect("known");
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        arch,
    )
    .and_then(TryInto::try_into)
    .expect("a filter")
}

#[test]
fn helper_in_a_container() {
    let Ok(what) = std::env::var(HELPER) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stdout)
        .init();
    let level = match what.as_str() {
        "full" => Some(Level::Full),
        "container" => Some(Level::Container),
        _ => None,
    };
    block_on(async {
        match LocalSandbox::connect(at(level, &std::env::temp_dir())).await {
            Ok(mut sandbox) => {
                let film = render_in(&mut sandbox, rich()).await.0.expect("a film");
                println!(
                    "LEVEL {} FRAMES {}",
                    sandbox.level().as_str(),
                    film.usage.frames
                );
                sandbox.close().await;
            }
            Err(error @ ConnectError::VerificationFailed { .. }) => println!("REFUSED {error}"),
            Err(error) => panic!("{error}"),
        }
    });
}

#[track_caller]
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text
}

#[test]
fn without_namespaces_the_level_is_container_and_the_log_says_so() {
    let folder = open_folder();
    let said = said(&where_namespaces_are_denied("detect", None, folder.path()));
    assert!(said.contains("LEVEL container FRAMES 112"), "{said}");
    assert!(
        said.contains("sandbox level: container. Level full cannot be had here"),
        "{said}"
    );
    assert!(said.contains("MANIMQ_SANDBOX_LEVEL=full"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).expect("it").count(), 0);
}

#[test]
fn without_namespaces_and_without_root_it_renders_too() {
    use std::os::unix::fs::PermissionsExt as _;
    if !rustix::process::geteuid().is_root() {
        return; // the test above is that one
    }
    let folder = open_folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("0777");
    let said = said(&where_namespaces_are_denied(
        "container",
        Some(1_899_999_999),
        folder.path(),
    ));
    assert!(said.contains("LEVEL container FRAMES 112"), "{said}");
}

#[test]
fn level_full_is_refused_where_it_cannot_be_had() {
    let folder = open_folder();
    let said = said(&where_namespaces_are_denied("full", None, folder.path()));
    assert!(
        said.contains("REFUSED") && said.contains("namespace"),
        "{said}"
    );
}

#[test]
fn with_namespaces_the_level_is_full() {
    block_on(async {
        let config = at(None, &std::env::temp_dir());
        let sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
        assert_eq!(sandbox.level(), Level::Full);
        sandbox.close().await;
    });
}

#[test]
fn a_folder_for_jobs_that_is_not_there_is_named() {
    block_on(async {
        let config = at(Some(Level::Container), Path::new("/nowhere"));
        let error = LocalSandbox::connect(config).await.expect_err("no folder");
        assert!(error.to_string().contains("/nowhere"), "{error}");
        assert!(error.to_string().contains("MANIMQ_SANDBOX_DIR"), "{error}");
    });
}
