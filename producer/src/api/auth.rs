//! Who asks: keys become callers here and nowhere else.
//!
//! What is known of a key is kept for [`KEY_AGE_MAX`], so a key that was revoked stops within that time in
//! every process; streams and waits that are open end within [`STREAM_CHECK_EVERY`] more. Redis is asked
//! about a key at most once in that time however many requests show it, and about keys that nobody has
//! proven yet only as fast as their senders' addresses, and all of them together, may try.
//!
//! A wrong secret, an id that is in no list and a key that was never one get the same answer. What remains is
//! that a key in use is judged from memory and another one by Redis, which can be timed: it tells that a
//! 64-bit random id is in use, and ids open nothing.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{ApiKey, KeyId, KeyState, Scope, Scopes, ShownKey};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::App;
use super::address::ClientAddress;
use super::look::Look;
use super::problem::{ApiError, Kind};
use crate::metrics::CutOff;

/// How long what is known of a key is believed.
pub const KEY_AGE_MAX: Duration = Duration::from_secs(3);
/// How often an open stream asks whether its key is still one.
pub const STREAM_CHECK_EVERY: Duration = Duration::from_secs(5);
/// After a look that failed, who waited behind it is told so for this long.
const FAILURE_AGE_MAX: Duration = Duration::from_secs(1);
/// Keys that somebody has proven to have, and others, of which something is remembered.
const PROVEN_MAX: usize = 10_000;
const STRANGERS_MAX: usize = 4096;
/// A key that was proven is looked up without questions for this long after its last use.
const PROVEN_FOR: Duration = Duration::from_secs(600);
/// Longest credentials; ours have 69 characters, a static key may have more.
const CREDENTIALS_BYTES_MAX: usize = 512;
/// Look-ups of unproven keys: per address in one go and per second, and of all together per second.
const TRIES_BURST: u32 = 50;
const TRIES_PER_SECOND: u32 = 5;
const LOOK_UPS_PER_SECOND: u32 = 200;
/// Requests per second of one key when nothing is set; bursts of so many seconds' worth.
const RATE_DEFAULT: u32 = 200;
const BURST_S: u32 = 5;
/// Addresses and keys at rest are forgotten each time so many requests were seen.
const SWEEP_EVERY: u32 = 10_000;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// Name of the limit per key.
const POLICY: &str = "key";

/// By what right somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum By {
    /// No key was ever made, and only this machine can ask.
    OpenDoor,
    /// `MANIMQ_API_KEY`.
    StaticKey,
    /// A key in Redis.
    Key(KeyId),
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// For whom.
    pub tenant: TenantId,
    /// What the key may be used for.
    pub scopes: Scopes,
    by: By,
    disabled: bool,
}

impl Caller {
    /// Who it is, for the log. Never the key.
    #[must_use]
    pub fn name(&self) -> String {
        match self.by {
            By::OpenDoor => "whoever is on this machine".to_owned(),
            By::StaticKey => "the static key".to_owned(),
            By::Key(id) => format!("key {id} of {}", self.tenant),
        }
    }

    /// Refuses a caller whose key lacks a scope.
    ///
    /// # Errors
    /// [`Kind::CapabilityMissing`], with the scope's name.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        let (name, has) = (scope.as_str(), self.scopes);
        Err(ApiError::new(
            Kind::CapabilityMissing,
            format!("this needs a key with the scope {name}, and this one has only {has}; an operator makes another with `manimq admin keys create {} --scopes {has},{name}`", self.tenant),
        )
        .with_header(
            WWW_AUTHENTICATE,
            &format!("Bearer realm=\"manimq\", error=\"insufficient_scope\", scope=\"{name}\""),
        ))
    }

    /// Refuses a caller whose tenant is disabled. The static key stays an operator even so.
    pub(super) fn require_enabled(&self) -> Result<(), ApiError> {
        if self.disabled {
            return Err(disabled());
        }
        Ok(())
    }

    /// Refuses everybody but operators.
    pub(super) fn require_operator(&self) -> Result<(), ApiError> {
        if self.by != By::StaticKey {
            self.require_enabled()?;
        }
        self.require(Scope::Admin)
    }
}

fn disabled() -> ApiError {
    ApiError::new(
        Kind::TenantDisabled,
        "an operator has disabled this tenant: its jobs stay as they are, waiting ones do not start, and nothing of it is answered until it is enabled again",
    )
}

