//! A day's worth in small: many short renders over warm slots, faults among them, and
//! everything stays flat. `MANIMQ_SOAK_RENDERS` says how many (`deploy/test --soak`: 2,000).

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use manimq_worker::sandbox::local::{Level, LocalConfig, LocalSandbox};
use manimq_worker::sandbox::{
    EventSender, FailureClass, OutputFormat, RenderError, RenderEvent, RenderRequest, Sandbox,
};

use crate::support::*;

/// Without the variable: half for each level, so that each meets every fate.
const RENDERS: usize = 80;
/// The render, of those of a level, under which the zygote is killed.
const LOSES_ZYGOTE: usize = 5;

/// What happens to a render.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fate {
    Film,
    Still,
    Raises,
    TimesOut,
    RunsOutOfMemory,
    FillsItsFolder,
    IsInterrupted,
    LosesItsJob,
    LosesItsZygote,
}

fn fate(n: usize) -> Fate {
    match n % 40 {
        7 | 27 => Fate::Raises,
        11 => Fate::TimesOut,
        15 | 33 => Fate::RunsOutOfMemory,
        19 => Fate::FillsItsFolder,
        23 => Fate::IsInterrupted,
        29 => Fate::LosesItsJob,
        // Once, and early: what the next one starts with is what all after it are measured by.
        _ if n == LOSES_ZYGOTE => Fate::LosesItsZygote,
        n if n % 2 == 0 => Fate::Film,
        _ => Fate::Still,
    }
}

fn request(fate: Fate) -> RenderRequest {
    let mut request = match fate {
        Fate::Film => request_for(GOOD),
        Fate::Still => {
            let mut request = constructing("self.add(Text(str(np.random.rand())))");
            request.output.format = OutputFormat::Png;
            request
        }
        Fate::Raises => constructing("raise ValueError('x' * 100_000)"),
        Fate::TimesOut => constructing("while True: n = 1"),
        Fate::RunsOutOfMemory => {
            constructing("hoard = []\nwhile True: hoard.append(bytearray(2 ** 22))")
        }
        Fate::FillsItsFolder => constructing(
            "n = 0\nwhile True:\n    n += 1\n    open(f'{n}', 'wb').write(bytes(2 ** 20))",
        ),
        Fate::IsInterrupted | Fate::LosesItsJob | Fate::LosesItsZygote => {
            constructing("print('running', flush=True)\nwhile True: n = 1")
        }
    };
    if fate == Fate::TimesOut {
        request.limits.wall = Duration::from_millis(300);
    }
    request.limits.memory_bytes = 512 << 20;
    request.limits.disk_bytes = 32 << 20;
    request
}

/// Renders, and sees to it that its fate is met.
async fn meet(sandbox: &mut LocalSandbox, fate: Fate) {
    let request = request(fate);
    let stop = request.stop.clone();
    let zygote = sandbox.zygote_pid().expect("reset");
    let (events, mut incoming) = EventSender::channel(64);
    let hand = tokio::spawn(async move {
        while let Some(event) = incoming.recv().await {
            if !matches!(event, RenderEvent::Log { .. }) {
                continue;
            }
            match fate {
                Fate::IsInterrupted => stop.cancel(),
                Fate::LosesItsZygote => kill(zygote),
                Fate::LosesItsJob => {
                    // The guard is below the zygote, the job below the guard, before the probe.
                    let guards = children(zygote);
                    let jobs: Vec<u32> = guards.iter().flat_map(|&guard| children(guard)).collect();
                    kill(*jobs.first().expect("a job"));
                }
                _ => {}
            }
        }
    });
    let result = sandbox.render(request, events).await;
    hand.await.expect("no panic");
    let ended = match (fate, &result) {
        (Fate::Film | Fate::Still, Ok(_))
        | (Fate::IsInterrupted, Err(RenderError::Interrupted))
        | (Fate::LosesItsZygote, Err(RenderError::SandboxLost { .. })) => true,
        (_, Err(RenderError::Failed(failure))) => {
            failure.class
                == match fate {
                    Fate::Raises => FailureClass::SceneError,
                    Fate::TimesOut => FailureClass::Timeout,
                    Fate::RunsOutOfMemory | Fate::LosesItsJob => FailureClass::OutOfMemory,
                    Fate::FillsItsFolder => FailureClass::OutputLimit,
                    _ => panic!("{fate:?}: {failure:?}"),
                }
        }
        _ => false,
    };
    assert!(ended, "{fate:?}: {result:?}");
    drop(result);
    sandbox.reset().await.expect("ready for the next");
}

fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("not 0");
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

/// What must not grow.
#[derive(Debug, Clone)]
struct Held {
    zygote: u32,
    zygote_kib: u64,
    zygote_fds: usize,
    waiting_kib: u64,
    mounts: usize,
    files: usize,
    disk_bytes: u64,
}

