//! The checker must be able to fail: each promise is broken once, by hand.

use std::time::Duration;

use manimq_shared::ids::{Epoch, JobId, TenantId, WorkerId};
use manimq_shared::job::{AttemptOutcome, FailureClass, Status};

use crate::checker::{KILLED, check};
use crate::evidence::{Caps, Evidence, Final, Loss, Step, Try, loss};
use crate::history::{Answer, CancelAnswer, Fate, Order, Recipe, Record, What};
use crate::{producer, store};

const SECOND_US: u64 = 1_000_000;

/// A run of one job: accepted, started by a worker that was killed, and published by another.
struct Run {
    job: JobId,
    workers: [WorkerId; 2],
    evidence: Evidence,
}

fn order(key: &str) -> Order {
    Order {
        tenant: TenantId::default(),
        recipe: Recipe {
            takes_ms: 1,
            again_ms: 1,
            fate: Fate::Good,
        },
        work: None,
        deadline_s: None,
        key: Some((key.to_owned(), "body".to_owned())),
    }
}

impl Run {
    fn honest() -> Self {
        let job = producer::new_id(&TenantId::default());
        let workers = [WorkerId::generate(), WorkerId::generate()];
        let mut run = Self {
            job,
            workers,
            evidence: Evidence::default(),
        };
        let (first, second) = (Epoch(1), Epoch(2));
        run.saw(
            0,
            "producer",
            What::Submitting {
                job,
                order: order("k"),
            },
        );
        run.saw(
            0,
            "producer",
            What::Submitted {
                job,
                answer: Answer::Accepted,
            },
        );
        for (who, worker) in [("a", workers[0]), ("b", workers[1])] {
            run.saw(0, who, What::WorkerIs { worker });
        }
        run.saw(1, "a", What::Claimed { job, epoch: first });
        run.saw(1, "a", What::Started { job, epoch: first });
        let fault = What::Fault {
            fault: KILLED.to_owned(),
            target: "a".to_owned(),
        };
        run.saw(2, "driver", fault);
        run.saw(14, "b", What::Claimed { job, epoch: second });
        run.saw(14, "b", What::Started { job, epoch: second });
        run.saw(
            15,
            "b",
            What::Ended {
                job,
                epoch: second,
                outcome: "succeeded".to_owned(),
            },
        );
        let attempt = |epoch, worker, outcome, from_ms, to_ms| Try {
            epoch,
            worker,
            outcome: Some(outcome),
            from_ms,
            to_ms,
        };
        let key = store::key(job, second, "video.mp4");
        let steps = vec![
            (
                1_000,
                Step::Running {
                    epoch: first,
                    worker: workers[0],
                },
            ),
            (14_000, Step::Queued),
            (
                14_000,
                Step::Running {
                    epoch: second,
                    worker: workers[1],
                },
            ),
            (15_000, Step::Done(Status::Succeeded)),
        ];
        let end = Final {
            tenant: TenantId::default(),
            status: Status::Succeeded,
            created_ms: 0,
            tries: vec![
                attempt(first, workers[0], AttemptOutcome::LostLease, 1_000, 14_000),
                attempt(
                    second,
                    workers[1],
                    AttemptOutcome::Succeeded,
                    14_000,
                    15_000,
                ),
            ],
            steps,
            files: vec![("video.mp4".to_owned(), key.clone(), "hash".to_owned())],
            class: None,
            rendered_by: None,
        };
        run.evidence.stored.insert(key, "hash".to_owned());
        run.evidence.jobs.insert(job, end);
        for (name, n) in [("submitted", 1), ("succeeded", 1), ("leases_lost", 1)] {
            run.evidence.stats.counters.insert(name.to_owned(), n);
        }
        run
    }

    fn saw(&mut self, at_s: u64, who: &str, what: What) {
        self.evidence.records.push(Record {
            at_us: at_s * SECOND_US,
            who: who.to_owned(),
            what,
        });
    }

    /// A worker whose lease was lost is told that it published.
    fn zombie_is_published(&mut self) {
        let (job, epoch) = (self.job, Epoch(1));
        let outcome = "succeeded".to_owned();
        let ended = What::Ended {
            job,
            epoch,
            outcome,
        };
        self.saw(26, "a", ended);
    }

    fn end(&mut self) -> &mut Final {
        self.evidence.jobs.get_mut(&self.job).expect("the job")
    }

