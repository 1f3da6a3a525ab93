//! Tenants as operators keep them, and API keys: in Redis, for all API processes together.
//!
//! A key is shown once, when it is made; what is kept is its SHA-256. A fast hash is right here: passwords
//! need slow ones because people choose them from few, a key has 192 random bits, and whoever steals the
//! hashes could not try them all with any hash. It also lets a check cost a microsecond, not a core.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use redis::FromRedisValue as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::call::Args;
use super::error::unexpected;
use super::{BATCH_MAX, PauseScope, Queue, QueueError};
use crate::ids::TenantId;

/// How every key begins, so that people and secret scanners know one when they see it.
const PREFIX: &str = "mqk_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 24;

/// Names a key without giving it away: 16 hex digits. In lists and logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = String;

    /// Also takes what a list shows, `mqk_<id>`. Not a whole key: it should not be in a shell's history.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix(PREFIX).unwrap_or(text);
        if bare.len() > 2 * ID_BYTES && ApiKey::parse(text).is_some() {
            return Err(
                "that is a whole key; give its id alone, the 16 characters after mqk_".to_owned(),
            );
        }
        from_hex(bare).map(Self).ok_or_else(|| {
            "a key's id is 16 hex digits, as `manimq admin keys list TENANT` shows it".to_owned()
        })
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Lower-case hex of exactly so many bytes.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    let mut bytes = [0; N];
    let fits = text.len() == 2 * N && text.bytes().all(lower);
    (fits && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// A whole key, secret included: `mqk_<id>_<secret>`. Never log it; `Debug` shows the id alone.
#[derive(Clone)]
pub struct ApiKey {
    id: KeyId,
    secret: [u8; SECRET_BYTES],
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_…", self.id)
    }
}

impl ApiKey {
    /// A new one from the operating system's random source.
    ///
    /// # Panics
    /// If the operating system has no random source; nothing secure can be done then.
    #[must_use]
    pub fn generate() -> Self {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        for bytes in [&mut id[..], &mut secret[..]] {
            getrandom::fill(bytes).expect("the operating system has a random source");
        }
        Self {
            id: KeyId(id),
            secret,
        }
    }

    /// Reads the form of [`Self::expose`]; nothing else is one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            id: KeyId(from_hex(id)?),
            secret: from_hex(secret)?,
        })
    }

    /// Whether a text claims to be such a key, well formed or not.
    #[must_use]
    pub fn looks_like_one(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The text that its holder sends.
    #[must_use]
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hex::encode(self.secret))
    }

    fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.expose()).into()
    }
}

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Everything about the tenant's own jobs, save what needs another scope.
    Render,
    /// Jobs that bring code of their own.
    Code,
    /// The operators' routes, for all tenants.
    Admin,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Render, Self::Code, Self::Admin];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Render => "render",
            Self::Code => "code",
            Self::Admin => "admin",
        }
    }
}

/// A set of scopes. Text form: `render,code`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every scope.
    pub const ALL: Self = Self(0b111);
    /// What a key has if nothing is said: jobs, with code.
    pub const USUAL: Self = Self(0b011);

    /// Whether a scope is in it.
    #[must_use]
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u8) != 0
    }

    /// Those that are in it.
    pub fn each(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// A set of these.
    #[must_use]
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |set, scope| set | 1 << *scope as u8))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.each().map(Scope::as_str).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Scopes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scope = |name: &str| {
            let found = Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
            found.ok_or_else(|| format!("there is no scope {name:?}; there are render, code and admin, several with commas between"))
        };
        let scopes: Vec<_> = text
            .split(',')
            .map(|name| scope(name.trim()))
            .collect::<Result<_, _>>()?;
        Ok(Self::of(&scopes))
    }
}

/// A tenant as operators keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub tenant: TenantId,
    /// Its name for people; may be empty.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when it is disabled.
    pub disabled_at: Option<Timestamp>,
    /// Keys that work.
    pub keys_live: u32,
}

