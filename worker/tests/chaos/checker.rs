//! Judges a run: what all processes saw, against what the queue says in the end.
//!
//! | promise | checked by |
//! | --- | --- |
//! | an accepted job is never lost and ends exactly once | [`every_accepted_job_ended_once`] |
//! | each claim has a new, greater epoch, known to one worker only | [`epochs_grow_and_have_one_holder`] |
//! | a result is published once, by the last holder, and nobody else is told so | [`published_once`] |
//! | what an attempt was told is what happened | [`answers_are_true`] |
//! | after a cancel no attempt starts | [`cancels_hold`] |
//! | a job ends as its scene, its deadline or its cancel says | [`ends_have_reasons`] |
//! | one idempotency key, one job | [`keys_name_one_job`] |
//! | a dead worker's jobs are taken back in time | [`dead_workers_jobs_run_again_in_time`] |
//! | no quota is exceeded | [`quotas_hold`] |
//! | the counters add up, nothing is left over | [`nothing_is_left_and_counters_add_up`] |

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::job::{AttemptOutcome, FailureClass, Status};
use manimq_shared::queue::LEASE;

use crate::evidence::{Evidence, Final, Step, Try};
use crate::history::{Answer, CancelAnswer, Fate, Order, What};
use crate::store;

/// How long after a worker's death its jobs wait at most: the lease and a round of renewals.
const AGAIN_MAX: Duration = LEASE.saturating_add(Duration::from_secs(3));
/// How long the reaper holds back after nobody was heard of.
const GRACE: Duration = LEASE.checked_div(2).unwrap();

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub job: Option<JobId>,
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.job {
            Some(job) => write!(f, "{job}: {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

type Violations = Vec<Violation>;

fn wrong(violations: &mut Violations, job: JobId, text: impl Into<String>) {
    violations.push(Violation {
        job: Some(job),
        text: text.into(),
    });
}

fn wrong_all(violations: &mut Violations, text: impl Into<String>) {
    violations.push(Violation {
        job: None,
        text: text.into(),
    });
}

/// What the processes saw of one job.
#[derive(Default)]
struct Seen<'a> {
    order: Option<&'a Order>,
    /// When it was first known to be accepted.
    accepted: Option<u64>,
    answers: Vec<&'a Answer>,
    /// When asked, when answered.
    cancels: Vec<(u64, Option<(u64, CancelAnswer)>)>,
    claimed: Vec<(&'a str, Epoch)>,
    started: Vec<(&'a str, Epoch)>,
    ended: Vec<(&'a str, Epoch, &'a str)>,
}

struct View<'a> {
    evidence: &'a Evidence,
    seen: BTreeMap<JobId, Seen<'a>>,
    /// Who is which worker.
    workers: HashMap<&'a str, WorkerId>,
    /// Jobs for whose sake a job rendered, besides its own.
    led: BTreeMap<JobId, Vec<JobId>>,
}

/// What a run came to, for its last line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub accepted: usize,
    pub by_status: BTreeMap<&'static str, usize>,
    /// Jobs that had the result of another's render.
    pub shared: usize,
    pub attempts: usize,
    pub leases_lost: usize,
    /// Attempts that came back after their lease was over, and were told so.
    pub zombies: usize,
    /// From a worker's death or freeze until its job was queued again.
    pub requeued: Timed,
    /// The same until it ran again, where only the queue decided on that.
    pub again: Timed,
}

/// How long something took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Timed {
    pub count: usize,
    pub longest_ms: u64,
}

impl Timed {
    fn add(&mut self, us: u64) {
        self.count += 1;
        self.longest_ms = self.longest_ms.max(us / 1000);
    }
}

/// All broken promises.
pub fn check(evidence: &Evidence) -> (Violations, Figures) {
    let view = View::of(evidence);
    let mut violations = Vec::new();
    let mut figures = view.figures();
    every_accepted_job_ended_once(&view, &mut violations);
    epochs_grow_and_have_one_holder(&view, &mut violations);
    published_once(&view, &mut violations);
    answers_are_true(&view, &mut violations);
    cancels_hold(&view, &mut violations);
    ends_have_reasons(&view, &mut violations);
    keys_name_one_job(&view, &mut violations);
    dead_workers_jobs_run_again_in_time(&view, &mut violations, &mut figures);
    quotas_hold(&view, &mut violations);
    nothing_is_left_and_counters_add_up(&view, &mut violations);
    (violations, figures)
}

