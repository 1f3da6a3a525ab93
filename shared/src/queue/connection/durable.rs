//! Calls that are answered once Redis confirmed that what they wrote is kept.
//!
//! `WAIT` and `WAITAOF` concern what was written on their own connection, and stall it. So such calls
//! have connections of their own, and travel in groups: while one group waits for its confirmation
//! the next gathers, and all of a group share one.
//!
//! A connection that wrote nothing is told at once that all is well. A call that finds its work done
//! by an earlier, unconfirmed one writes nothing, so each group ends with a small write of its own.

use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue as _, Pipeline, RedisError, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::link::{late, misconfigured, passing};
use super::node::Failure;
use super::slots;
use super::{CONNECT_TIMEOUT, RESPONSE_TIMEOUT};

/// Connections to one server for such calls, and so groups on their way at the same time.
const CONNECTIONS: usize = 4;
/// Most calls of a group.
const GROUP_MAX: usize = 64;
/// Calls that may wait for a group; further ones wait for a place.
const QUEUE_MAX: usize = 1024;
/// Longest wait for replicas, and after that for the disk. With `appendfsync everysec` the disk takes
/// up to a second.
const CONFIRM_LIMIT: Duration = Duration::from_millis(1500);
/// How long it is believed what a server can confirm.
const ABILITY_AGE: Duration = Duration::from_secs(1);

/// What Redis said of what a call wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It survives: on the disk of the server, on so many replicas, or both. All that this Redis has
    /// to offer agreed.
    Confirmed {
        /// The append-only file is synced.
        disk: bool,
        /// Replicas that have it.
        replicas: u64,
    },
    /// The call took effect, but nobody knows whether it survives; why, in words.
    Unconfirmed(String),
}

/// What a server can confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ability {
    /// Replicas that are there.
    replicas: u64,
    /// `WAITAOF` can be asked.
    can_wait_for_disk: bool,
    /// Each reply comes after the disk has the write.
    always_on_disk: bool,
}

impl Ability {
    /// Replicas that must have a write: with the server, a majority of all copies.
    fn quorum(self, failover: bool) -> u64 {
        let majority = self.replicas.div_ceil(2);
        if failover { majority.max(1) } else { majority }
    }
}

/// Sends the durable calls to one server. Ends when dropped.
pub struct Committer {
    queue: mpsc::Sender<Call>,
    _task: AbortOnDropHandle<()>,
}

struct Call {
    command: Cmd,
    asking: bool,
    deadline: Instant,
    answer: oneshot::Sender<Result<(Value, Kept), RedisError>>,
}

impl Committer {
    /// For a server; with `failover`, one of its replicas may take its place at any time, so a write
    /// that only the server itself has is not safe.
    ///
    /// # Errors
    /// None that a working address could cause.
    pub fn start(client: &Client, failover: bool) -> Result<Self, RedisError> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        let info = client.get_connection_info().clone();
        // A checkout pings, so a connection that broke while idle is replaced before it is used.
        let pool = Pool::builder(Manager::new_with_config(info, settings)?)
            .max_size(CONNECTIONS)
            .wait_timeout(Some(RESPONSE_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| misconfigured(error.to_string()))?;
        let (queue, calls) = mpsc::channel(QUEUE_MAX);
        let task = tokio::spawn(run(pool, calls, failover));
        Ok(Self {
            queue,
            _task: AbortOnDropHandle::new(task),
        })
    }

    /// Sends, and waits for the reply and the confirmation.
    pub async fn commit(
        &self,
        command: &Cmd,
        asking: bool,
        deadline: Instant,
    ) -> Result<(Value, Kept), Failure> {
        let (answer, answered) = oneshot::channel();
        let call = Call {
            command: command.clone(),
            asking,
            deadline,
            answer,
        };
        let queued = timeout_at(deadline, self.queue.send(call)).await;
        if !matches!(queued, Ok(Ok(()))) {
            return Err(Failure::NotSent(late(
                "a place among the durable calls",
                RESPONSE_TIMEOUT,
            )));
        }
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome.map_err(Failure::Broke),
            Ok(Err(_)) => Err(Failure::Broke(passing(
                "the connection was given up".to_owned(),
            ))),
            Err(_) => Err(Failure::Broke(late(
                "the answer of Redis",
                RESPONSE_TIMEOUT,
            ))),
        }
    }
}

