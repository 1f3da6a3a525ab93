//! `manimq admin keys`: who may come in.

use std::time::Duration;

use clap::{Args, Subcommand};
use manimq_shared::ids::TenantId;
use manimq_shared::queue::{
    ApiKey, KeyId, KeyMade, KeyRotated, KeyState, NewKey, Queue, QueueError, Scopes, check_name,
};
use serde_json::json;

use super::show::{ago, ahead, or_dash};
use super::table::{Cell, Table, Tone, cell, facts};
use super::view::{KeyView, MadeKeyView};
use super::{Answer, Refusal, every_account};
use crate::exit::Failure;
use crate::term::Paint;

/// Longest life or overlap: a hundred years, so that no sum of times overflows.
const LIFE_MAX: Duration = Duration::from_secs(100 * 366 * 86_400);
/// Both keys work for so long after a rotation, unless another time is given.
pub(crate) const OVERLAP: Duration = Duration::from_secs(86_400);

/// Flags of `manimq admin keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key for a tenant; it is shown this once
    #[command(after_help = "\
Scopes: render (the tenant's jobs), code (jobs may bring code of their own), admin (the operators' \
routes, for all tenants). Only a hash of the key is kept: who loses it makes another.

Example:
  manimq admin keys create acme --name site --scopes render,code --expires 90d")]
    Create {
        /// Whose
        tenant: TenantId,
        /// What to call it
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true
        )]
        name: String,
        /// What it may be used for, with commas between
        #[arg(long, value_name = "SCOPES", default_value_t = Scopes::USUAL)]
        scopes: Scopes,
        /// After how long it stops working, such as 90d [default: never]
        #[arg(long, value_name = "TIME", value_parser = life)]
        expires: Option<Duration>,
    },
    /// Keys of a tenant or of all, without their secrets; dead ones for 30 days
    #[command(after_help = "Example:\n  manimq admin keys list acme")]
    List {
        /// Whose; without it, everybody's
        tenant: Option<TenantId>,
    },
    /// Make a second key like one that works; both do for a while
    #[command(after_help = "\
The new key has the tenant, name and scopes of the old one, and lives as long as that was made for: \
one made for 90d gives one for 90d, one without an end gives one without. Put it where the old one is \
used within the overlap, after which the old one stops.

Example:
  manimq admin keys rotate 0f3a9c21d4b5e687 --overlap 7d")]
    Rotate {
        /// The old key's id
        #[arg(value_name = "KEY")]
        id: KeyId,
        /// How long both work; 0s ends the old one at once
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = life_or_none)]
        overlap: Duration,
        /// After how long the new one stops working [default: as long as the old one was made for]
        #[arg(long, value_name = "TIME", value_parser = life)]
        expires: Option<Duration>,
    },
    /// End a key; every API process refuses it within seconds
    #[command(after_help = "\
Requests are refused within 3 s, open event streams end within 8 s. Signed URLs that were given out \
work until they expire. Running it again changes nothing.

Example:
  manimq admin keys revoke 0f3a9c21d4b5e687")]
    Revoke {
        /// Its id
        #[arg(value_name = "KEY")]
        id: KeyId,
    },
}

fn life_or_none(text: &str) -> Result<Duration, String> {
    let life = humantime::parse_duration(text)
        .map_err(|_| "write a time such as 12h, 90d or 1y".to_owned())?;
    if life > LIFE_MAX {
        return Err("a key lives at most 100 years; leave it out for one that never ends".into());
    }
    Ok(life)
}

fn life(text: &str) -> Result<Duration, String> {
    match life_or_none(text)? {
        Duration::ZERO => Err("a key that has ended already is none; write such as 90d".into()),
        life => Ok(life),
    }
}

/// Whether a life or overlap is one that can be.
pub(crate) fn check_life(life: Duration) -> Result<(), Refusal> {
    if life > LIFE_MAX {
        return Err(Refusal::wrong(
            "a key lives at most 100 years",
            "leave the time out for a key that never ends",
        ));
    }
    Ok(())
}

impl KeysArgs {
    /// Runs the command.
    pub async fn run(self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        self.run_with(queue, paint).await
    }

    /// The same without taking the command away.
    pub async fn run_with(&self, queue: &Queue, paint: Paint) -> Result<Answer, Failure> {
        match &self.action {
            Action::Create {
                tenant,
                name,
                scopes,
                expires,
            } => {
                let new = NewKey {
                    tenant: tenant.clone(),
                    name: name.clone(),
                    scopes: *scopes,
                    life: *expires,
                };
                let made = create(queue, &new).await?;
                Ok(told(&made, paint, ""))
            }
            Action::List { tenant } => show(queue, tenant.as_ref(), paint).await,
            Action::Rotate {
                id,
                overlap,
                expires,
            } => {
                let made = rotate(queue, *id, *overlap, *expires).await?;
                let old = match queue.key(*id).await?.and_then(|key| key.expires_at) {
                    Some(at) => format!("{id} stops {}", ahead(at)),
                    None => format!("{id} has stopped"),
                };
                Ok(told(&made, paint, &old))
            }
            Action::Revoke { id } => {
                let changed = revoke(queue, *id).await?;
                let text = if changed {
                    format!("{id}: revoked; it is refused everywhere within seconds\n")
                } else {
                    format!("{id}: was revoked already\n")
                };
                Ok(Answer::ok(text, json!({ "id": id, "changed": changed })))
            }
        }
    }
}