impl<'a> View<'a> {
    fn of(evidence: &'a Evidence) -> Self {
        let mut seen: BTreeMap<JobId, Seen<'a>> = BTreeMap::new();
        let mut workers = HashMap::new();
        for record in &evidence.records {
            let at = record.at_us;
            let who = record.who.as_str();
            if let What::WorkerIs { worker } = record.what {
                workers.insert(who, worker);
            }
            let Some(job) = record.what.job() else {
                continue;
            };
            let seen = seen.entry(job).or_default();
            match &record.what {
                What::Submitting { order, .. } => seen.order = Some(order),
                What::Submitted { answer, .. } => {
                    seen.answers.push(answer);
                    if *answer == Answer::Accepted {
                        seen.accepted.get_or_insert(at);
                    }
                }
                What::Canceling { .. } => seen.cancels.push((at, None)),
                What::CancelAnswered { answer, .. } => {
                    let open = seen.cancels.iter_mut().find(|(_, answer)| answer.is_none());
                    if let Some((_, told)) = open {
                        *told = Some((at, *answer));
                    }
                }
                What::Claimed { epoch, .. } => seen.claimed.push((who, *epoch)),
                What::Started { epoch, .. } => seen.started.push((who, *epoch)),
                What::Ended { epoch, outcome, .. } => seen.ended.push((who, *epoch, outcome)),
                What::WorkerIs { .. } | What::Fault { .. } => {}
            }
        }
        let mut led: BTreeMap<JobId, Vec<JobId>> = BTreeMap::new();
        for (id, job) in &evidence.jobs {
            if let Some(leader) = job.rendered_by {
                led.entry(leader).or_default().push(*id);
            }
        }
        Self {
            evidence,
            seen,
            workers,
            led,
        }
    }

    /// Whether a cancelled job went on for others, and a result of it is one of theirs.
    fn succeeded_for_others(&self, id: JobId) -> bool {
        let mut others = self.led.get(&id).into_iter().flatten();
        others.any(|other| self.evidence.jobs[other].status == Status::Succeeded)
    }

    /// Jobs that the queue knows, with what was seen of them.
    fn known(&self) -> impl Iterator<Item = (JobId, &Seen<'a>, &'a Final)> {
        let jobs = self.seen.iter();
        jobs.filter_map(|(job, seen)| Some((*job, seen, self.evidence.jobs.get(job)?)))
    }

    /// Those of them of which Redis forgot nothing.
    fn remembered(&self) -> impl Iterator<Item = (JobId, &Seen<'a>, &'a Final)> {
        let rewound = &self.evidence.rewound;
        self.known().filter(|(id, ..)| !rewound.contains(id))
    }

    fn figures(&self) -> Figures {
        let mut figures = Figures {
            accepted: self.seen.values().filter(|s| s.accepted.is_some()).count(),
            ..Figures::default()
        };
        for (_, seen, job) in self.known() {
            *figures.by_status.entry(job.status.as_str()).or_default() += 1;
            figures.shared += usize::from(job.rendered_by.is_some());
            figures.attempts += job.tries.len();
            figures.leases_lost += lost_leases(job);
            figures.zombies += seen.ended.iter().filter(|(.., word)| *word == LOST).count();
        }
        figures
    }
}

/// The worker's word for an attempt whose result was published, and for one that the queue refused.
const SUCCEEDED: &str = "succeeded";
const LOST: &str = "lost";

fn lost_leases(job: &Final) -> usize {
    let lost = |t: &&Try| t.outcome == Some(AttemptOutcome::LostLease);
    job.tries.iter().filter(lost).count()
}

fn every_accepted_job_ended_once(view: &View<'_>, violations: &mut Violations) {
    let lost = &view.evidence.lost_by_redis;
    for (id, seen) in &view.seen {
        let known = view.evidence.jobs.contains_key(id);
        let excused = lost.contains(id) && !view.evidence.durable;
        if seen.accepted.is_some() && !known && !excused {
            wrong(violations, *id, "was accepted and is lost");
        }
        if known && lost.contains(id) {
            wrong(violations, *id, "counts as lost by Redis and is there");
        }
        let refused = !seen.answers.is_empty() && seen.accepted.is_none();
        if known && refused {
            wrong(violations, *id, "was refused and is there");
        }
    }
    for (id, _, job) in view.known() {
        let ends = job.steps.iter().filter(|(_, s)| matches!(s, Step::Done(_)));
        if ends.count() != 1 || !job.status.is_terminal() {
            let text = format!("is {} and did not end exactly once", job.status);
            wrong(violations, id, text);
        } else if job.steps.last().map(|(_, s)| s) != Some(&Step::Done(job.status)) {
            wrong(violations, id, "something happened after its end");
        }
    }
}