    /// Counts the job as another status.
    fn ends_as(&mut self, status: Status) {
        let end = self.end();
        end.status = status;
        end.files.clear();
        end.steps.pop();
        end.steps.push((15_000, Step::Done(status)));
        let counters = &mut self.evidence.stats.counters;
        counters.remove("succeeded");
        counters.insert(status.as_str().to_owned(), 1);
    }

    /// Asserts that the checker says so.
    #[track_caller]
    fn is_told(&self, text: &str) {
        let (violations, _) = check(&self.evidence);
        let told = violations.iter().any(|v| v.to_string().contains(text));
        assert!(told, "{text:?} is not among {violations:#?}");
    }
}

#[test]
fn an_honest_run_breaks_no_promise() {
    let run = Run::honest();
    let (violations, figures) = check(&run.evidence);
    assert_eq!(violations, []);
    assert_eq!(
        (figures.accepted, figures.attempts, figures.leases_lost),
        (1, 2, 1)
    );
    assert_eq!(
        (figures.requeued.longest_ms, figures.again.count),
        (12_000, 1)
    );
}

#[test]
fn a_lost_job_is_told() {
    let mut run = Run::honest();
    run.evidence.jobs.clear();
    run.is_told("was accepted and is lost");
}

#[test]
fn a_job_that_redis_lost_is_no_fault_but_only_if_it_is_gone() {
    let mut run = Run::honest();
    run.evidence.lost_by_redis.insert(run.job);
    run.is_told("counts as lost by Redis and is there");
    run.evidence.jobs.clear();
    run.evidence.stats.counters.clear();
    assert_eq!(check(&run.evidence).0, []);
    run.evidence.durable = true;
    run.is_told("was accepted and is lost");
}

#[test]
fn what_a_replaced_master_had_and_nobody_has_any_more_is_what_redis_lost() {
    let mut run = Run::honest();
    let job = run.job;
    let had = [run.evidence.jobs.clone()];
    assert_eq!(loss(&had, &run.evidence.jobs), Loss::default());
    // The second attempt was claimed again.
    run.end().tries[1].from_ms += 1;
    let found = loss(&had, &run.evidence.jobs);
    assert_eq!((found.lost.len(), found.rewound.contains(&job)), (0, true));
    // More has happened since.
    let mut old = had[0].clone();
    let earlier = old.get_mut(&job).expect("the job");
    earlier.tries.truncate(1);
    earlier.steps.truncate(2);
    earlier.status = Status::Queued;
    assert_eq!(loss(&[old], &had[0]), Loss::default());
    // It is gone.
    let found = loss(&had, &Default::default());
    assert_eq!((found.lost.contains(&job), found.rewound.len()), (true, 0));
}

#[test]
fn of_a_job_that_redis_forgot_in_part_only_what_it_says_now_is_judged() {
    let mut run = Run::honest();
    let job = run.job;
    run.zombie_is_published();
    run.is_told("a was told that epoch 1 is published");
    run.evidence.rewound.insert(job);
    assert_eq!(check(&run.evidence).0, []);
    run.evidence.stored.clear();
    run.is_told("is not stored");
}

#[test]
fn a_job_that_ends_twice_or_not_at_all_is_told() {
    let mut run = Run::honest();
    run.end()
        .steps
        .push((16_000, Step::Done(Status::Succeeded)));
    run.is_told("did not end exactly once");
    let mut run = Run::honest();
    run.end().steps.pop();
    run.is_told("did not end exactly once");
    let mut run = Run::honest();
    run.end().status = Status::Queued;
    run.is_told("did not end exactly once");
}

#[test]
fn an_attempt_after_the_end_is_told() {
    let mut run = Run::honest();
    let worker = run.workers[0];
    let again = Step::Running {
        epoch: Epoch(3),
        worker,
    };
    run.end().steps.push((16_000, again));
    run.is_told("something happened after its end");
}

#[test]
fn an_epoch_that_is_given_twice_is_told() {
    let mut run = Run::honest();
    let worker = run.workers[1];
    run.end().steps[2].1 = Step::Running {
        epoch: Epoch(1),
        worker,
    };
    run.is_told("its attempts are not its claims");
    run.end().tries[1].epoch = Epoch(1);
    run.is_told("its epochs are not 1, 2, 3");
    let mut run = Run::honest();
    let (job, epoch) = (run.job, Epoch(2));
    run.saw(15, "a", What::Started { job, epoch });
    run.is_told("a started epoch 2, which is not its own");
    run.is_told("epoch 2 was started twice");
}