/// Gathers calls into groups, each as soon as a connection is free.
async fn run(pool: Pool, mut calls: mpsc::Receiver<Call>, failover: bool) {
    let mut ability: Option<(Instant, Ability)> = None;
    while let Some(first) = calls.recv().await {
        let prepared = prepare(&pool, &mut ability).await;
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(call) = calls.try_recv()
        {
            group.push(call);
        }
        // Who has given up meanwhile must not have its call carried out behind its back.
        group.retain(|call| !call.answer.is_closed() && Instant::now() < call.deadline);
        match prepared {
            Ok((connection, ability)) => {
                tokio::spawn(send(connection, ability, failover, group));
            }
            Err(error) => {
                for call in group {
                    let _ = call.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// A connection, and what its server can confirm at this time.
async fn prepare(
    pool: &Pool,
    known: &mut Option<(Instant, Ability)>,
) -> Result<(Connection, Ability), RedisError> {
    let mut connection = pool.get().await.map_err(|error| match error {
        PoolError::Backend(error) => error,
        other => passing(other.to_string()),
    })?;
    if let Some((when, ability)) = known
        && when.elapsed() < ABILITY_AGE
    {
        return Ok((connection, *ability));
    }
    let mut questions = Pipeline::with_capacity(2);
    questions
        .cmd("INFO")
        .cmd("CONFIG")
        .arg("GET")
        .arg("appendfsync");
    let replies = connection.send_packed_commands(&questions, 0, 2).await?;
    let mut replies = replies.into_iter();
    let info = replies.next().unwrap_or(Value::Nil).extract_error()?;
    let info = String::from_redis_value(info)?;
    // A user without the right to read settings is told less, not refused.
    let sync = replies
        .next()
        .and_then(|reply| <(String, String)>::from_redis_value(reply).ok());
    let ability = abilities(&info, sync.is_some_and(|(_, value)| value == "always"));
    *known = Some((Instant::now(), ability));
    Ok((connection, ability))
}

fn abilities(info: &str, synced_always: bool) -> Ability {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
            .unwrap_or("")
    };
    let mut version = field("redis_version")
        .split('.')
        .map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (version.next().unwrap_or(0), version.next().unwrap_or(0));
    let appends = field("aof_enabled") == "1" && field("aof_last_write_status") != "err";
    let online = |line: &&str| line.starts_with("slave") && line.contains("state=online");
    Ability {
        replicas: info.lines().filter(online).count() as u64,
        can_wait_for_disk: appends && version >= (7, 2),
        always_on_disk: appends && synced_always,
    }
}

async fn send(mut connection: Connection, ability: Ability, failover: bool, group: Vec<Call>) {
    if group.is_empty() {
        return;
    }
    let quorum = ability.quorum(failover);
    let waits_for_disk = ability.can_wait_for_disk && !ability.always_on_disk;
    let limit = CONFIRM_LIMIT.as_millis();
    let mut pipeline = Pipeline::with_capacity(group.len() * 2 + 2);
    for call in &group {
        if call.asking {
            pipeline.cmd("ASKING");
        }
        pipeline.add_command(call.command.clone());
    }
    let waits = ability.replicas > 0 || waits_for_disk;
    if waits {
        let key = group.last().and_then(|call| slots::key_of(&call.command));
        let mark = [key.unwrap_or_default(), b":kept"].concat();
        pipeline.cmd("SET").arg(mark).arg(1).arg("EX").arg(60);
    }
    if ability.replicas > 0 {
        pipeline.cmd("WAIT").arg(quorum).arg(limit as u64);
    }
    if waits_for_disk {
        pipeline.cmd("WAITAOF").arg(1).arg(0).arg(limit as u64);
    }
    let sent = connection
        .send_packed_commands(&pipeline, 0, pipeline.len())
        .await;
    let mut replies = match sent {
        Ok(replies) => replies.into_iter(),
        Err(error) => {
            // The connection is not given back: what it answers late would be taken for the next answer.
            drop(Connection::take(connection));
            for call in group {
                let _ = call.answer.send(Err(error.clone()));
            }
            return;
        }
    };
    let answers: Vec<Value> = group
        .iter()
        .map(|call| {
            if call.asking {
                replies.next();
            }
            replies.next().unwrap_or(Value::Nil)
        })
        .collect();
    let mut next = || replies.next().unwrap_or(Value::Nil);
    let marked = if waits {
        next().extract_error()
    } else {
        Ok(Value::Nil)
    };
    let replicas = if ability.replicas > 0 {
        count(next())
    } else {
        Ok(0)
    };
    let disk = if waits_for_disk {
        <(u64, u64)>::from_redis_value(next())
            .map(|(local, _)| local > 0)
            .map_err(|error| error.to_string())
    } else {
        Ok(ability.always_on_disk)
    };
    let kept = match marked {
        Ok(_) => judge(ability, quorum, waits_for_disk, replicas, disk),
        Err(error) => Kept::Unconfirmed(format!("Redis would not be asked ({error})")),
    };
    for (call, value) in group.into_iter().zip(answers) {
        let _ = call.answer.send(Ok((value, kept.clone())));
    }
}

fn count(value: Value) -> Result<u64, String> {
    value
        .extract_error()
        .and_then(|value| Ok(u64::from_redis_value(value)?))
        .map_err(|error| error.to_string())
}

/// Sums up what was confirmed.
fn judge(
    ability: Ability,
    quorum: u64,
    waited_for_disk: bool,
    replicas: Result<u64, String>,
    disk: Result<bool, String>,
) -> Kept {
    let (replicas, disk) = match (replicas, disk) {
        (Ok(replicas), Ok(disk)) => (replicas, disk),
        (Err(error), _) | (_, Err(error)) => {
            return Kept::Unconfirmed(format!("Redis would not say ({error})"));
        }
    };
    if replicas < quorum {
        return Kept::Unconfirmed(if ability.replicas == 0 {
            "Redis has no replica at this time, so a failover would lose it".to_owned()
        } else {
            format!(
                "{replicas} of the {quorum} replicas that must have it said so within {CONFIRM_LIMIT:?}"
            )
        });
    }
    if waited_for_disk && !disk {
        return Kept::Unconfirmed(format!(
            "the append-only file was not synced within {CONFIRM_LIMIT:?}"
        ));
    }
    if replicas == 0 && !disk {
        return Kept::Unconfirmed(
            "this Redis can confirm nothing: it has no replica, and no append-only file whose sync can be \
             waited for (that takes `appendonly yes` and Redis 7.2, or `appendfsync always`)"
                .to_owned(),
        );
    }
    Kept::Confirmed { disk, replicas }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_can_confirm_is_read_from_what_it_says() {
        let info = "redis_version:7.2.4\r\nvalkey_version:9.1.2\r\naof_enabled:1\r\naof_last_write_status:ok\r\n\
                    connected_slaves:2\r\nslave0:ip=::1,port=1,state=online,offset=1,lag=0\r\n\
                    slave1:ip=::1,port=2,state=wait_bgsave,offset=1,lag=0\r\n";
        let ability = abilities(info, false);
        assert_eq!(
            ability,
            Ability {
                replicas: 1,
                can_wait_for_disk: true,
                always_on_disk: false
            }
        );
        let old = abilities("redis_version:7.0.15\naof_enabled:1\n", true);
        assert!(old.always_on_disk && !old.can_wait_for_disk);
        assert_eq!(
            abilities("redis_version:7.4.0\naof_enabled:0\n", true),
            Ability::default()
        );
    }

    #[test]
    fn a_majority_of_all_copies_must_have_a_write() {
        let quorum = |replicas, failover| {
            Ability {
                replicas,
                ..Ability::default()
            }
            .quorum(failover)
        };
        assert_eq!([0, 1, 2, 3, 4].map(|n| quorum(n, false)), [0, 1, 1, 2, 2]);
        assert_eq!(quorum(0, true), 1);
    }

    #[test]
    fn only_what_all_asked_have_confirmed_is_confirmed() {
        let one = Ability {
            replicas: 1,
            ..Ability::default()
        };
        let kept = |ability, quorum, waited, replicas, disk| {
            judge(ability, quorum, waited, Ok(replicas), Ok(disk))
        };
        assert_eq!(
            kept(one, 1, true, 1, true),
            Kept::Confirmed {
                disk: true,
                replicas: 1
            }
        );
        for unsure in [
            kept(one, 1, false, 0, true),
            kept(one, 1, true, 1, false),
            kept(Ability::default(), 0, false, 0, false),
            kept(Ability::default(), 1, false, 0, true),
            judge(one, 1, false, Err("NOPERM".to_owned()), Ok(true)),
        ] {
            assert!(matches!(unsure, Kept::Unconfirmed(_)), "{unsure:?}");
        }
    }
}