fn epochs_grow_and_have_one_holder(view: &View<'_>, violations: &mut Violations) {
    for (id, seen, job) in view.known() {
        let told: Vec<(Epoch, WorkerId)> = job.tries.iter().map(|t| (t.epoch, t.worker)).collect();
        let grows = (1..).zip(&told).all(|(n, (epoch, _))| epoch.0 == n);
        if !grows {
            wrong(violations, id, "its epochs are not 1, 2, 3, …");
        }
        let claims: Vec<(Epoch, WorkerId)> = job.runs().map(|(_, e, w)| (e, w)).collect();
        // Of a job that went on for others its owner is shown what was before the cancel.
        let shown = match view.led.contains_key(&id) && job.status == Status::Canceled {
            true => told.starts_with(&claims),
            false => told == claims,
        };
        if job.rendered_by.is_none() && !shown {
            wrong(violations, id, "its attempts are not its claims");
        }
        if view.evidence.rewound.contains(&id) {
            continue;
        }
        for (what, seen) in [("claimed", &seen.claimed), ("started", &seen.started)] {
            let mut once = BTreeSet::new();
            for (who, epoch) in seen {
                let holder = view.workers.get(who);
                let ours = |(e, w): &(Epoch, WorkerId)| e == epoch && Some(w) == holder;
                if !told.iter().any(ours) {
                    let text = format!("{who} {what} epoch {epoch}, which is not its own");
                    wrong(violations, id, text);
                }
                if !once.insert(*epoch) {
                    wrong(violations, id, format!("epoch {epoch} was {what} twice"));
                }
            }
        }
    }
}

fn published_once(view: &View<'_>, violations: &mut Violations) {
    for (id, seen, job) in view.known() {
        let last = job.tries.last().map(|t| t.epoch);
        let compared = !view.evidence.rewound.contains(&id);
        let told = seen
            .ended
            .iter()
            .filter(|(.., word)| compared && *word == SUCCEEDED);
        let told: Vec<_> = told.map(|(who, epoch, _)| (*who, *epoch)).collect();
        if told.len() > 1 {
            wrong(violations, id, format!("was published by all of {told:?}"));
        }
        for (who, epoch) in &told {
            let published = job.status == Status::Succeeded || view.succeeded_for_others(id);
            if !published || Some(*epoch) != last {
                let text = format!(
                    "{who} was told that epoch {epoch} is published; the job is {}",
                    job.status
                );
                wrong(violations, id, text);
            }
        }
        if job.status != Status::Succeeded {
            if !job.files.is_empty() {
                wrong(
                    violations,
                    id,
                    format!("is {} and has a result", job.status),
                );
            }
            continue;
        }
        if job.files.is_empty() {
            wrong(violations, id, "succeeded without a result");
        }
        let renderer = job.rendered_by.unwrap_or(id);
        let last = view.evidence.jobs.get(&renderer);
        let last = last.and_then(|renderer| renderer.tries.last());
        let last = last.filter(|last| last.outcome == Some(AttemptOutcome::Succeeded));
        for (name, key, sha256) in &job.files {
            if last.is_none_or(|last| *key != store::key(renderer, last.epoch, name)) {
                let text = format!("its result {key} is not that of its last attempt");
                wrong(violations, id, text);
            }
            if view.evidence.stored.get(key) != Some(sha256) {
                wrong(violations, id, format!("its result {key} is not stored"));
            }
        }
    }
}

/// The worker's word for the end of an attempt, against the queue's.
fn answers_are_true(view: &View<'_>, violations: &mut Violations) {
    for (id, seen, job) in view.remembered() {
        for (who, epoch, word) in &seen.ended {
            let Some(attempt) = job.tries.iter().find(|t| t.epoch == *epoch) else {
                continue; // told above
            };
            let is_true = match (*word, attempt.outcome) {
                (_, None) => false,
                (LOST, Some(outcome)) => match outcome {
                    AttemptOutcome::LostLease => true,
                    // Over its worker's head, after the grace of a cancel.
                    AttemptOutcome::Canceled => true,
                    // The answer went astray, and before the call was repeated a later attempt was
                    // settled: the queue keeps the last answer only.
                    AttemptOutcome::Failed | AttemptOutcome::Released => {
                        job.tries.last().is_some_and(|last| last.epoch > *epoch)
                    }
                    AttemptOutcome::Succeeded => false,
                },
                (SUCCEEDED, Some(outcome)) => outcome == AttemptOutcome::Succeeded,
                ("released", Some(outcome)) => outcome == AttemptOutcome::Released,
                ("canceled", Some(outcome)) => outcome != AttemptOutcome::Succeeded,
                (_, Some(outcome)) => outcome == AttemptOutcome::Failed,
            };
            if !is_true {
                let text = format!(
                    "{who} was told {word:?} of epoch {epoch}, which ended as {:?}",
                    attempt.outcome
                );
                wrong(violations, id, text);
            }
        }
    }
}