#[test]
fn a_zombie_that_publishes_is_told() {
    let mut run = Run::honest();
    run.zombie_is_published();
    run.is_told("a was told that epoch 1 is published");
    run.is_told("was published by all of");
    run.is_told("was told \"succeeded\" of epoch 1");
}

#[test]
fn the_result_of_another_attempt_is_told() {
    let mut run = Run::honest();
    let key = store::key(run.job, Epoch(1), "video.mp4");
    run.end().files[0].1.clone_from(&key);
    run.evidence.stored.insert(key, "hash".to_owned());
    run.is_told("is not that of its last attempt");
}

#[test]
fn a_result_that_is_not_stored_is_told() {
    let mut run = Run::honest();
    run.evidence.stored.clear();
    run.is_told("is not stored");
    let mut run = Run::honest();
    run.end().files.clear();
    run.is_told("succeeded without a result");
}

#[test]
fn a_published_result_that_its_worker_was_refused_is_told() {
    let mut run = Run::honest();
    let Some(Record {
        what: What::Ended { outcome, .. },
        ..
    }) = run.evidence.records.last_mut()
    else {
        panic!("the last record is the end");
    };
    "lost".clone_into(outcome);
    run.is_told("was told \"lost\" of epoch 2");
}

#[test]
fn a_cancel_that_does_not_hold_is_told() {
    for answer in [CancelAnswer::Canceled, CancelAnswer::Requested] {
        let mut run = Run::honest();
        let job = run.job;
        run.saw(3, "producer", What::Canceling { job });
        run.saw(4, "producer", What::CancelAnswered { job, answer });
        run.is_told("was cancelled");
        run.ends_as(Status::Canceled);
        run.is_told("started after its cancel was answered");
        run.end().steps.insert(2, (14_000, Step::CancelRequested));
        run.is_told("ran again after it was asked to stop");
    }
    let mut run = Run::honest();
    run.ends_as(Status::Canceled);
    run.is_told("nobody asked for it");
}

#[test]
fn a_cancel_that_tells_an_untruth_is_told() {
    for (answer, text) in [
        (CancelAnswer::NotFound, "a cancel did not find it"),
        (
            CancelAnswer::AlreadyTerminal,
            "ended after a cancel was told",
        ),
    ] {
        let mut run = Run::honest();
        let job = run.job;
        run.saw(3, "producer", What::Canceling { job });
        run.saw(4, "producer", What::CancelAnswered { job, answer });
        run.is_told(text);
    }
}

#[test]
fn an_end_without_a_reason_is_told() {
    for status in [Status::Expired, Status::Failed] {
        let mut run = Run::honest();
        run.ends_as(status);
        run.end().class = Some(FailureClass::LostWorker);
        run.is_told("does not explain");
    }
}

#[test]
fn two_jobs_under_one_key_are_told() {
    let mut run = Run::honest();
    let twin = producer::new_id(&TenantId::default());
    run.saw(
        0,
        "producer",
        What::Submitting {
            job: twin,
            order: order("k"),
        },
    );
    let answer = Answer::Exists(run.job);
    run.saw(0, "producer", What::Submitted { job: twin, answer });
    assert_eq!(check(&run.evidence).0, []);
    let end = run.end().clone();
    run.evidence.jobs.insert(twin, end);
    run.is_told("has the key \"k\"");
    run.is_told("was refused and is there");
}

#[test]
fn a_key_that_is_answered_with_another_job_is_told() {
    let mut run = Run::honest();
    let twin = producer::new_id(&TenantId::default());
    run.saw(
        0,
        "producer",
        What::Submitting {
            job: twin,
            order: order("other"),
        },
    );
    let answer = Answer::Exists(run.job);
    run.saw(0, "producer", What::Submitted { job: twin, answer });
    run.is_told("was answered Exists");
}

#[test]
fn a_dead_workers_job_that_waits_too_long_is_told() {
    let mut run = Run::honest();
    let end = run.end();
    for step in &mut end.steps[1..] {
        step.0 += 10_000;
    }
    run.is_told("was taken back 22000 ms after a died, more than 15000 ms");
    run.is_told("ran again 22000 ms after a died");
    // What the machine or Redis did is not the queue's fault.
    run.evidence.stall = Duration::from_secs(3);
    run.evidence.outages.push((3 * SECOND_US, 4 * SECOND_US));
    assert_eq!(check(&run.evidence).0, []);
}