fn refusal(detail: impl Into<String>) -> ApiError {
    ApiError::new(Kind::Unauthenticated, detail)
        .with_header(WWW_AUTHENTICATE, "Bearer realm=\"manimq\"")
}

/// The one credential of a request. Two `Authorization` headers are none: who stands before us may have
/// looked at the other one.
fn credentials(headers: &HeaderMap) -> Result<&[u8], ApiError> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let header = all.next().ok_or_else(|| {
        refusal(
            "send `Authorization: Bearer <key>` (the command line takes it from MANIMQ_API_KEY)",
        )
    })?;
    if all.next().is_some() {
        return Err(refusal("send one Authorization header, not several"));
    }
    let given = header
        .as_bytes()
        .split_at_checked(7)
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
        .map(|(_, key)| key.trim_ascii())
        .ok_or_else(|| refusal("the Authorization header is not of the form `Bearer <key>`"))?;
    if given.len() > CREDENTIALS_BYTES_MAX {
        return Err(refusal("that is too long to be a key"));
    }
    Ok(given)
}

type KeyRates =
    RateLimiter<By, DefaultKeyedStateStore<By>, DefaultClock, StateInformationMiddleware>;

/// How much of its rate a key has left.
#[derive(Debug, Clone, Copy)]
struct Rate {
    burst: u32,
    per_second: u32,
    left: u32,
}

impl Rate {
    /// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), beside those of other
    /// policies that the answer may carry.
    fn write(self, headers: &mut HeaderMap) {
        let window = self.burst.div_ceil(self.per_second);
        let until_full = (self.burst - self.left.min(self.burst)).div_ceil(self.per_second);
        let policy = format!("\"{POLICY}\";q={};w={window}", self.burst);
        let state = format!("\"{POLICY}\";r={};t={until_full}", self.left);
        for (name, value) in [(RATE_LIMIT_POLICY, policy), (RATE_LIMIT, state)] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
    }
}

/// What is remembered of one key's id.
#[derive(Default)]
struct Slot {
    /// The last look; locked while somebody looks, so that the others wait for that.
    last: tokio::sync::Mutex<Option<(Instant, Seen)>>,
    /// When somebody last proved to have the key.
    proven: Mutex<Option<Instant>>,
    /// The look after which its use was noted.
    noted: Mutex<Option<Instant>>,
}

#[derive(Clone)]
enum Seen {
    Key(Arc<ShownKey>),
    Nothing,
    Unavailable,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is in it is whole after each statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is kept in Redis about those who need no key of Redis.
#[derive(Debug, Clone, Copy)]
struct Inside {
    keys_made: bool,
    default_disabled: bool,
}

/// The state of the door.
pub(super) struct Door {
    static_key: Option<[u8; 32]>,
    /// Whether nobody may come in without a key, as far as is known. Never undone.
    closed: AtomicBool,
    inside: Look<Inside>,
    proven: Mutex<HashMap<KeyId, Arc<Slot>>>,
    strangers: Mutex<HashMap<KeyId, Arc<Slot>>>,
    tries: DefaultKeyedRateLimiter<IpAddr>,
    look_ups: DefaultDirectRateLimiter,
    rates: Option<(KeyRates, u32)>,
    requests: AtomicU32,
}

fn per_second(rate: u32, burst: u32) -> Quota {
    let not_zero = |n: u32| NonZeroU32::new(n).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(not_zero(rate)).allow_burst(not_zero(burst))
}

impl Door {
    pub(super) fn new(parts: &super::Parts) -> Self {
        let static_key = parts.api_key.as_ref();
        let rate = parts.limits.rate_per_key.unwrap_or(RATE_DEFAULT);
        Self {
            static_key: static_key.map(|key| Sha256::digest(key.expose_secret()).into()),
            closed: AtomicBool::new(!parts.may_be_open),
            inside: Look::default(),
            proven: Mutex::default(),
            strangers: Mutex::default(),
            tries: RateLimiter::keyed(per_second(TRIES_PER_SECOND, TRIES_BURST)),
            look_ups: RateLimiter::direct(per_second(LOOK_UPS_PER_SECOND, LOOK_UPS_PER_SECOND)),
            rates: (rate > 0).then(|| {
                let quota = per_second(rate, rate.saturating_mul(BURST_S));
                let rates = RateLimiter::keyed(quota);
                (rates.with_middleware::<StateInformationMiddleware>(), rate)
            }),
            requests: AtomicU32::new(0),
        }
    }