fn cancels_hold(view: &View<'_>, violations: &mut Violations) {
    for (id, seen, job) in view.remembered() {
        // What goes on for others may start after its own cancel; and who waits for another's
        // render is shown that one's steps.
        let alone = job.rendered_by.is_none() && !view.led.contains_key(&id);
        let asked = job
            .steps
            .iter()
            .position(|(_, s)| *s == Step::CancelRequested);
        let starts_after = |steps: &[(u64, Step)]| {
            let mut steps = steps.iter();
            steps.any(|(_, step)| matches!(step, Step::Running { .. }))
        };
        if alone && asked.is_some_and(|i| starts_after(&job.steps[i..])) {
            wrong(violations, id, "ran again after it was asked to stop");
        }
        if job.status == Status::Canceled && seen.cancels.is_empty() {
            wrong(violations, id, "is canceled, and nobody asked for it");
        }
        for (asked, answer) in &seen.cancels {
            let Some((answered, answer)) = answer else {
                continue;
            };
            match answer {
                CancelAnswer::Canceled | CancelAnswer::Requested => {
                    if job.status != Status::Canceled {
                        let text = format!("was cancelled ({answer:?}) and is {}", job.status);
                        wrong(violations, id, text);
                    }
                    let late = |(ms, ..): &(u64, Epoch, WorkerId)| ms * 1000 > *answered;
                    if alone && !view.evidence.clock_moved && job.runs().any(|run| late(&run)) {
                        wrong(violations, id, "started after its cancel was answered");
                    }
                }
                CancelAnswer::AlreadyTerminal => {
                    let ended = job.steps.last().map_or(0, |(ms, _)| *ms);
                    if !view.evidence.clock_moved && ended * 1000 > *answered {
                        wrong(violations, id, "ended after a cancel was told that it had");
                    }
                }
                CancelAnswer::NotFound => {
                    if seen.accepted.is_some_and(|accepted| accepted < *asked) {
                        wrong(violations, id, "was accepted, and a cancel did not find it");
                    }
                }
            }
        }
    }
}

fn ends_have_reasons(view: &View<'_>, violations: &mut Violations) {
    for (id, seen, job) in view.known() {
        let Some(order) = seen.order else {
            wrong(violations, id, "is there, and nobody submitted it");
            continue;
        };
        let fate = order.recipe.fate;
        // Of the clean ways to lose three leases a run knows three: deaths, freezes, long cuts.
        let renderer = job
            .rendered_by
            .map_or(Some(job), |id| view.evidence.jobs.get(&id));
        let lost = renderer.map_or(0, lost_leases);
        let poison = job.class == Some(FailureClass::LostWorker) && lost >= 3;
        if let Some(renderer) = job.rendered_by {
            let asked = |id| view.seen.get(&id).and_then(|seen| seen.order);
            let work = |id| asked(id).map(|order| (&order.tenant, order.work));
            if !job.tries.is_empty() || order.work.is_none() || work(renderer) != work(id) {
                let text = format!("has the result of {renderer}, which is not its work");
                wrong(violations, id, text);
            }
        }
        let has_reason = match job.status {
            Status::Succeeded => !matches!(fate, Fate::SceneError | Fate::BreaksAlways),
            Status::Failed => {
                poison
                    || match fate {
                        Fate::SceneError => job.class == Some(FailureClass::SceneError),
                        Fate::BreaksAlways => job.class == Some(FailureClass::SandboxUnavailable),
                        Fate::Good | Fate::Stubborn | Fate::BreaksOnce | Fate::PanicsOnce => false,
                    }
            }
            Status::Expired => order.deadline_s.is_some() && job.tries.is_empty(),
            Status::Canceled => true, // told by `cancels_hold`
            Status::Queued | Status::Running => true, // told by `every_accepted_job_ended_once`
        };
        if !has_reason {
            let text = format!(
                "is {} ({:?}), which its fate {fate:?} does not explain",
                job.status, job.class
            );
            wrong(violations, id, text);
        }
    }
}