/// Whether a key works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It works, if its tenant is not disabled.
    Live,
    /// Its time is over.
    Expired,
    /// An operator ended it.
    Revoked,
}

impl KeyState {
    /// The name for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// Whose it is.
    pub tenant: TenantId,
    /// What its maker called it; may be empty.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was last used, to a minute or two.
    pub last_used_at: Option<Timestamp>,
    /// Whether it works.
    pub state: KeyState,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Whose it is to be.
    pub tenant: TenantId,
    /// What to call it.
    pub name: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// How long it is to live; `None` for ever.
    pub life: Option<Duration>,
}

/// What became of a [`Queue::create_key`].
#[derive(Debug, Clone)]
pub enum KeyMade {
    /// Here it is; nobody can show it again.
    Made(ApiKey),
    /// There is no such tenant.
    NoTenant,
    /// The tenant has as many live keys as one may have.
    Full,
}

/// What became of a [`Queue::rotate_key`].
#[derive(Debug, Clone)]
pub enum KeyRotated {
    /// The new key; the old one lives until the overlap is over.
    Made(ApiKey),
    /// There is no such key.
    NoKey,
    /// It is revoked or has expired.
    Dead,
    /// The tenant has as many live keys as one may have.
    Full,
}

/// What is known of a key that somebody shows.
#[derive(Debug, Clone)]
pub struct ShownKey {
    /// Whose it is.
    pub tenant: TenantId,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Whether it works, when it was read.
    pub state: KeyState,
    /// Until when, from then on.
    pub expires_in: Option<Duration>,
    /// Whether its tenant is disabled.
    pub disabled: bool,
    /// Whether its last use should be noted again.
    pub note_use: bool,
    hash: [u8; 32],
}

impl ShownKey {
    /// Whether this is the key, secret and all. In constant time, so that nobody learns from it how
    /// much of a guess was right.
    #[must_use]
    pub fn is(&self, key: &ApiKey) -> bool {
        self.hash.ct_eq(&key.hash()).into()
    }
}

/// Whether keys are what one needs to come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Keys that were ever made. From the first one on nobody comes in without a key.
    pub made: u64,
    /// Keys that are live now.
    pub live: u64,
}

/// Longest name of a key or a tenant, characters.
const NAME_CHARS_MAX: usize = 80;

