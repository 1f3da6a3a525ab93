//! Asks the sentinels which server is the master, and hears from them when it is another.
//!
//! In a failover that an operator plans, the old master goes on to take writes for some ten seconds,
//! and loses them. Only the sentinels' word keeps clients from that, so they are listened to.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{Client, ErrorKind, FromRedisValue as _, Pipeline, RedisError, Value};
use tokio_util::task::AbortOnDropHandle;

use super::Unrest;
use super::link::{self, misconfigured, passing, within};
use super::tls::Maker;
use super::url::Host;

/// Longest wait for one sentinel.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(1500);

/// The channel on which a sentinel says `<service> <old host> <old port> <new host> <new port>`.
const SWITCHES: &str = "+switch-master";
/// Pause between two tries to listen to a sentinel, growing from the first to the second.
const LISTEN_AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// The sentinels of one service.
pub struct Sentinels {
    sentinels: Vec<Client>,
    service: String,
    /// Makes clients for the servers that they watch.
    servers: Maker,
    switches: Arc<Switches>,
    /// Runs from the first connection on.
    listener: OnceLock<AbortOnDropHandle<()>>,
}

/// How often the sentinels said that the master is another now.
struct Switches {
    number: AtomicU64,
    unrest: Unrest,
}

impl Switches {
    fn note(&self) {
        self.number.fetch_add(1, Ordering::Release);
        self.unrest.stir();
    }
}

/// What one sentinel says.
struct Answer {
    master: Host,
    /// Grows with each failover; of two answers the one with the higher is newer.
    epoch: u64,
}

impl Sentinels {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// None that hosts could cause.
    pub fn new(
        hosts: &[Host],
        service: String,
        sentinels: &Maker,
        servers: Maker,
        unrest: Unrest,
    ) -> Result<Self, RedisError> {
        let sentinels = hosts.iter().map(|host| sentinels.host(host));
        Ok(Self {
            sentinels: sentinels.collect::<Result<_, _>>()?,
            service,
            servers,
            switches: Arc::new(Switches {
                number: AtomicU64::new(0),
                unrest,
            }),
            listener: OnceLock::new(),
        })
    }

    /// Grows when the master may be another. A connection made before is of no more use.
    pub fn switches(&self) -> u64 {
        self.switches.number.load(Ordering::Acquire)
    }

    /// Connects to the master, once it says itself that it is one.
    ///
    /// # Errors
    /// As the network has it; of kind `InvalidClientConfig` or `AuthenticationFailed` if an operator
    /// must set something right.
    pub async fn connect(&self) -> Result<(Client, MultiplexedConnection), RedisError> {
        self.listener.get_or_init(|| {
            let listening = self.sentinels.iter().map(|sentinel| {
                let switches = Arc::clone(&self.switches);
                listen(sentinel.clone(), self.service.clone(), switches)
            });
            let all = futures_util::future::join_all(listening);
            AbortOnDropHandle::new(tokio::spawn(async move {
                all.await;
            }))
        });
        let master = self.master().await?;
        let client = self.servers.host(&master)?;
        let mut connection = link::connect(&client).await?;
        if link::is_primary(&mut connection).await? {
            return Ok((client, connection));
        }
        let (host, port) = master;
        Err(passing(format!(
            "the sentinels name {host}:{port} as the master of {:?}, but it is a replica: a failover is under way",
            self.service
        )))
    }

    /// The newest answer among those of a majority; of fewer if no more answer in time.
    async fn master(&self) -> Result<Host, RedisError> {
        let mut asked: FuturesUnordered<_> = self
            .sentinels
            .iter()
            .map(|client| self.ask(client))
            .collect();
        let mut best: Option<Answer> = None;
        let (mut answers, mut failure, mut strangers) = (0, None, 0);
        while let Some(answer) = asked.next().await {
            match answer {
                Ok(Some(answer)) => {
                    answers += 1;
                    if best.as_ref().is_none_or(|best| best.epoch < answer.epoch) {
                        best = Some(answer);
                    }
                }
                Ok(None) => strangers += 1,
                Err(error) => failure = Some(error),
            }
            if answers > self.sentinels.len() / 2 {
                break;
            }
        }
        if let Some(best) = best {
            return Ok(best.master);
        }
        let service = &self.service;
        if strangers > 0 {
            return Err(misconfigured(format!(
                "none of {strangers} sentinels that answered knows a master {service:?}: correct the name after the hosts in REDIS_URL"
            )));
        }
        match failure {
            Some(error) if denied(&error) => Err(misconfigured(format!(
                "the sentinels do not let us in ({error}): put their password into MANIMQ_REDIS_SENTINEL_PASSWORD, or \
                 ?sentinel_password=PASSWORD in REDIS_URL; a user of theirs needs \
                 &+switch-master +subscribe +ping +sentinel|get-master-addr-by-name +sentinel|master"
            ))),
            Some(error) if error.kind() == ErrorKind::InvalidClientConfig => Err(error),
            Some(error) => Err(passing(format!(
                "none of the {} sentinels in REDIS_URL can be reached (the last: {error})",
                self.sentinels.len()
            ))),
            None => Err(misconfigured("REDIS_URL names no sentinel".to_owned())),
        }
    }

    /// One sentinel's answer; `None` if it does not know the service.
    async fn ask(&self, client: &Client) -> Result<Option<Answer>, RedisError> {
        let asking = async {
            let mut connection = link::connect(client).await?;
            let mut questions = Pipeline::with_capacity(2);
            questions
                .cmd("SENTINEL")
                .arg("get-master-addr-by-name")
                .arg(&self.service)
                .cmd("SENTINEL")
                .arg("master")
                .arg(&self.service);
            connection.send_packed_commands(&questions, 0, 2).await
        };
        let replies = within(SENTINEL_TIMEOUT, "the answer of a sentinel", asking).await?;
        let mut replies = replies.into_iter();
        let address = replies.next().unwrap_or(Value::Nil).extract_error()?;
        let Some((host, port)) = Option::<(String, u16)>::from_redis_value(address)? else {
            return Ok(None);
        };
        // A sentinel's user may lack the right to ask for details; then no answer is newer.
        let details = replies
            .next()
            .map(HashMap::<String, String>::from_redis_value);
        let epoch = details
            .and_then(Result::ok)
            .and_then(|details| details.get("config-epoch")?.parse().ok())
            .unwrap_or(0);
        Ok(Some(Answer {
            master: (host, port),
            epoch,
        }))
    }
}

/// Listens to one sentinel for ever.
async fn listen(sentinel: Client, service: String, switches: Arc<Switches>) {
    let mut pause = LISTEN_AGAIN.0;
    let mut missed = false;
    loop {
        let heard = hear(&sentinel, &service, &switches, missed).await;
        tracing::debug!(error = ?heard.err(), "lost a sentinel, will listen again");
        // Nobody knows what it said meanwhile.
        missed = true;
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LISTEN_AGAIN.1);
    }
}

/// Listens until the connection ends.
async fn hear(
    sentinel: &Client,
    service: &str,
    switches: &Switches,
    missed: bool,
) -> Result<(), RedisError> {
    let (mut sink, mut stream) = link::subscribe(sentinel).await?.split();
    let subscribing = sink.subscribe(SWITCHES);
    within(SENTINEL_TIMEOUT, "listening to a sentinel", subscribing).await?;
    if missed {
        switches.note();
    }
    while let Some(message) = stream.next().await {
        let text: String = message.get_payload()?;
        if text.split(' ').next() == Some(service) {
            tracing::info!(switch = text, "the sentinels name another master of Redis");
            switches.note();
        }
    }
    Ok(())
}

fn denied(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
}