fn held(sandbox: &LocalSandbox, areas: &Path) -> Held {
    let zygote = sandbox.zygote_pid().expect("reset");
    eventually("who waits is there, and nobody else", || {
        descendants(zygote).len() == WAITING
    });
    let (files, disk_bytes) = below(areas);
    let waiting = descendants(zygote).into_iter();
    Held {
        zygote,
        zygote_kib: resident_kib(zygote),
        zygote_fds: fs::read_dir(format!("/proc/{zygote}/fd"))
            .expect("fds")
            .count(),
        waiting_kib: waiting.map(|(pid, _)| own_kib(pid)).sum(),
        mounts: fs::read_to_string(format!("/proc/{zygote}/mounts"))
            .expect("mounts")
            .lines()
            .count(),
        files,
        disk_bytes,
    }
}

fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("VmRSS");
    line.trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number")
}

/// Memory that a process shares with nobody; 0 where we may not look.
fn own_kib(pid: u32) -> u64 {
    let said = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    said.lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}

fn below(folder: &Path) -> (usize, u64) {
    use std::os::unix::fs::MetadataExt as _;
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        files += 1;
        let info = entry.metadata().expect("it is there");
        bytes += info.blocks() * 512;
        if info.is_dir() {
            let (more, size) = below(&entry.path());
            files += more;
            bytes += size;
        }
    }
    (files, bytes)
}

/// Renders on one slot: what it held after a tenth of them, by when it has lost its zygote, and at the end.
async fn live(level: Level, renders: usize) -> (Held, Held, Vec<f64>) {
    use std::os::unix::fs::PermissionsExt as _;
    let areas = tempfile::tempdir().expect("a folder");
    fs::set_permissions(areas.path(), fs::Permissions::from_mode(0o711)).expect("0711");
    let config = LocalConfig {
        level: Some(level),
        folder: areas.path().to_owned(),
        recycle_after: u32::MAX,
        ..own_config()
    };
    let mut sandbox = LocalSandbox::connect(config).await.expect("a sandbox");
    let mut first = None;
    let mut films = Vec::new();
    for n in 0..renders {
        let (fate, began) = (fate(n), Instant::now());
        meet(&mut sandbox, fate).await;
        if fate == Fate::Film {
            films.push(began.elapsed().as_secs_f64() * 1e3);
        }
        if n == LOSES_ZYGOTE.max(renders / 10) {
            first = Some(held(&sandbox, areas.path()));
        }
    }
    let last = held(&sandbox, areas.path());
    sandbox.close().await;
    assert_eq!(fs::read_dir(areas.path()).expect("it").count(), 0);
    (first.expect("enough renders"), last, films)
}

#[test]
fn many_renders_with_faults_among_them_leave_everything_flat() {
    let renders = std::env::var("MANIMQ_SOAK_RENDERS").map_or(RENDERS, |text| {
        text.parse().expect("MANIMQ_SOAK_RENDERS is a number")
    });
    let began = Instant::now();
    let (own_fds, own_kib) = (open_files(), resident_kib(std::process::id()));
    let slots = block_on(async {
        let half = renders / 2;
        let full = tokio::spawn(live(Level::Full, half));
        let container = tokio::spawn(live(Level::Container, half));
        [
            (Level::Full, full.await.expect("no panic")),
            (Level::Container, container.await.expect("no panic")),
        ]
    });
    for (level, (first, last, mut films)) in slots {
        films.sort_by(f64::total_cmp);
        let tenth = films.len() / 10;
        tell(&format!(
            "{} renders at level {}: film median {:.0} ms, best tenth {:.0} ms; zygote {} → {} KiB, {} → {} fds, who waits {} → {} KiB, {} → {} mounts; folder {} → {} files, {} → {} bytes",
            renders / 2,
            level.as_str(),
            films[films.len() / 2],
            films[tenth],
            first.zygote_kib,
            last.zygote_kib,
            first.zygote_fds,
            last.zygote_fds,
            first.waiting_kib,
            last.waiting_kib,
            first.mounts,
            last.mounts,
            first.files,
            last.files,
            first.disk_bytes,
            last.disk_bytes,
        ));
        assert_eq!(
            (first.zygote, first.zygote_fds, first.mounts, first.files),
            (last.zygote, last.zygote_fds, last.mounts, last.files)
        );
        assert!(
            last.zygote_kib < first.zygote_kib + 4096 && last.zygote_kib < 256 * 1024,
            "{first:?} {last:?}"
        );
        // What a slot costs while it waits for a job, beyond its zygote.
        assert!(
            last.waiting_kib < first.waiting_kib + 4096 && last.waiting_kib < 32 * 1024,
            "{first:?} {last:?}"
        );
        assert!(
            last.disk_bytes <= first.disk_bytes + 65536,
            "{first:?} {last:?}"
        );
    }
    let (fds, kib) = (open_files(), resident_kib(std::process::id()));
    tell(&format!(
        "worker after {renders} renders in {:.0?}: {own_fds} → {fds} fds, {own_kib} → {kib} KiB",
        began.elapsed()
    ));
    if renders > RENDERS {
        // Alone in its process then: nobody else opens files or takes memory.
        assert!(fds <= own_fds + 8, "{own_fds} → {fds}");
        assert!(kib < own_kib + 64 * 1024, "{own_kib} → {kib}");
    }
}

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("our own").count()
}