fn keys_name_one_job(view: &View<'_>, violations: &mut Violations) {
    let mut jobs_of_key: BTreeMap<(&TenantId, &str), Vec<JobId>> = BTreeMap::new();
    for (id, seen) in &view.seen {
        if let Some(order) = seen.order
            && let Some((key, _)) = &order.key
        {
            let jobs = jobs_of_key.entry((&order.tenant, key)).or_default();
            jobs.push(*id);
        }
    }
    for ((tenant, key), ids) in jobs_of_key {
        let there = |id: &&JobId| view.evidence.jobs.contains_key(id);
        let there: Vec<JobId> = ids.iter().filter(there).copied().collect();
        if there.len() > 1 {
            let text = format!("has the key {key:?} of {tenant}, and so have {there:?}");
            wrong(violations, there[0], text);
        }
        for id in &ids {
            for answer in &view.seen[id].answers {
                let (Answer::Exists(other) | Answer::KeyReused(other)) = answer else {
                    continue;
                };
                let order = view.seen[id].order.and_then(|order| order.key.as_ref());
                let first = view.seen.get(other).and_then(|seen| seen.order);
                let first = first.and_then(|order| order.key.as_ref());
                let same_body = order.map(|(_, body)| body) == first.map(|(_, body)| body);
                let said_same = matches!(answer, Answer::Exists(_));
                let lost = view.evidence.lost_by_redis.contains(other);
                if (there.first() != Some(other) && !lost) || same_body != said_same {
                    let text = format!("was answered {answer:?} for the key {key:?} of {tenant}");
                    wrong(violations, *id, text);
                }
            }
        }
    }
}

/// Total time of the intervals within another, microseconds.
fn overlap(intervals: impl Iterator<Item = (u64, u64)>, from: u64, to: u64) -> u64 {
    intervals
        .map(|(a, b)| b.min(to).saturating_sub(a.max(from)))
        .sum()
}

fn dead_workers_jobs_run_again_in_time(
    view: &View<'_>,
    violations: &mut Violations,
    figures: &mut Figures,
) {
    let evidence = view.evidence;
    if evidence.clock_moved {
        return;
    }
    let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let mut deaths: Vec<(WorkerId, &str, u64)> = Vec::new();
    for record in &evidence.records {
        if let What::Fault { fault, target } = &record.what
            && matches!(fault.as_str(), KILLED | FROZEN)
            && let Some(worker) = view.workers.get(target.as_str())
        {
            deaths.push((*worker, target, record.at_us));
        }
    }
    for (id, _, job) in view.remembered() {
        for (i, (claimed, step)) in job.steps.iter().enumerate() {
            let Step::Running { epoch, worker } = step else {
                continue;
            };
            let lost = |t: &Try| t.epoch == *epoch && t.outcome == Some(AttemptOutcome::LostLease);
            let (true, Some(over)) = (job.tries.iter().any(lost), job.over(i)) else {
                continue;
            };
            let (claimed, over) = (claimed * 1000, over * 1000);
            let death = deaths
                .iter()
                .find(|(dead, _, at)| dead == worker && (claimed..over).contains(at));
            let Some((_, who, died)) = death else {
                continue;
            };
            // Nothing is taken back while Redis or all workers are away, and then only after a grace
            // for whoever lives; a call of
            // the dead that was held on its way renews its lease when it arrives.
            let away = overlap(evidence.outages.iter().copied(), *died, over);
            let grace = if away > 0 { us(GRACE) } else { 0 };
            let held = evidence.cut_off.iter().filter(|(held, ..)| held == who);
            let held = overlap(held.map(|(_, a, b)| (*a, *b)), died.saturating_sub(1), over);
            let bound = us(AGAIN_MAX + evidence.stall) + away + grace + held;
            let took = over - died;
            figures.requeued.add(took);
            if took > bound {
                let text = format!(
                    "was taken back {} ms after {who} died, more than {} ms",
                    took / 1000,
                    bound / 1000
                );
                wrong(violations, id, text);
            }
            let next = job.steps[i + 1..]
                .iter()
                .find_map(|(ms, step)| matches!(step, Step::Running { .. }).then_some(ms * 1000));
            let Some(next) = next else {
                continue;
            };
            let capped = evidence.caps.get(&job.tenant).and_then(|caps| caps.running);
            if capped.is_some() {
                continue;
            }
            let paused = overlap(evidence.pauses.iter().copied(), *died, next);
            let away = overlap(evidence.outages.iter().copied(), *died, next);
            let grace = if away > 0 { us(GRACE) } else { 0 };
            let bound = us(AGAIN_MAX + evidence.stall) + away + grace + held + paused;
            let again = next - died;
            figures.again.add(again);
            if again > bound {
                let text = format!(
                    "ran again {} ms after {who} died, more than {} ms",
                    again / 1000,
                    bound / 1000
                );
                wrong(violations, id, text);
            }
        }
    }
}