    /// Whether somebody without a key may come in, as far as is known without asking.
    pub(super) fn may_be_open(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }

    /// What Redis says of the tenant `default`, and of whether keys are needed. Once a key was made they are.
    async fn inside(&self, app: &App) -> Result<Inside, ApiError> {
        let asked = app.clone();
        let look = || async move {
            let (queue, default) = (asked.queue(), TenantId::default());
            let look = async { Ok((queue.doors().await?, queue.account(&default).await?)) };
            let looked = asked.redis("doors", look).await;
            let (doors, account) =
                looked.map_err(|error| error.cause_text().unwrap_or_default())?;
            Ok(Inside {
                keys_made: doors.made > 0,
                default_disabled: account.is_some_and(|found| found.disabled_at.is_some()),
            })
        };
        let inside = self.inside.at_most(KEY_AGE_MAX, look).await;
        let inside = inside.map_err(|cause| unavailable().because(std::io::Error::other(cause)))?;
        if inside.keys_made {
            self.closed.store(true, Ordering::Relaxed);
        }
        Ok(inside)
    }

    /// A caller who needs no record in Redis. Who comes in with the static key does so while Redis is
    /// away, too: that nothing works then is told better by what is asked for.
    async fn insider(&self, app: &App, by: By) -> Result<Option<Caller>, ApiError> {
        let inside = match self.inside(app).await {
            Ok(inside) => inside,
            Err(error) if by == By::OpenDoor => return Err(error),
            Err(_) => Inside {
                keys_made: true,
                default_disabled: false,
            },
        };
        if by == By::OpenDoor && inside.keys_made {
            return Ok(None);
        }
        Ok(Some(Caller {
            tenant: TenantId::default(),
            scopes: Scopes::ALL,
            by,
            disabled: inside.default_disabled,
        }))
    }

    /// Who a request is from.
    async fn caller(
        &self,
        app: &App,
        headers: &HeaderMap,
        address: IpAddr,
    ) -> Result<Caller, ApiError> {
        if self.may_be_open()
            && let Some(caller) = self.insider(app, By::OpenDoor).await?
        {
            return Ok(caller);
        }
        let given = credentials(headers)?;
        if let Some(known) = &self.static_key
            // Hashes: their length says nothing about the key's.
            && bool::from(known.ct_eq(&Sha256::digest(given)))
            && let Some(caller) = self.insider(app, By::StaticKey).await?
        {
            return Ok(caller);
        }
        let unknown = || {
            refusal(
                "this API key is not known here; an operator makes one with `manimq admin keys create`",
            )
        };
        let key = std::str::from_utf8(given).ok().and_then(ApiKey::parse);
        let key = key.ok_or_else(unknown)?;
        let (shown, at) = self
            .look_up(app, &key, address)
            .await?
            .ok_or_else(unknown)?;
        if !shown.is(&key) {
            return Err(unknown());
        }
        // Only who has the secret is told more.
        match state_now(&shown, at) {
            KeyState::Live => {}
            KeyState::Expired => {
                return Err(refusal(
                    "this API key has expired; ask an operator for a new one",
                ));
            }
            KeyState::Revoked => {
                return Err(refusal(
                    "this API key was revoked; ask an operator for a new one",
                ));
            }
        }
        if shown.disabled {
            return Err(disabled());
        }
        Ok(Caller {
            tenant: shown.tenant.clone(),
            scopes: shown.scopes,
            by: By::Key(key.id()),
            disabled: false,
        })
    }

    /// What is known of a key, at most [`KEY_AGE_MAX`] old, and since when.
    async fn look_up(
        &self,
        app: &App,
        key: &ApiKey,
        address: IpAddr,
    ) -> Result<Option<(Arc<ShownKey>, Instant)>, ApiError> {
        let proven = locked(&self.proven).get(&key.id()).cloned();
        let is_proven = proven
            .as_ref()
            .is_some_and(|slot| locked(&slot.proven).is_some_and(|at| at.elapsed() < PROVEN_FOR));
        let slot = proven.unwrap_or_else(|| self.stranger(key.id()));
        let admit = || {
            if is_proven {
                Ok(())
            } else {
                let admitted = self.admit(address);
                admitted.inspect_err(|_| app.metrics().http_rate_limited.inc())
            }
        };
        let found = slot.look(app, key.id(), admit).await?;
        if let Some((shown, at)) = &found
            && shown.is(key)
        {
            self.keep(key.id(), &slot);
            let live = state_now(shown, *at) == KeyState::Live;
            if live && shown.note_use && slot.is_first_use(*at) {
                let noted = app.redis("key_used", app.queue().note_key_use(key.id()));
                if noted.await.is_err() {
                    tracing::debug!("the use of key {} could not be noted", key.id());
                }
            }
        }
        Ok(found)
    }