/// Whether a text can be the name of a key or a tenant.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(text: &str) -> Result<(), String> {
    if text.chars().count() > NAME_CHARS_MAX {
        return Err(format!("a name has at most {NAME_CHARS_MAX} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("a name has no line breaks and no control characters".to_owned());
    }
    Ok(())
}

fn time(text: &str) -> Result<Option<Timestamp>, QueueError> {
    if text.is_empty() {
        return Ok(None);
    }
    let ms = text.parse().ok();
    ms.and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .map(Some)
        .ok_or_else(|| QueueError::Corrupt(format!("{text:?} is no time")))
}

fn moment(text: &str) -> Result<Timestamp, QueueError> {
    time(text)?.ok_or_else(|| QueueError::Corrupt("a time is missing".to_owned()))
}

/// Scopes as an older or newer version may have written them: what is not known gives no right.
fn known_scopes(text: &str) -> Scopes {
    let known = |name: &str| Scope::ALL.into_iter().find(|scope| scope.as_str() == name);
    Scopes::of(&text.split(',').filter_map(known).collect::<Vec<_>>())
}

fn millis(life: Option<Duration>) -> u128 {
    life.map_or(0, |life| life.as_millis().max(1))
}

impl Queue {
    async fn account_call(&self, function: &str, args: Args) -> Result<redis::Value, QueueError> {
        self.call_at(&self.keys().accounts(), function, &args.0)
            .await
    }

    async fn account_word(&self, function: &str, args: Args) -> Result<String, QueueError> {
        Ok(String::from_redis_value(
            self.account_call(function, args).await?,
        )?)
    }

    /// Makes a tenant. False if there is one of this id already; then nothing changes.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn create_account(&self, tenant: &TenantId, name: &str) -> Result<bool, QueueError> {
        let args = Args::new().text(tenant.as_str()).text(name);
        match self.account_word("account_create", args).await?.as_str() {
            "ok" => Ok(true),
            "exists" => Ok(false),
            other => Err(unexpected("account_create", other)),
        }
    }

    /// One tenant.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn account(&self, tenant: &TenantId) -> Result<Option<Account>, QueueError> {
        let args = Args::new().text(tenant.as_str()).text("1").text("1");
        Ok(self.account_page(args).await?.pop())
    }

    /// A page of the tenants in the order of their ids, at most [`BATCH_MAX`]; the next one begins
    /// after the last of them.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn accounts(&self, after: Option<&TenantId>) -> Result<Vec<Account>, QueueError> {
        let after = after.map_or("", TenantId::as_str);
        let args = Args::new().text(after).show(BATCH_MAX).text("0");
        self.account_page(args).await
    }

    async fn account_page(&self, args: Args) -> Result<Vec<Account>, QueueError> {
        type Reply = Vec<(String, String, String, String, u32)>;
        let reply = Reply::from_redis_value(self.account_call("accounts", args).await?)?;
        let account =
            |(tenant, name, created, disabled, keys_live): (String, _, String, String, _)| {
                Ok(Account {
                    tenant: tenant.parse()?,
                    name,
                    created_at: moment(&created)?,
                    disabled_at: time(&disabled)?,
                    keys_live,
                })
            };
        reply.into_iter().map(account).collect()
    }

    /// Disables a tenant: its keys are refused, its waiting jobs stay and do not start; what runs goes
    /// on. `None` if there is no such tenant, false if it was disabled before.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat, and to be repeated: its jobs may not be paused yet.
    pub async fn disable_account(&self, tenant: &TenantId) -> Result<Option<bool>, QueueError> {
        let Some((changed, _)) = self.set_able(tenant, false).await? else {
            return Ok(None);
        };
        let paused = self.pause(&PauseScope::Tenant(tenant.clone())).await?;
        if changed && !paused {
            // An operator had paused it for another reason, which enabling it shall not undo.
            let args = Args::new().text(tenant.as_str());
            self.account_call("account_not_held", args).await?;
        }
        Ok(Some(changed))
    }

    /// Undoes [`Self::disable_account`]. Jobs go on unless they had been paused before.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn enable_account(&self, tenant: &TenantId) -> Result<Option<bool>, QueueError> {
        let Some(account) = self.account(tenant).await? else {
            return Ok(None);
        };
        if account.disabled_at.is_none() {
            return Ok(Some(false));
        }
        // The jobs first: if the second step is not reached, a repetition finds the tenant disabled and
        // does both.
        if let Some((_, true)) = self.set_able(tenant, false).await? {
            self.resume(&PauseScope::Tenant(tenant.clone())).await?;
        }
        Ok(self
            .set_able(tenant, true)
            .await?
            .map(|(changed, _)| changed))
    }

    /// Whether that changed something, and whether disabling had paused the jobs.
    async fn set_able(
        &self,
        tenant: &TenantId,
        able: bool,
    ) -> Result<Option<(bool, bool)>, QueueError> {
        let args = Args::new().text(tenant.as_str()).show(u8::from(!able));
        let reply = self.account_call("account_able", args).await?;
        let (word, held) = <(String, String)>::from_redis_value(reply)?;
        match word.as_str() {
            "changed" => Ok(Some((true, held == "1"))),
            "same" => Ok(Some((false, held == "1"))),
            "missing" => Ok(None),
            other => Err(unexpected("account_able", other)),
        }
    }

    /// Removes a tenant's record and all its keys, not its jobs. How many keys; `None` if there was
    /// no such tenant.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn forget_account(&self, tenant: &TenantId) -> Result<Option<u64>, QueueError> {
        let args = Args::new().text(tenant.as_str());
        let reply = i64::from_redis_value(self.account_call("account_forget", args).await?)?;
        Ok(u64::try_from(reply).ok())
    }

    /// Makes a key.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: there may be a key now that nobody knows; revoke it.
    pub async fn create_key(&self, new: &NewKey) -> Result<KeyMade, QueueError> {
        let key = ApiKey::generate();
        let args = Args::new()
            .show(key.id)
            .text(new.tenant.as_str())
            .text(&hex::encode(key.hash()))
            .text(&new.name)
            .show(new.scopes)
            .show(millis(new.life));
        match self.account_word("key_create", args).await?.as_str() {
            // `taken`: the call was sent again after its answer was lost. Two keys of the same 64 random
            // bits do not happen.
            "ok" | "taken" => Ok(KeyMade::Made(key)),
            "missing" => Ok(KeyMade::NoTenant),
            "full" => Ok(KeyMade::Full),
            other => Err(unexpected("key_create", other)),
        }
    }

    /// Makes a second key like one that lives; the old one works for `overlap` yet. Without `life` the new one
    /// lives as long as the old one was made for.
    ///
    /// # Errors
    /// As [`Self::create_key`].
    pub async fn rotate_key(
        &self,
        old: KeyId,
        overlap: Duration,
        life: Option<Duration>,
    ) -> Result<KeyRotated, QueueError> {
        let key = ApiKey::generate();
        let args = Args::new()
            .show(old)
            .show(key.id)
            .text(&hex::encode(key.hash()))
            .show(overlap.as_millis())
            .show(millis(life));
        match self.account_word("key_rotate", args).await?.as_str() {
            "ok" | "taken" => Ok(KeyRotated::Made(key)),
            "missing" => Ok(KeyRotated::NoKey),
            "dead" => Ok(KeyRotated::Dead),
            "full" => Ok(KeyRotated::Full),
            other => Err(unexpected("key_rotate", other)),
        }
    }

    /// Ends a key. `None` if there is no such key, false if it was revoked before. API processes know
    /// within seconds.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]; safe to repeat.
    pub async fn revoke_key(&self, id: KeyId) -> Result<Option<bool>, QueueError> {
        let word = self
            .account_word("key_revoke", Args::new().show(id))
            .await?;
        match word.as_str() {
            "ok" => Ok(Some(true)),
            "same" => Ok(Some(false)),
            "missing" => Ok(None),
            other => Err(unexpected("key_revoke", other)),
        }
    }

    /// A tenant's keys, oldest first; those that are dead for up to 30 days.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn keys_of_account(&self, tenant: &TenantId) -> Result<Vec<KeyRecord>, QueueError> {
        let mut keys = self
            .key_records(Args::new().text(tenant.as_str()).text(""))
            .await?;
        keys.sort_by_key(|key| (key.created_at, key.id));
        Ok(keys)
    }

    /// One key.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, QueueError> {
        Ok(self.key_records(Args::new().text("").show(id)).await?.pop())
    }

    async fn key_records(&self, args: Args) -> Result<Vec<KeyRecord>, QueueError> {
        let reply = self.account_call("keys", args).await?;
        let record = |texts: Vec<String>| {
            let texts: [String; 9] = texts
                .try_into()
                .map_err(|_| unexpected("keys", "another number of fields"))?;
            let [
                id,
                tenant,
                name,
                scopes,
                created,
                expires,
                revoked,
                used,
                live,
            ] = texts;
            let revoked_at = time(&revoked)?;
            Ok(KeyRecord {
                id: id.parse().map_err(QueueError::Corrupt)?,
                tenant: tenant.parse()?,
                name,
                scopes: known_scopes(&scopes),
                created_at: moment(&created)?,
                expires_at: time(&expires)?,
                revoked_at,
                last_used_at: time(&used)?,
                state: match (live == "1", revoked_at) {
                    (true, _) => KeyState::Live,
                    (false, Some(_)) => KeyState::Revoked,
                    (false, None) => KeyState::Expired,
                },
            })
        };
        Vec::<Vec<String>>::from_redis_value(reply)?
            .into_iter()
            .map(record)
            .collect()
    }

    /// What is known of a key: one read. Whether the secret is right says [`ShownKey::is`].
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn look_up_key(&self, id: KeyId) -> Result<Option<ShownKey>, QueueError> {
        let reply = self.account_call("key_read", Args::new().show(id)).await?;
        let texts = Vec::<String>::from_redis_value(reply)?;
        if texts.is_empty() {
            return Ok(None);
        }
        let texts: [String; 7] = texts
            .try_into()
            .map_err(|_| unexpected("key_read", "another number of fields"))?;
        let [tenant, hash, scopes, state, expires, disabled, note] = texts;
        Ok(Some(ShownKey {
            tenant: tenant.parse()?,
            scopes: known_scopes(&scopes),
            state: match state.as_str() {
                "live" => KeyState::Live,
                "expired" => KeyState::Expired,
                "revoked" => KeyState::Revoked,
                other => return Err(unexpected("key_read", other)),
            },
            expires_in: expires.parse().ok().map(Duration::from_millis),
            disabled: disabled == "1",
            note_use: note == "1",
            hash: from_hex(&hash).ok_or_else(|| unexpected("key_read", "no hash"))?,
        }))
    }

    /// Notes that a key is used now.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn note_key_use(&self, id: KeyId) -> Result<(), QueueError> {
        self.account_call("key_used", Args::new().show(id)).await?;
        Ok(())
    }

    /// Whether keys are needed.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub async fn doors(&self) -> Result<Doors, QueueError> {
        let reply = self.account_call("doors", Args::new()).await?;
        let (made, live) = <(String, u64)>::from_redis_value(reply)?;
        Ok(Doors {
            made: made.parse().unwrap_or(0),
            live,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_one_form_and_never_shows_its_secret_by_accident() {
        let key = ApiKey::generate();
        let text = key.expose();
        assert_eq!(text.len(), 4 + 16 + 1 + 48);
        assert_eq!(ApiKey::parse(&text).expect("a key").expose(), text);
        assert!(!format!("{key:?}").contains(&text[21..]));
        assert_ne!(ApiKey::generate().expose(), text);
        for wrong in [
            "",
            "mqk_",
            "mqk__",
            &text[1..],
            &text[..text.len() - 1],
            &text.to_uppercase(),
            &format!("{text}0"),
            &format!(" {text}"),
            &text.replace("mqk_", "mqk-"),
        ] {
            assert!(ApiKey::parse(wrong).is_none(), "{wrong}");
        }
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        assert_eq!(format!("mqk_{}", key.id()).parse(), Ok(key.id()));
        let error = text.parse::<KeyId>().expect_err("a whole key is no id");
        assert!(error.contains("whole key") && !error.contains(&text[21..]));
    }

    #[test]
    fn scopes_have_one_text_form_and_what_is_unknown_gives_no_right() {
        let scopes: Scopes = "code, render".parse().expect("scopes");
        assert_eq!(
            (scopes, scopes.to_string().as_str()),
            (Scopes::USUAL, "render,code")
        );
        assert!(!scopes.has(Scope::Admin));
        assert_eq!("render,code,admin".parse(), Ok(Scopes::ALL));
        for wrong in ["", "render,", "Render", "root"] {
            assert!(wrong.parse::<Scopes>().is_err(), "{wrong}");
        }
        assert_eq!(known_scopes("render,later"), Scopes::of(&[Scope::Render]));
        assert_eq!(known_scopes(""), Scopes::of(&[]));
    }
}