/// The words of the driver for what ends a worker's renewals.
pub const KILLED: &str = "killed";
pub const FROZEN: &str = "frozen";

/// The most that were inside at once, of intervals in milliseconds. Who leaves makes room for who
/// comes in the same millisecond.
fn most_at_once(mut intervals: Vec<(u64, u64)>) -> usize {
    intervals.sort_unstable();
    let mut ends: Vec<u64> = intervals.iter().map(|(_, end)| *end).collect();
    ends.sort_unstable();
    let (mut gone, mut most) = (0, 0);
    for (begun, (start, _)) in (1..).zip(&intervals) {
        while ends[gone] <= *start && gone + 1 < begun {
            gone += 1;
        }
        most = most.max(begun - gone);
    }
    most
}

fn quotas_hold(view: &View<'_>, violations: &mut Violations) {
    if view.evidence.clock_moved {
        return;
    }
    for (tenant, caps) in &view.evidence.caps {
        let mut live = Vec::new();
        let mut running = Vec::new();
        for job in view.evidence.jobs.values().filter(|j| j.tenant == *tenant) {
            let end = job.steps.last().map_or(u64::MAX, |(ms, _)| *ms);
            live.push((job.created_ms, end));
            running.extend(job.tries.iter().map(|t| (t.from_ms, t.to_ms)));
        }
        for (what, cap, intervals) in [
            ("live", caps.queued, live),
            ("running", caps.running, running),
        ] {
            let most = most_at_once(intervals);
            if let Some(cap) = cap
                && most > cap
            {
                let text = format!("{tenant} had {most} {what} jobs, and may have {cap}");
                wrong_all(violations, text);
            }
        }
    }
}

fn nothing_is_left_and_counters_add_up(view: &View<'_>, violations: &mut Violations) {
    let stats = &view.evidence.stats;
    let left = [
        ("ready", stats.ready),
        ("delayed", stats.delayed),
        ("running", stats.running),
        ("following", stats.following),
    ];
    for (what, n) in left {
        if n > 0 {
            wrong_all(violations, format!("{n} jobs are still {what}"));
        }
    }
    let jobs = view.evidence.jobs.values();
    let count = |status: Status| jobs.clone().filter(|job| job.status == status).count();
    let mut expected = vec![
        ("submitted", view.evidence.jobs.len()),
        ("leases_lost", jobs.clone().map(lost_leases).sum()),
        // Nothing that a transition has to put right may ever go wrong.
        ("repairs", 0),
    ];
    let terminal = Status::ALL.iter().filter(|status| status.is_terminal());
    expected.extend(terminal.map(|status| (status.as_str(), count(*status))));
    for (name, expected) in expected {
        let counted = stats.counters.get(name).copied().unwrap_or(0);
        if i64::try_from(expected) != Ok(counted) {
            let text = format!("the counter {name} is {counted}, and should be {expected}");
            wrong_all(violations, text);
        }
    }
}

/// All that is known of a job, by time.
pub fn timeline(evidence: &Evidence, job: JobId) -> String {
    let mut lines: Vec<(u64, String)> = evidence
        .records
        .iter()
        .filter(|record| record.what.job() == Some(job))
        .map(|record| (record.at_us, format!("{}: {:?}", record.who, record.what)))
        .collect();
    if let Some(job) = evidence.jobs.get(&job) {
        let steps = job.steps.iter();
        lines.extend(steps.map(|(ms, step)| (ms * 1000, format!("Redis: {step:?}"))));
        let whole = format!("in the end: {} {:?} {:?}", job.status, job.tries, job.files);
        lines.push((u64::MAX, whole));
    }
    lines.sort();
    let start = lines.first().map_or(0, |(at, _)| *at);
    let line = |(at, text): &(u64, String)| match *at {
        u64::MAX => format!("             {text}\n"),
        at => format!("{:9} ms {text}\n", (at - start) / 1000),
    };
    lines.iter().map(line).collect()
}