    /// Whether one more key that nobody has proven yet may be looked up.
    fn admit(&self, address: IpAddr) -> Result<(), ApiError> {
        self.sweep_at_times();
        self.tries.check_key(&crate::http::network(address)).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            ApiError::new(
                Kind::RateLimited,
                format!("too many keys that are not known came from your address; try again in {wait} s"),
            )
            .with_policy("unknown-keys")
            .retry_after(wait)
        })?;
        self.look_ups.check().map_err(|_| {
            ApiError::new(
                Kind::ReducedCapacity,
                "too many unknown keys are being tried; those that are in use work. Try again in a second",
            )
            .retry_after(1)
        })
    }

    fn stranger(&self, id: KeyId) -> Arc<Slot> {
        let mut strangers = locked(&self.strangers);
        if strangers.len() >= STRANGERS_MAX && !strangers.contains_key(&id) {
            // Who is being looked up just now keeps what it has; the rest is only a memory of refusals.
            strangers.clear();
        }
        Arc::clone(strangers.entry(id).or_default())
    }

    /// Moves a slot to the proven ones.
    fn keep(&self, id: KeyId, slot: &Arc<Slot>) {
        *locked(&slot.proven) = Some(Instant::now());
        let mut proven = locked(&self.proven);
        if proven.contains_key(&id) {
            return;
        }
        if proven.len() >= PROVEN_MAX {
            proven
                .retain(|_, slot| locked(&slot.proven).is_some_and(|at| at.elapsed() < PROVEN_FOR));
        }
        if proven.len() >= PROVEN_MAX {
            let mut n = 0u32;
            proven.retain(|_, _| {
                n += 1;
                n.is_multiple_of(2)
            });
        }
        proven.insert(id, Arc::clone(slot));
        drop(proven);
        locked(&self.strangers).remove(&id);
    }

    /// Whether the right by which somebody came in still holds. While Redis does not answer, it does.
    async fn still_holds(&self, app: &App, caller: &Caller) -> Result<(), ApiError> {
        match caller.by {
            By::OpenDoor | By::StaticKey => {
                let Ok(inside) = self.inside(app).await else {
                    return Ok(());
                };
                if caller.by == By::OpenDoor && inside.keys_made {
                    return Err(refusal("keys are needed here now"));
                }
                if inside.default_disabled && !caller.disabled {
                    return Err(disabled());
                }
            }
            By::Key(id) => {
                let slot = locked(&self.proven).get(&id).cloned();
                let slot = slot.unwrap_or_else(|| self.stranger(id));
                match slot.look(app, id, || Ok(())).await {
                    Ok(Some((shown, at))) if state_now(&shown, at) == KeyState::Live => {
                        if shown.disabled {
                            return Err(disabled());
                        }
                    }
                    Ok(_) => return Err(refusal("this API key has ended")),
                    Err(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Takes one request off a key's rate.
    fn rate(&self, by: By) -> Result<Option<Rate>, (Rate, u64)> {
        let Some((rates, per_second)) = self.rates.as_ref().filter(|_| by != By::OpenDoor) else {
            return Ok(None);
        };
        self.sweep_at_times();
        let rate = |left| Rate {
            burst: per_second.saturating_mul(BURST_S),
            per_second: *per_second,
            left,
        };
        match rates.check_key(&by) {
            Ok(state) => Ok(Some(rate(state.remaining_burst_capacity()))),
            Err(until) => {
                let wait = until.wait_time_from(DefaultClock::default().now());
                Err((rate(0), wait.as_secs() + 1))
            }
        }
    }

    fn sweep_at_times(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            sweep(&self.tries);
            if let Some((rates, _)) = &self.rates {
                rates.retain_recent();
            }
        }
    }
}

fn sweep<K: Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>) {
    limiter.retain_recent();
}

fn unavailable() -> ApiError {
    ApiError::new(
        Kind::QueueUnavailable,
        "Redis does not answer, and it knows the keys. Jobs that were accepted are not lost; try again",
    )
    .retry_after(2)
}

/// A key's state, which may have changed by the mere passing of time since it was read.
fn state_now(shown: &ShownKey, at: Instant) -> KeyState {
    match shown.expires_in {
        Some(left) if shown.state == KeyState::Live && at.elapsed() >= left => KeyState::Expired,
        _ => shown.state,
    }
}

impl Slot {
    /// Whether nobody has asked that before about the look of this time.
    fn is_first_use(&self, look: Instant) -> bool {
        locked(&self.noted).replace(look) != Some(look)
    }

    /// What Redis says of the key, at most [`KEY_AGE_MAX`] old; `admit` is asked before Redis is.
    async fn look(
        &self,
        app: &App,
        id: KeyId,
        admit: impl FnOnce() -> Result<(), ApiError>,
    ) -> Result<Option<(Arc<ShownKey>, Instant)>, ApiError> {
        let mut last = self.last.lock().await;
        if let Some((at, seen)) = &*last {
            let age_max = match seen {
                Seen::Unavailable => FAILURE_AGE_MAX,
                Seen::Key(_) | Seen::Nothing => KEY_AGE_MAX,
            };
            if at.elapsed() < age_max {
                return match seen {
                    Seen::Key(shown) => Ok(Some((Arc::clone(shown), *at))),
                    Seen::Nothing => Ok(None),
                    Seen::Unavailable => Err(unavailable()),
                };
            }
        }
        admit()?;
        // From before the question: what changes while it is under way is not older than it seems.
        let at = Instant::now();
        match app.redis("key_read", app.queue().look_up_key(id)).await {
            Ok(Some(shown)) => {
                let shown = Arc::new(shown);
                *last = Some((at, Seen::Key(Arc::clone(&shown))));
                Ok(Some((shown, at)))
            }
            Ok(None) => {
                *last = Some((at, Seen::Nothing));
                Ok(None)
            }
            Err(error) => {
                *last = Some((Instant::now(), Seen::Unavailable));
                Err(error)
            }
        }
    }
}

/// What the extractors found out about a request; for [`around`], which goes on when they are done.
#[derive(Clone, Default)]
struct Found(Arc<OnceLock<(Arc<Caller>, Option<Rate>)>>);

/// Who sent this request, after its key's rate: once per request, however many extractors ask.
pub(super) async fn caller(parts: &mut Parts, app: &App) -> Result<Arc<Caller>, ApiError> {
    let found = parts.extensions.get::<Found>().cloned().unwrap_or_default();
    if let Some((caller, _)) = found.0.get() {
        return Ok(Arc::clone(caller));
    }
    let address = parts.extensions.get::<ClientAddress>();
    let address = address.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.0);
    let door = &app.0.door;
    let caller = Arc::new(door.caller(app, &parts.headers, address).await?);
    let (rate, wait) = match door.rate(caller.by) {
        Ok(rate) => (rate, None),
        Err((rate, wait)) => (Some(rate), Some(wait)),
    };
    let _ = found.0.set((Arc::clone(&caller), rate));
    if let Some(wait) = wait {
        app.metrics().http_rate_limited.inc();
        return Err(ApiError::new(
            Kind::RateLimited,
            format!("this key sends too many requests; try again in {wait} s"),
        )
        .with_policy(POLICY)
        .retry_after(wait));
    }
    Ok(caller)
}

/// Around all routes: tells a caller what is left of its rate, and ends what outlives its right.
pub(super) async fn around(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let found = Found::default();
    request.extensions_mut().insert(found.clone());
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let start = Instant::now();
    let mut response = next.run(request).await;
    let Some((caller, rate)) = found.0.get() else {
        return response;
    };
    // A wait for news. What changes something was begun while the right held.
    if reads
        && start.elapsed() > KEY_AGE_MAX
        && let Err(error) = app.0.door.still_holds(&app, caller).await
    {
        response = error.into_response();
    }
    let is_stream = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
    if is_stream {
        let (parts, body) = response.into_parts();
        let (app, caller) = (app.clone(), Arc::clone(caller));
        let ended = Box::pin(async move {
            loop {
                tokio::time::sleep(STREAM_CHECK_EVERY).await;
                if app.0.door.still_holds(&app, &caller).await.is_err() {
                    app.metrics().cut_off(CutOff::Key);
                    break;
                }
            }
        });
        let body = Body::from_stream(body.into_data_stream().take_until(ended));
        response = Response::from_parts(parts, body);
    }
    if let Some(rate) = rate {
        rate.write(response.headers_mut());
    }
    response
}