/// Makes a key.
pub(crate) async fn create(queue: &Queue, new: &NewKey) -> Result<MadeKeyView, Refusal> {
    check_name(&new.name)
        .map_err(|problem| Refusal::wrong(problem, "give another name; nothing was made"))?;
    match queue.create_key(new).await? {
        KeyMade::Made(key) => shown_once(queue, &key).await,
        KeyMade::NoTenant => Err(Refusal::no_tenant(&new.tenant)),
        KeyMade::Full => Err(full(&new.tenant)),
    }
}

fn full(tenant: &TenantId) -> Refusal {
    Refusal::Conflict {
        kind: "too-many-keys",
        message: format!("{tenant} has 50 live keys, which is the most"),
        hint: format!(
            "revoke some: `manimq admin keys list {tenant}` shows when each was last used"
        ),
    }
}

async fn shown_once(queue: &Queue, key: &ApiKey) -> Result<MadeKeyView, Refusal> {
    let record = queue.key(key.id()).await?;
    let record = record.ok_or_else(|| QueueError::Corrupt("a new key has no record".into()))?;
    Ok(MadeKeyView {
        key: key.expose(),
        record: record.into(),
    })
}

/// Makes a second key beside one that lives. Unless another life is given, that of the old one: to rotate a key
/// that ends must not make one that never does.
pub(crate) async fn rotate(
    queue: &Queue,
    id: KeyId,
    overlap: Duration,
    expires: Option<Duration>,
) -> Result<MadeKeyView, Refusal> {
    match queue.rotate_key(id, overlap, expires).await? {
        KeyRotated::Made(key) => shown_once(queue, &key).await,
        KeyRotated::NoKey => Err(no_key(id)),
        KeyRotated::Dead => Err(Refusal::Conflict {
            kind: "key-ended",
            message: format!("the key {id} is revoked or has expired"),
            hint: "make a new one with `manimq admin keys create`".to_owned(),
        }),
        KeyRotated::Full => match queue.key(id).await? {
            Some(key) => Err(full(&key.tenant)),
            None => Err(no_key(id)),
        },
    }
}

/// Ends a key; whether it was not revoked before.
pub(crate) async fn revoke(queue: &Queue, id: KeyId) -> Result<bool, Refusal> {
    queue.revoke_key(id).await?.ok_or_else(|| no_key(id))
}

fn no_key(id: KeyId) -> Refusal {
    Refusal::Missing {
        kind: "no-such-key",
        message: format!("there is no key {id}"),
        hint: "`manimq admin keys list` shows those that there are".to_owned(),
    }
}

/// The keys of a tenant, which must be there, or of all.
pub(crate) async fn list(
    queue: &Queue,
    tenant: Option<&TenantId>,
) -> Result<Vec<KeyView>, Refusal> {
    let mut keys = Vec::new();
    let tenants = match tenant {
        Some(tenant) if queue.account(tenant).await?.is_none() => {
            return Err(Refusal::no_tenant(tenant));
        }
        Some(tenant) => vec![tenant.clone()],
        None => {
            let mut all = Vec::new();
            every_account(queue, |account| {
                all.push(account.tenant);
                true
            })
            .await?;
            all
        }
    };
    for tenant in tenants {
        let some = queue.keys_of_account(&tenant).await?;
        keys.extend(some.into_iter().map(KeyView::from));
    }
    Ok(keys)
}

async fn show(queue: &Queue, tenant: Option<&TenantId>, paint: Paint) -> Result<Answer, Failure> {
    let keys = list(queue, tenant).await?;
    let mut table = Table::new(&[
        "KEY",
        "TENANT",
        "NAME",
        "SCOPES",
        "STATE",
        "MADE",
        "EXPIRES",
        "LAST USED",
    ]);
    for key in &keys {
        let state: Cell = match key.state {
            KeyState::Live => "live".into(),
            dead => cell(dead.as_str(), Tone::Dim),
        };
        let expires = key.expires_at.map(|at| match key.state {
            KeyState::Live => ahead(at),
            KeyState::Expired | KeyState::Revoked => ago(at),
        });
        table.row([
            key.id.into(),
            (&key.tenant).into(),
            (&key.name).into(),
            Scopes::of(&key.scopes).into(),
            state,
            ago(key.created_at).into(),
            or_dash(expires.filter(|_| key.state != KeyState::Revoked)).into(),
            or_dash(key.last_used_at.map(ago)).into(),
        ]);
    }
    let text = table.show(
        paint,
        "no keys: make one with `manimq admin keys create TENANT`",
    );
    Ok(Answer::ok(text, json!({ "keys": keys })))
}

fn told(made: &MadeKeyView, paint: Paint, old: &str) -> Answer {
    let record = &made.record;
    let mut lines = vec![
        ("key", made.key.clone()),
        ("id", record.id.to_string()),
        ("tenant", record.tenant.to_string()),
        ("scopes", Scopes::of(&record.scopes).to_string()),
        (
            "expires",
            record.expires_at.map_or_else(|| "never".to_owned(), ahead),
        ),
    ];
    if !old.is_empty() {
        lines.push(("old key", old.to_owned()));
    }
    let mut text = facts(paint, &lines);
    text.push_str("keep the key now: it is not shown again\n");
    Answer::ok(text, json!(made))
}