#[test]
fn an_exceeded_quota_is_told() {
    let mut run = Run::honest();
    let caps = |n| Caps {
        queued: Some(n),
        running: Some(n),
    };
    run.evidence.caps.insert(TenantId::default(), caps(1));
    assert_eq!(check(&run.evidence).0, []);
    let twin = producer::new_id(&TenantId::default());
    let mut end = run.end().clone();
    // Begins in the millisecond in which the other ends: that is allowed.
    for step in &mut end.steps {
        step.0 += 14_000;
    }
    for attempt in &mut end.tries {
        attempt.from_ms += 14_000;
        attempt.to_ms += 14_000;
    }
    end.created_ms = 15_000;
    run.evidence.jobs.insert(twin, end.clone());
    let (violations, _) = check(&run.evidence);
    let quota = violations.iter().filter(|v| v.text.contains("may have"));
    assert_eq!(quota.count(), 0);
    end.created_ms -= 1;
    end.tries[0].from_ms -= 1;
    run.evidence.jobs.insert(twin, end);
    run.is_told("had 2 live jobs, and may have 1");
    run.is_told("had 2 running jobs, and may have 1");
}

#[test]
fn a_counter_that_is_wrong_and_a_job_that_is_left_are_told() {
    for name in ["submitted", "succeeded", "failed", "leases_lost", "repairs"] {
        let mut run = Run::honest();
        *run.evidence
            .stats
            .counters
            .entry(name.to_owned())
            .or_default() += 1;
        run.is_told(&format!("the counter {name} is"));
    }
    let mut run = Run::honest();
    run.evidence.stats.running = 1;
    run.is_told("1 jobs are still running");
}

/// A second job that asked for the same work and has the first one's result.
fn with_a_follower() -> (Run, JobId) {
    let mut run = Run::honest();
    let follower = producer::new_id(&TenantId::default());
    for record in &mut run.evidence.records {
        if let What::Submitting { order, .. } = &mut record.what {
            order.work = Some(7);
        }
    }
    let order = Order {
        work: Some(7),
        ..order("another")
    };
    run.saw(
        0,
        "producer",
        What::Submitting {
            job: follower,
            order,
        },
    );
    run.saw(
        0,
        "producer",
        What::Submitted {
            job: follower,
            answer: Answer::Accepted,
        },
    );
    let mut end = run.end().clone();
    end.tries.clear();
    end.rendered_by = Some(run.job);
    run.evidence.jobs.insert(follower, end);
    for name in ["submitted", "succeeded"] {
        run.evidence.stats.counters.insert(name.to_owned(), 2);
    }
    (run, follower)
}

#[test]
fn a_shared_render_breaks_no_promise() {
    let (run, _) = with_a_follower();
    let (violations, figures) = check(&run.evidence);
    assert_eq!(violations, []);
    assert_eq!((figures.shared, figures.attempts), (1, 2));
}

#[test]
fn a_result_of_other_work_is_told() {
    let (mut run, _) = with_a_follower();
    for record in &mut run.evidence.records {
        if let What::Submitting { job, order } = &mut record.what
            && *job == run.job
        {
            order.work = Some(8);
        }
    }
    run.is_told("which is not its work");
}

#[test]
fn a_cancelled_job_renders_on_for_those_who_wait_and_for_nobody_else() {
    let (mut run, follower) = with_a_follower();
    let job = run.job;
    run.saw(3, "producer", What::Canceling { job });
    run.saw(
        4,
        "producer",
        What::CancelAnswered {
            job,
            answer: CancelAnswer::Canceled,
        },
    );
    let end = run.end();
    end.status = Status::Canceled;
    end.files.clear();
    // Its owner is shown what was before the cancel.
    end.steps = vec![end.steps[0].clone(), (4_000, Step::Done(Status::Canceled))];
    for (name, n) in [("succeeded", 1), ("canceled", 1)] {
        run.evidence.stats.counters.insert(name.to_owned(), n);
    }
    assert_eq!(check(&run.evidence).0, []);
    run.evidence.jobs.remove(&follower);
    run.is_told("was told that epoch 2 is published");
    run.is_told("its attempts are not its claims");
}
