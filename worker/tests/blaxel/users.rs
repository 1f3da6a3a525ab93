//! A sandbox whose processes are not root's: keeper, jobs' programs and scenes are of one user.

use std::time::Duration;

use manimq_worker::sandbox::Sandbox;

use crate::cloud::{Cloud, Nature};
use crate::support::*;

const NOBODY: u32 = 65534;

async fn site() -> Site {
    // SAFETY: a system call without arguments.
    let user = (unsafe { libc::geteuid() } == 0).then_some(NOBODY);
    let nature = Nature {
        user,
        ..Nature::default()
    };
    Site::of(nature, |_| {}).await
}

/// Tries everything that would let a scene look into the processes around it.
const ATTACK: &str = r"
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
found = []
def attempt(name, what):
    try:
        what()
    except OSError:
        return
    found.append(name)
def call(name, number, *arguments):
    def now():
        ctypes.set_errno(0)
        if libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)) < 0:
            raise OSError(ctypes.get_errno(), name)
    attempt(name, now)
PTRACE, READV, PIDFD_OPEN, PIDFD_GETFD, KILL = {
    'x86_64': (101, 310, 434, 438, 62), 'aarch64': (117, 270, 434, 438, 129)}[os.uname().machine]
own = os.getpid()
pids = sorted({KEEPER, os.getppid(), *range(own - 300, own + 300)} - {own})
for pid in pids:
    for name in ('environ', 'mem', 'maps', 'cmdline', 'auxv', 'stat'):
        attempt(f'{name} of {pid}', lambda: open(f'/proc/{pid}/{name}', 'rb').read(1))
    for name in ('fd', 'task', 'root'):
        attempt(f'{name} of {pid}', lambda: os.listdir(f'/proc/{pid}/{name}'))
    call(f'attach to {pid}', PTRACE, 16, pid, 0, 0)
    call(f'seize {pid}', PTRACE, 0x4206, pid, 0, 0)
    word = (ctypes.c_size_t * 2)(ctypes.addressof(ctypes.create_string_buffer(8)), 8)
    call(f'memory of {pid}', READV, pid, ctypes.addressof(word), 1, ctypes.addressof(word), 1, 0)
    call(f'pidfd of {pid}', PIDFD_OPEN, pid, 0)
    call(f'kill {pid}', KILL, pid, 0)
for path in ('', 'jobs', 'slots', 'slots/SLOT', 'users', 'tex', 'workers', 'areas'):
    attempt(f'list {path}', lambda: os.listdir(f'FOLDER/{path}'))
for path in ('slots/SLOT/alive', 'workers.gate'):
    attempt(f'read {path}', lambda: open(f'FOLDER/{path}').read())
    attempt(f'write {path}', lambda: open(f'FOLDER/{path}', 'a'))
    attempt(f'remove {path}', lambda: os.unlink(f'FOLDER/{path}'))
attempt('change the renderer', lambda: open(f'{RENDERER}/inside/job.py', 'a'))
attempt('socket', lambda: __import__('socket').socket(1))
attempt('fork', os.fork)
print('user', os.getuid(), 'reached', found)
print('tried', len(pids))
";

#[tokio::test(flavor = "multi_thread")]
async fn without_root_a_scene_reaches_neither_the_keeper_nor_its_job_s_program() {
    let site = site().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let pid = site.machine.processes.pid(&keeper).expect("a number");
    let folder = Cloud::inside(&site.machine);
    let renderer = std::fs::read_dir(&folder)
        .expect("our folder")
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("renderer-"))
        .expect("the renderer");
    let attack = ATTACK
        .replace("KEEPER", &pid.to_string())
        .replace("FOLDER", &folder.to_string_lossy())
        .replace("SLOT", &keeper)
        .replace("{RENDERER}", &renderer.path().to_string_lossy());
    let lines = format!("{}\nself.wait(0.2)", attack.trim());
    let (rendered, events) = render(&mut sandbox, constructing(&lines)).await;
    let log = log_of(&events);
    rendered.unwrap_or_else(|error| panic!("{error}: {log}"));
    let user = rustix::fs::stat(&folder).expect("a folder").st_uid;
    assert!(
        log.starts_with(&format!("user {user} reached []\n")),
        "{log}"
    );
    let tried = log.lines().find_map(|line| line.strip_prefix("tried "));
    let tried: u32 = tried
        .and_then(|count| count.parse().ok())
        .expect("a number");
    assert!(tried >= 599, "{log}");
    sandbox.reset().await.expect("ready");
    assert_eq!(
        sandbox.keeper(),
        Some(keeper.as_str()),
        "it did no harm either"
    );
    sandbox.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_root_nobody_of_the_same_user_looks_into_the_keeper_or_its_job_s_program() {
    let site = site().await;
    let mut sandbox = site.connect().await;
    let keeper = sandbox.keeper().expect("one").to_owned();
    let machine = site.machine.clone();
    let data = site.data();
    let looking = async {
        eventually("a job's program runs", || {
            let running = machine.processes.running();
            let name = running.iter().find(|name| name.contains("render"));
            name.is_some_and(|name| machine.processes.said(name) > 0)
        })
        .await;
        let running = machine.processes.running();
        let job = running.iter().find(|name| name.contains("render"));
        let pid = |name: &str| machine.processes.pid(name).expect("a number");
        let (keeper, job) = (pid(&keeper), pid(job.expect("a job")));
        // Another process of the same user without any walls: it sees its like, and not ours.
        let command = format!(
            "sleep 5 & other=$!; sleep 0.1; look() {{ for f in environ maps; do cat /proc/$1/$f >/dev/null 2>&1 && echo $2 $f; done; \
             head -c 1 /proc/$1/mem >/dev/null 2>&1 && echo $2 mem; ls /proc/$1/fd/ >/dev/null 2>&1 && echo $2 fd; }}; \
             look $other other; look {keeper} keeper; look {job} job; kill $other; id -u"
        );
        let limit = Duration::from_secs(20);
        let ran = data.run("look".into(), command, limit).await;
        ran.expect("it ran").stdout.expect("its words")
    };
    let request = constructing("import time\nself.wait(0.2)\ntime.sleep(3)");
    let ((rendered, _), said) = tokio::join!(render(&mut sandbox, request), looking);
    rendered.expect("a film");
    let user = rustix::fs::stat(Cloud::inside(&site.machine))
        .expect("a folder")
        .st_uid;
    assert!(
        said.contains("other environ"),
        "the look itself works: {said}"
    );
    assert!(!said.contains("keeper") && !said.contains("job"), "{said}");
    assert!(said.ends_with(&format!("\n{user}\n")), "{said}");
    sandbox.close().await;
}
