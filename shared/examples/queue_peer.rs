//! The queue as one peer of a benchmark of many queues: enqueues, works and measures as `deploy/bench/peer`
//! says. Jobs do nothing but note when they ran.
//!
//! `REDIS_URL` names the server, `PEER_SINK` the file for the notes: 32 bytes each, little-endian numbers
//! of the job, of the instant before its submit, of now, and process id × 256 + 0 (start) or 1 (end).
//! Instants are nanoseconds of the monotonic clock.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId};
use manimq_shared::job::{JobInput, JobRequest, JobResult};
use manimq_shared::queue::{
    BATCH_MAX, Claim, Enqueued, LEASE, NewJob, Queue, Quotas, RENEW_EVERY, RedisConfig, Renewal,
    WorkerInfo,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{Semaphore, mpsc};

const HELP: &str = "usage: queue_peer version
       queue_peer enqueue [n=1000] [size=1024] [mode=seq|single|bulk] [ms=0] [seq0=0] [tenant=default]
       queue_peer paced [n=1000] [gap_us=5000]
       queue_peer roundtrip [n=1000]
       queue_peer work [conc=64]
with REDIS_URL and PEER_SINK in the environment";

/// Callers of the mode `single`.
const CALLERS: usize = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Options(HashMap<String, String>);

impl Options {
    fn parse(args: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let pairs = args.map(|arg| {
            let (name, value) = arg
                .split_once('=')
                .ok_or_else(|| format!("{arg}: give options as name=value\n{HELP}"))?;
            Ok::<_, Failure>((name.to_owned(), value.to_owned()))
        });
        Ok(Self(pairs.collect::<Result<_, _>>()?))
    }

    fn get<T: FromStr>(&self, name: &str, default: T) -> Result<T, Failure> {
        let Some(text) = self.0.get(name) else {
            return Ok(default);
        };
        let wrong = |_| format!("{name}={text} is no value for {name}\n{HELP}").into();
        text.parse().map_err(wrong)
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    std::env::var(name).map_err(|_| format!("{name} is not set\n{HELP}").into())
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// What a job carries: number, instant before its submit, how long it takes, and padding.
fn new_job(tenant: &TenantId, number: u64, ms: u64, padding: &str) -> NewJob {
    let mut request: JobRequest = serde_json::from_str(r#"{"input":{"kind":"code","source":""}}"#)
        .expect("a minimal request");
    let JobInput::Code { source, .. } = &mut request.input else {
        unreachable!("a job with code")
    };
    *source = format!("{number} {} {ms} {padding}", now_ns());
    NewJob::new(tenant, request)
}

struct Producer {
    queue: Queue,
    tenant: TenantId,
    first: u64,
    ms: u64,
    padding: String,
}

impl Producer {
    async fn new(queue: Queue, options: &Options) -> Result<Self, Failure> {
        let tenant: String = options.get("tenant", "default".to_owned())?;
        let tenant: TenantId = tenant.to_lowercase().parse()?;
        let plenty = Quotas {
            queued_max: Some(100_000_000),
            ..Quotas::default()
        };
        queue.set_quotas(&tenant, &plenty).await?;
        Ok(Self {
            queue,
            tenant,
            first: options.get("seq0", 0)?,
            ms: options.get("ms", 0)?,
            padding: "x".repeat(options.get("size", 1024)?),
        })
    }

    /// Submits jobs by their numbers, all in one call.
    async fn submit(&self, numbers: std::ops::Range<usize>) -> Result<JobId, Failure> {
        let job = |i| new_job(&self.tenant, self.first + i as u64, self.ms, &self.padding);
        let jobs: Vec<NewJob> = numbers.map(job).collect();
        let replies = self.queue.enqueue(&self.tenant, &jobs).await?;
        match replies.iter().find(|reply| **reply != Enqueued::Accepted) {
            Some(refused) => Err(format!("a job was refused: {refused:?}").into()),
            None => Ok(jobs[0].id),
        }
    }

    async fn enqueue(self, n: usize, mode: &str) -> Result<String, Failure> {
        let (callers, batch) = match mode {
            "seq" => (1, 1),
            "single" => (CALLERS, 1),
            "bulk" => (1, BATCH_MAX),
            _ => return Err(format!("mode={mode}: give seq, single or bulk").into()),
        };
        let (this, next) = (Arc::new(self), Arc::new(AtomicUsize::new(0)));
        let start = now_ns();
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let (this, next) = (Arc::clone(&this), Arc::clone(&next));
                tokio::spawn(async move {
                    loop {
                        let from = next.fetch_add(batch, Ordering::Relaxed);
                        if from >= n {
                            return Ok::<_, Failure>(());
                        }
                        this.submit(from..n.min(from + batch)).await?;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await??;
        }
        let s = (now_ns() - start) as f64 / 1e9;
        Ok(format!(r#"{{"n":{n},"s":{s}}}"#))
    }

    async fn paced(self, n: usize, gap: Duration) -> Result<String, Failure> {
        let mut due = tokio::time::Instant::now();
        for i in 0..n {
            tokio::time::sleep_until(due).await;
            self.submit(i..i + 1).await?;
            due += gap;
        }
        Ok(format!(r#"{{"n":{n}}}"#))
    }

    /// From before each submit until its end is known here, one after the other.
    async fn roundtrip(self, n: usize) -> Result<String, Failure> {
        let hub = self.queue.hub();
        let mut took = Vec::with_capacity(n);
        // One watch stays, so that the hub keeps listening.
        let mut all = self.queue.keys().job_topic(JobId::generate(&self.tenant));
        all.item = String::new();
        let mut news = hub.watch(all);
        for i in 0..n {
            let start = now_ns();
            let id = self.submit(i..i + 1).await?;
            loop {
                // A hint may be lost; then a look every second finds the end.
                let _ = tokio::time::timeout(Duration::from_secs(1), news.hinted()).await;
                let job = self.queue.read(id).await?.ok_or("the job is gone")?;
                if job.status.is_terminal() {
                    break;
                }
            }
            took.push(now_ns() - start);
        }
        Ok(format!(r#"{{"lat":{took:?}}}"#))
    }
}

struct Worker {
    queue: Queue,
    info: WorkerInfo,
    sink: File,
    running: Mutex<HashMap<JobId, Epoch>>,
    free: Arc<Semaphore>,
}

impl Worker {
    fn note(&self, number: u64, submitted: u64, event: u64) {
        let mut note = [0; 32];
        let process = u64::from(std::process::id()) << 8 | event;
        for (i, value) in [number, submitted, now_ns(), process].iter().enumerate() {
            note[i * 8..i * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        (&self.sink)
            .write_all(&note)
            .expect("PEER_SINK takes notes");
    }

    async fn run_one(&self, claim: Claim) -> (JobId, Epoch, JobResult) {
        let payload = claim.payload.expect("a payload of ours");
        let JobInput::Code { source, .. } = payload.request.input else {
            unreachable!("a job with code")
        };
        let mut words = source.split(' ').map_while(|word| word.parse::<u64>().ok());
        let mut word = || words.next().expect("a job of ours");
        let (number, submitted, ms) = (word(), word(), word());
        self.note(number, submitted, 0);
        if ms > 0 {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            self.note(number, submitted, 1);
        }
        (claim.job, claim.epoch, JobResult::default())
    }

    /// Tells Redis of ended jobs, all that there are at once.
    async fn settle(
        &self,
        mut ended: mpsc::Receiver<(JobId, Epoch, JobResult)>,
    ) -> Result<(), Failure> {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while ended.recv_many(&mut batch, BATCH_MAX).await > 0 {
            self.queue.finish_many(&batch).await?;
            let mut running = self.running.lock().expect("no panic while locked");
            for (job, ..) in &batch {
                running.remove(job);
            }
            self.free.add_permits(batch.len());
            batch.clear();
        }
        Ok(())
    }

    /// Like the worker's: once more after the last job, then the claims are signs of life enough.
    async fn keep_leases(&self) -> Result<(), Failure> {
        let mut told = false;
        loop {
            let jobs: Vec<Renewal> = {
                let running = self.running.lock().expect("no panic while locked");
                let news = |(job, epoch): (&JobId, &Epoch)| Renewal {
                    job: *job,
                    epoch: *epoch,
                    events: Vec::new(),
                };
                running.iter().map(news).collect()
            };
            if jobs.is_empty() && told {
                self.queue.renew(&self.info, LEASE, &[]).await?;
            }
            told = !jobs.is_empty();
            for batch in jobs.chunks(BATCH_MAX) {
                self.queue.renew(&self.info, LEASE, batch).await?;
            }
            tokio::time::sleep(RENEW_EVERY).await;
        }
    }

    async fn claim(
        self: Arc<Self>,
        ended: mpsc::Sender<(JobId, Epoch, JobResult)>,
    ) -> Result<(), Failure> {
        let mut bell = self.queue.bell().await?;
        loop {
            self.free.acquire().await?.forget();
            let mut slots = 1;
            while slots < BATCH_MAX && self.free.try_acquire().map(|slot| slot.forget()).is_ok() {
                slots += 1;
            }
            let claimed = self.queue.claim(&self.info, slots, LEASE).await?;
            self.free.add_permits(slots - claimed.claims.len());
            if claimed.claims.is_empty() {
                bell.wait(claimed.wait).await?;
                continue;
            }
            {
                let mut running = self.running.lock().expect("no panic while locked");
                running.extend(claimed.claims.iter().map(|claim| (claim.job, claim.epoch)));
            }
            for claim in claimed.claims {
                let (this, ended) = (Arc::clone(&self), ended.clone());
                tokio::spawn(async move {
                    let done = this.run_one(claim).await;
                    let _ = ended.send(done).await;
                });
            }
        }
    }
}

async fn work(queue: Queue, slots: u32) -> Result<(), Failure> {
    let sink = OpenOptions::new()
        .append(true)
        .create(true)
        .open(variable("PEER_SINK")?)?;
    let worker = Arc::new(Worker {
        queue,
        info: manimq_shared::testing::worker(slots),
        sink,
        running: Mutex::default(),
        free: Arc::new(Semaphore::new(slots as usize)),
    });
    let (sender, receiver) = mpsc::channel(BATCH_MAX);
    tokio::select! {
        ended = Arc::clone(&worker).claim(sender) => ended,
        ended = worker.settle(receiver) => ended,
        ended = worker.keep_leases() => ended,
    }
}

async fn run() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let command = args.next().ok_or(HELP)?;
    if command == "version" {
        println!("{}", env!("CARGO_PKG_VERSION"));
        return Ok(());
    }
    let options = Options::parse(args)?;
    let queue = Queue::connect(&RedisConfig::new(variable("REDIS_URL")?)).await?;
    let n = options.get("n", 1000)?;
    let producer = async || Producer::new(queue.clone(), &options).await;
    let result = match command.as_str() {
        "enqueue" => {
            let mode: String = options.get("mode", "single".to_owned())?;
            producer().await?.enqueue(n, &mode).await?
        }
        "paced" => {
            let gap = Duration::from_micros(options.get("gap_us", 5000)?);
            producer().await?.paced(n, gap).await?
        }
        "roundtrip" => producer().await?.roundtrip(n).await?,
        "work" => return work(queue.clone(), options.get("conc", 64)?).await,
        _ => return Err(format!("{command} is no command\n{HELP}").into()),
    };
    println!("RESULT {result}");
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
