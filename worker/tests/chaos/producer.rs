//! A producer of a run: submits, repeats what was not answered, cancels some, and writes it all down.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{JobPayload, JobRequest, Lane};
use manimq_shared::queue::{Enqueued, NewJob, Queue, QueueError, RedisConfig, RenderKey};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::Signal;

use crate::dice::Dice;
use crate::history::{Answer, Fate, History, Order, Recipe, What, now_us, read};
use crate::part::Task;

/// What a producer needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Role {
    pub seed: u64,
    pub tenants: Vec<TenantId>,
    /// Pause after each submit, at most.
    pub pause_ms: u64,
    /// History of a producer that was killed: what it got no answer for is submitted again.
    pub heir_of: Option<PathBuf>,
}

/// How long a queue that is away is waited for.
const PATIENCE: Duration = Duration::from_secs(90);
/// Jobs that are remembered to be cancelled or submitted once more.
const REMEMBERED: usize = 50;

/// For so long the same work is asked for.
const SAME_WORK_US: u64 = 2_000_000;

fn recipe(dice: &mut Dice, shortest_ms: u64, longest_ms: u64) -> Recipe {
    let takes_ms = dice.between(shortest_ms, longest_ms);
    let fate = match dice.between(0, 999) {
        0..=29 => Fate::SceneError,
        30..=49 => Fate::BreaksOnce,
        50..=54 => Fate::BreaksAlways,
        55..=57 => Fate::PanicsOnce,
        58..=99 => Fate::Stubborn,
        _ => Fate::Good,
    };
    Recipe {
        takes_ms,
        again_ms: takes_ms,
        fate,
    }
}

/// A job for the queue.
pub fn new_job(id: JobId, order: &Order, lane: Lane, delay: Duration) -> NewJob {
    let source = match order.work {
        Some(work) => format!("{}# work {work}\n", order.recipe.source()),
        None => order.recipe.source(),
    };
    let mut request: JobRequest = serde_json::from_value(serde_json::json!({
        "input": {"kind": "code", "scene": "A", "source": source},
        "deadline_s": order.deadline_s,
    }))
    .expect("a request");
    request.lane = lane;
    let payload = JobPayload::from(request);
    NewJob {
        id,
        render: order.work.and_then(|_| RenderKey::of(&payload)),
        payload,
        delay,
        idempotency: order.key.clone(),
    }
}

/// A new id for a job of this tenant.
pub fn new_id(tenant: &TenantId) -> JobId {
    JobId::generate(tenant)
}

/// Repeats a call until the queue answers.
async fn answer<T>(mut call: impl AsyncFnMut() -> Result<T, QueueError>) -> T {
    let began = Instant::now();
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(QueueError::Unavailable(_)) if began.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
    }
}

/// Submits until SIGTERM; what it has begun then is answered before it ends.
pub async fn run(task: &Task, role: Role, history: &History, mut term: Signal) {
    let config = RedisConfig {
        prefix: task.redis_prefix.clone(),
        durable: task.durable,
        ..RedisConfig::new(task.redis_url.clone())
    };
    let queue = answer(async || Queue::connect(&config).await).await;
    let mut producer = Producer {
        queue,
        history,
        dice: Dice::new(role.seed),
        who: task.who.clone(),
        keys: 0,
        known: Vec::new(),
        cancels: Vec::new(),
    };
    if let Some(path) = &role.heir_of {
        producer.inherit(&read(path)).await;
    }
    loop {
        producer.step(&role.tenants).await;
        let pause = producer.dice.ms(1, role.pause_ms);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = term.recv() => return,
        }
    }
}

struct Producer<'a> {
    queue: Queue,
    history: &'a History,
    dice: Dice,
    who: String,
    keys: u64,
    /// Accepted jobs, the latest last.
    known: Vec<(JobId, Order)>,
    /// What will be cancelled when.
    cancels: Vec<(Instant, JobId, TenantId)>,
}

