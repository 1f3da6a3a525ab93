//! A sandbox whose disk is small, and full. It lies in memory there; here it is a tmpfs that only
//! this test sees.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use manimq_worker::sandbox::{RenderError, Sandbox};

use crate::cloud::Cloud;
use crate::support::*;

const MIB: u64 = 1 << 20;
const OWN_MOUNTS: &str = "MANIMQ_TEST_OWN_MOUNTS";

/// Runs the test again in a mount namespace of its own. False: that was done, and it passed.
fn may_mount(test: &str) -> bool {
    if std::env::var_os(OWN_MOUNTS).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } != 0 {
        command.args(["--user", "--map-current-user", "--keep-caps"]);
    }
    let passed = command
        .arg("--mount")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture"])
        .env(OWN_MOUNTS, "1")
        .status()
        .expect("unshare");
    assert!(
        passed.success(),
        "{test} did not pass in a namespace of its own"
    );
    false
}

fn mount_disk(folder: &Path, bytes: u64) {
    std::fs::create_dir_all(folder).expect("a folder");
    let path = CString::new(folder.as_os_str().as_bytes()).expect("a path");
    let options = CString::new(format!("size={bytes},mode=711")).expect("options");
    // SAFETY: a system call on strings that outlive it.
    let result = unsafe {
        libc::mount(
            c"tmpfs".as_ptr(),
            path.as_ptr(),
            c"tmpfs".as_ptr(),
            libc::MS_NOSUID | libc::MS_NODEV,
            options.as_ptr().cast(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn free(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).expect("a disk");
    disk.f_bavail * disk.f_frsize
}

/// Takes room away until so much is left.
fn leave(bytes: u64, folder: &Path, name: &str) {
    let path = folder.join(name);
    let file = std::fs::File::create(path).expect("a file");
    let taken = free(folder).saturating_sub(bytes);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, taken).expect("room");
}

fn lost(result: Result<manimq_worker::sandbox::Rendered, RenderError>) -> String {
    match result {
        Err(RenderError::SandboxLost { reason }) => reason,
        other => panic!("it must be ours: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_is_noticed_before_and_costs_no_scene_its_film() {
    if !may_mount("disk::a_disk_that_fills_up_is_noticed_before_and_costs_no_scene_its_film") {
        return;
    }
    let site = Site::new().await;
    let inside = Cloud::inside(&site.machine);
    mount_disk(&inside, 300 * MIB);
    let mut sandbox = site.connect().await;

    // A scene that may write more than there is meets the end of the disk: not its fault.
    let filling = "files = [open(f'big-{n}', 'wb') for n in range(8)]\nwhile True:\n    \
                   for file in files:\n        file.write(bytes(1 << 20))\n        file.flush()";
    let reason = lost(render(&mut sandbox, constructing(filling)).await.0);
    assert!(reason.contains("disk was full"), "{reason}");
    sandbox.reset().await.expect("ready");
    assert!(free(&inside) > 200 * MIB, "what it wrote is gone");
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");
    // One that has a limit below what there is, is told of its limit.
    let beyond = "with open('big', 'wb') as file:\n    file.write(bytes(100 << 20))\nimport time\ntime.sleep(60)";
    let mut request = constructing(beyond);
    request.limits.disk_bytes = 64 * MIB;
    let failed = render(&mut sandbox, request).await.0;
    assert!(matches!(failed, Err(RenderError::Failed(_))), "{failed:?}");
    sandbox.reset().await.expect("ready");

    // What can be made again makes room: formulas, and what workers left that died hours ago.
    let old = inside.join("jobs/job_of_a_dead_worker");
    let other = inside.join("jobs/job_of_another_worker");
    let formulas = inside.join("tex/tenant");
    for folder in [&old, &other, &formulas] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    leave(170 * MIB, &inside, "jobs/job_of_a_dead_worker/result-0");
    leave(30 * MIB + MIB / 2, &inside, "tex/tenant/picture");
    let hours = SystemTime::now() - Duration::from_secs(4 * 3600);
    let folder = std::fs::File::open(&old).expect("a folder");
    folder.set_modified(hours).expect("set");
    // It was fine after the last job: the next one sees it before it begins.
    let reason = lost(render(&mut sandbox, constructing(SHORT)).await.0);
    assert!(reason.contains("the disk has 30 MiB left"), "{reason}");
    sandbox.reset().await.expect("ready");
    assert!(!old.exists() && !formulas.exists() && other.exists());
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");

    // What is somebody else's stays, and no job is begun until there is room.
    leave(40 * MIB + MIB / 2, &inside, "ballast");
    lost(render(&mut sandbox, constructing(SHORT)).await.0);
    let said = sandbox
        .reset()
        .await
        .expect_err("there is no room")
        .to_string();
    assert!(
        said.starts_with("Custom sandbox verification failed")
            && said.contains("40 MiB are left")
            && said.contains("more memory"),
        "{said}"
    );
    // Nor one where not even a file can be written.
    leave(0, &inside, "more-ballast");
    let said = sandbox
        .reset()
        .await
        .expect_err("there is no room")
        .to_string();
    assert!(said.contains("0 MiB are left"), "{said}");
    for name in ["ballast", "more-ballast"] {
        std::fs::remove_file(inside.join(name)).expect("removed");
    }
    sandbox.reset().await.expect("ready");
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");

    // It is full from one moment to the next, before a job's files are there.
    sandbox.reset().await.expect("ready");
    leave(0, &inside, "ballast");
    let reason = lost(render(&mut sandbox, constructing(SHORT)).await.0);
    assert!(reason.contains("could not be started"), "{reason}");
    std::fs::remove_file(inside.join("ballast")).expect("removed");
    sandbox.reset().await.expect("ready");
    render(&mut sandbox, constructing(SHORT))
        .await
        .0
        .expect("a film");
    sandbox.close().await;
}