impl Producer<'_> {
    async fn step(&mut self, tenants: &[TenantId]) {
        let tenant = self.dice.pick(tenants).expect("tenants").clone();
        let count = self.dice.between(1, 4);
        let orders = (0..count).map(|_| self.order(tenant.clone())).collect();
        self.submit(orders).await;
        if self.dice.percent(10) {
            self.submit_once_more().await;
        }
        // One of the latest: it may be about to start, or run.
        let latest = self.known.len().saturating_sub(6);
        if self.dice.percent(15)
            && let Some((job, order)) = self.dice.pick(&self.known[latest..]).cloned()
        {
            let when = Instant::now() + self.dice.ms(0, 300);
            self.cancels.push((when, job, order.tenant));
        }
        let now = Instant::now();
        while let Some(i) = self.cancels.iter().position(|(when, ..)| *when <= now) {
            let (_, job, tenant) = self.cancels.swap_remove(i);
            self.cancel(job, &tenant).await;
        }
    }

    fn order(&mut self, tenant: TenantId) -> Order {
        self.keys += 1;
        let key = self.dice.percent(80);
        let key = key.then(|| (format!("{} {}", self.who, self.keys), "body".to_owned()));
        if self.dice.percent(20) {
            // What others ask for at this time, too: all producers draw the same.
            let work = now_us() / SAME_WORK_US;
            let recipe = recipe(&mut Dice::new(work), 300, 1_500);
            return Order {
                tenant,
                recipe,
                work: Some(work),
                deadline_s: None,
                key,
            };
        }
        let recipe = if self.dice.percent(4) {
            recipe(&mut self.dice, 1_000, 3_000)
        } else {
            recipe(&mut self.dice, 1, 250)
        };
        Order {
            tenant,
            recipe,
            work: None,
            deadline_s: self.dice.percent(5).then_some(1),
            key,
        }
    }

    /// Submits jobs of one tenant, until they are answered.
    async fn submit(&mut self, orders: Vec<Order>) {
        let Some(tenant) = orders.first().map(|order| order.tenant.clone()) else {
            return;
        };
        let jobs: Vec<NewJob> = orders
            .iter()
            .map(|order| {
                let lane = *self.dice.pick(Lane::ALL).expect("lanes");
                let delay = if order.work.is_none() && self.dice.percent(10) {
                    self.dice.ms(1, 2_000)
                } else {
                    Duration::ZERO
                };
                new_job(new_id(&tenant), order, lane, delay)
            })
            .collect();
        let submitting = |(job, order): (&NewJob, &Order)| What::Submitting {
            job: job.id,
            order: order.clone(),
        };
        self.history
            .note_all(jobs.iter().zip(&orders).map(submitting));
        let replies = answer(async || self.queue.enqueue(&tenant, &jobs).await).await;
        let mut refused = false;
        let mut notes = Vec::new();
        for ((job, order), reply) in jobs.iter().zip(orders).zip(replies) {
            let answer = match reply {
                Enqueued::Accepted | Enqueued::Cached => Answer::Accepted,
                // The first call had taken effect.
                Enqueued::Exists(id) if id == job.id => Answer::Accepted,
                Enqueued::Exists(id) => Answer::Exists(id),
                Enqueued::KeyReused(id) => Answer::KeyReused(id),
                Enqueued::Full { .. } => Answer::Full,
                Enqueued::Limited { .. } => Answer::Limited,
                Enqueued::Forbidden { .. } | Enqueued::NotCached | Enqueued::Withheld => {
                    panic!("{} was answered {reply:?}", job.id)
                }
            };
            refused |= matches!(answer, Answer::Full | Answer::Limited);
            if answer == Answer::Accepted {
                self.known.push((job.id, order));
            }
            notes.push(What::Submitted {
                job: job.id,
                answer,
            });
        }
        self.history.note_all(notes);
        let surplus = self.known.len().saturating_sub(REMEMBERED);
        self.known.drain(..surplus);
        if refused {
            tokio::time::sleep(self.dice.ms(20, 200)).await;
        }
    }

    /// Submits one of its jobs again under another id, as a client does that lost the answer;
    /// sometimes with another body, as one does by mistake.
    async fn submit_once_more(&mut self) {
        let Some((_, mut order)) = self.dice.pick(&self.known).cloned() else {
            return;
        };
        let Some((_, fingerprint)) = &mut order.key else {
            return;
        };
        if self.dice.percent(30) {
            "another body".clone_into(fingerprint);
        }
        self.submit(vec![order]).await;
    }

    async fn cancel(&self, job: JobId, tenant: &TenantId) {
        self.history.note(What::Canceling { job });
        let outcome = answer(async || self.queue.cancel(tenant, job).await).await;
        self.history.note(What::CancelAnswered {
            job,
            answer: outcome.into(),
        });
    }

    /// Submits again what a killed producer got no answer for.
    async fn inherit(&mut self, records: &[crate::history::Record]) {
        let mut open: Vec<(JobId, Order)> = Vec::new();
        for record in records {
            match &record.what {
                What::Submitting { job, order } => open.push((*job, order.clone())),
                What::Submitted { job, .. } => open.retain(|(id, _)| id != job),
                _ => {}
            }
        }
        for (_, order) in open {
            // Without a key nobody can tell whether it was accepted.
            if order.key.is_some() {
                self.submit(vec![order]).await;
            }
        }
    }
}
