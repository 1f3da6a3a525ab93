//! Removes files that nobody can reach any more: of attempts that lost, of jobs whose record has
//! ended, and those that came with jobs long ago.
//!
//! What may be removed is decided by Redis, and a wrong or empty Redis must not empty a bucket:
//!
//! * Nothing is removed unless Redis names this very store, before the sweep and on its way.
//! * Redis also knows since when it does. What was stored before that, another queue (or a lost
//!   one) may know of: it is counted, never removed by itself.
//! * An error of Redis ends the sweep; no answer is never taken for "no such job".
//! * Files younger than a grace are left alone whatever is said of them, so an upload cannot be
//!   overtaken: an attempt lives shorter than that.
//!
//! A sweep goes through the keys in their order and looks at so many at most; where it stopped is noted in Redis, and
//! the next one goes on there, in whatever process it runs.
//!
//! A file that comes with jobs may be asked for again at the moment it is removed. So whoever
//! submits first notes that it is needed and then looks whether it is locked, and the sweep first
//! locks it and then looks whether it is needed: at least one sees the other.

use std::cmp::Ordering;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;
use manimq_shared::ids::{JobId, TenantId};
use manimq_shared::job::{EARLY_POSTER, Status};
use manimq_shared::queue::{Queue, QueueError};
use manimq_shared::storage::{ASSET_PREFIX, ArtifactKey, AssetKey, PREFIX};
use object_store::ObjectMeta;
use object_store::path::Path as ObjectPath;
use serde::Serialize;
use uuid::Uuid;

use super::{INCOMING, Store, StoreError, room_of};

/// Files that one sweep looks at, and that it removes, at most; the next goes on.
const LOOKED_MAX: u64 = 1_000_000;
const REMOVED_MAX: u64 = 50_000;
/// Files that are held in memory while they are put into the order of their keys.
const PAGE_MAX: usize = 50_000;
/// Where files lie, in the order in which they are swept.
const FOLDERS: [&str; 3] = [PREFIX, ASSET_PREFIX, INCOMING];
/// Removed files that are named in a report.
const NAMED_MAX: usize = 1000;
/// Files younger than this are never removed.
const GRACE: Duration = Duration::from_secs(2 * 3600);
/// How many verdicts about jobs are remembered.
const VERDICTS_MAX: usize = 10_000;
/// How often it is looked again whose store this is.
const LOOK_EVERY: u64 = 500;
/// How long a file that is being removed is locked; removing one takes far less.
const LOCK: Duration = Duration::from_secs(300);
/// Longest wait for such a lock, and how often it is looked at.
const LOCK_WAIT: Duration = Duration::from_secs(20);
const LOCK_LOOK: Duration = Duration::from_millis(100);

/// Why a sweep ended early.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// Redis knows another store, or none.
    #[error(
        "Redis does not name this store as the one of its jobs, so nothing can be said of its files; start `manimq serve` with these settings first, or correct them"
    )]
    OtherStore,
    /// Redis failed.
    #[error("Redis did not answer")]
    Queue(#[from] QueueError),
    /// The store failed.
    #[error("the storage failed")]
    Store(#[from] StoreError),
}

/// What a sweep did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SweepReport {
    /// Whether nothing was removed in truth.
    pub dry_run: bool,
    /// Files that were looked at.
    pub looked_at: u64,
    /// Files that were removed.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
    /// Files without a job that are older than what Redis knows, and therefore kept.
    pub unknown: u64,
    /// Whether there are files that it did not come to; the next sweep goes on there.
    pub more: bool,
    /// The first thousand of those removed.
    pub files: Vec<SweptFile>,
}

/// One removed file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SweptFile {
    /// Its key.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

/// What Redis says of a job.
enum Verdict {
    /// It goes on: everything of it is kept.
    Running,
    /// It was canceled; it may have rendered for others, who show its files still.
    Canceled,
    /// It has ended, and shows these keys.
    Ended(Vec<String>),
    /// There is no such job (any more).
    Gone,
}

/// Sweeps a store.
#[derive(Clone)]
pub struct Sweeper {
    store: Store,
    queue: Queue,
    job_age: Duration,
    asset_age: Duration,
    grace: Duration,
    looked_max: u64,
    page_max: usize,
}

/// A file, in the order of keys.
struct ByKey(ObjectMeta);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.location.cmp(&other.0.location)
    }
}

impl Sweeper {
    /// Files of jobs that are gone are kept for `job_age` from when they were stored, files that
    /// came with jobs for `asset_age` from their last use. Both must be at least as long as the
    /// records of jobs that may show or use them.
    #[must_use]
    pub fn new(store: Store, queue: Queue, job_age: Duration, asset_age: Duration) -> Self {
        Self {
            store,
            queue,
            job_age,
            asset_age,
            grace: GRACE,
            looked_max: LOOKED_MAX,
            page_max: PAGE_MAX,
        }
    }

    /// Another grace than two hours; for tests.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Other bounds than a million files a sweep and 50,000 a page; for tests.
    #[must_use]
    pub fn with_bounds(mut self, looked_max: u64, page_max: usize) -> Self {
        self.looked_max = looked_max;
        self.page_max = page_max;
        self
    }

    /// Notes in Redis that this store is the queue's, and since when.
    ///
    /// # Errors
    /// As Redis has it.
    pub async fn note_store(queue: &Queue, identity: &str) -> Result<Option<String>, QueueError> {
        let mut command = redis::cmd("SET");
        command
            .arg(queue.keys().store())
            .arg(identity)
            .arg("NX")
            .arg("GET");
        let noted: Option<String> = queue.query(&command).await?;
        let mut since = redis::cmd("SET");
        since
            .arg(queue.keys().store_since())
            .arg(Timestamp::now().as_millisecond())
            .arg("NX");
        let _: Option<String> = queue.query(&since).await?;
        Ok(noted)
    }

    /// Since when Redis knows this store.
    async fn since(&self) -> Result<Timestamp, SweepError> {
        let mut command = redis::cmd("GET");
        command.arg(self.queue.keys().store());
        let noted: Option<String> = self.queue.query(&command).await?;
        if noted.as_deref() != Some(self.store.identity()) {
            return Err(SweepError::OtherStore);
        }
        let mut command = redis::cmd("GET");
        command.arg(self.queue.keys().store_since());
        let since: Option<i64> = self.queue.query(&command).await?;
        since
            .and_then(|ms| Timestamp::from_millisecond(ms).ok())
            .ok_or(SweepError::OtherStore)
    }

    /// Looks at files and removes those that nobody can reach: from where the last sweep stopped, as many as one may
    /// look at. With `dry_run` it only says which, and begins with the first.
    ///
    /// # Errors
    /// [`SweepError`]: what was removed until then is gone, and the rest is left.
    pub async fn run(&self, dry_run: bool) -> Result<SweepReport, SweepError> {
        let since = self.since().await?;
        let mut report = SweepReport {
            dry_run,
            ..SweepReport::default()
        };
        let mut verdicts = HashMap::new();
        let mut of_tenants: HashMap<TenantId, u64> = HashMap::new();
        let begin = if dry_run {
            None
        } else {
            self.stopped_at().await?
        };
        let first = begin.as_ref().map_or(0, |(folder, _)| *folder);
        for (n, folder) in FOLDERS.into_iter().enumerate().skip(first) {
            let mut after = match &begin {
                Some((at, key)) if *at == n => self.behind(folder, key),
                _ => None,
            };
            let whole = after.is_none();
            loop {
                let (files, more) = self.page(folder, after.as_ref()).await?;
                for meta in files {
                    if report.looked_at >= self.looked_max || report.removed >= REMOVED_MAX {
                        report.more = true;
                        self.note_stop(dry_run, Some((folder, after.as_ref())))
                            .await?;
                        return Ok(report);
                    }
                    report.looked_at += 1;
                    if report.looked_at.is_multiple_of(LOOK_EVERY) {
                        if self.since().await? != since {
                            return Err(SweepError::OtherStore);
                        }
                        self.note_stop(dry_run, Some((folder, after.as_ref())))
                            .await?;
                    }
                    let before = report.removed;
                    if let Some(reason) =
                        self.judge(&meta, since, &mut verdicts, &mut report).await?
                    {
                        self.remove(&meta, reason, &mut report).await?;
                    }
                    if before == report.removed
                        && let Ok(asset) = self.key(&meta.location).parse::<AssetKey>()
                    {
                        *of_tenants.entry(asset.tenant().clone()).or_default() +=
                            room_of(meta.size);
                    }
                    after = Some(meta.location);
                }
                if !more {
                    break;
                }
            }
            // Only who has seen all of them can say what they take.
            if folder == ASSET_PREFIX && whole && !dry_run {
                self.note_bytes(&of_tenants).await?;
            }
        }
        self.note_stop(dry_run, None).await?;
        Ok(report)
    }

    /// The next files of a folder in the order of their keys, and whether there are more.
    async fn page(
        &self,
        folder: &str,
        after: Option<&ObjectPath>,
    ) -> Result<(Vec<ObjectMeta>, bool), SweepError> {
        let folder = self.store.path(&folder);
        let mut files = match after {
            Some(after) => self.store.objects.list_with_offset(Some(&folder), after),
            None => self.store.objects.list(Some(&folder)),
        };
        // A folder of this machine is listed in no order: of all that come, the first are kept.
        let mut first = BinaryHeap::new();
        let mut more = false;
        while let Some(meta) = files.next().await {
            match meta {
                Ok(meta) => first.push(ByKey(meta)),
                // Removed while the folder was listed.
                Err(object_store::Error::NotFound { .. }) => continue,
                Err(error) => return Err(StoreError::from(error).into()),
            }
            if first.len() > self.page_max {
                first.pop();
                more = true;
                if self.store.lists_in_order() {
                    break;
                }
            }
        }
        let files = first.into_sorted_vec().into_iter().map(|ByKey(meta)| meta);
        Ok((files.collect(), more))
    }

    /// Behind which key the last sweep stopped, with the number of its folder.
    async fn stopped_at(&self) -> Result<Option<(usize, String)>, SweepError> {
        let mut command = redis::cmd("GET");
        command.arg(self.queue.keys().sweep_at());
        let key: Option<String> = self.queue.query(&command).await?;
        Ok(key.and_then(|key| {
            let folder = key.split('/').next();
            let folder = FOLDERS.iter().position(|name| folder == Some(*name))?;
            Some((folder, key))
        }))
    }

    /// The place in a listing behind a noted key; a folder's name is before its first file.
    fn behind(&self, folder: &str, key: &str) -> Option<ObjectPath> {
        let key = (key != folder).then_some(key)?;
        ObjectPath::parse(format!("{}{key}", self.store.base)).ok()
    }

    /// Notes in which folder and behind which of its files the next sweep begins; `None`: with the first.
    async fn note_stop(
        &self,
        dry_run: bool,
        at: Option<(&str, Option<&ObjectPath>)>,
    ) -> Result<(), SweepError> {
        if dry_run {
            return Ok(());
        }
        let mut command = redis::cmd(if at.is_some() { "SET" } else { "DEL" });
        command.arg(self.queue.keys().sweep_at());
        if let Some((folder, file)) = at {
            command.arg(file.map_or_else(|| folder.to_owned(), |file| self.key(file)));
        }
        let () = self.queue.query(&command).await?;
        Ok(())
    }

    /// Corrects what each tenant's files take, as it was counted by adding and taking away.
    async fn note_bytes(&self, of_tenants: &HashMap<TenantId, u64>) -> Result<(), SweepError> {
        let key = self.queue.keys().asset_bytes();
        let mut known = redis::cmd("HKEYS");
        known.arg(&key);
        let known: Vec<String> = self.queue.query(&known).await?;
        let counted = of_tenants.keys().map(|tenant| tenant.as_str().to_owned());
        let tenants: std::collections::BTreeSet<String> =
            known.into_iter().chain(counted).collect();
        for tenant in tenants {
            let bytes = tenant
                .parse::<TenantId>()
                .ok()
                .and_then(|tenant| of_tenants.get(&tenant));
            let command = match bytes {
                Some(bytes) => {
                    let mut command = redis::cmd("HSET");
                    command.arg(&key).arg(&tenant).arg(bytes);
                    command
                }
                None => {
                    let mut command = redis::cmd("HDEL");
                    command.arg(&key).arg(&tenant);
                    command
                }
            };
            let _: i64 = self.queue.query(&command).await?;
        }
        Ok(())
    }

    /// Why a file may go; `None` if it stays.
    async fn judge(
        &self,
        meta: &ObjectMeta,
        since: Timestamp,
        verdicts: &mut HashMap<JobId, Verdict>,
        report: &mut SweepReport,
    ) -> Result<Option<&'static str>, SweepError> {
        let age = age(meta);
        if age < self.grace {
            return Ok(None);
        }
        let key = self.key(&meta.location);
        if key.starts_with(INCOMING) {
            return Ok(Some("an interrupted upload"));
        }
        let known = meta.last_modified.timestamp_millis() >= since.as_millisecond();
        if let Ok(asset) = key.parse::<AssetKey>() {
            if age < self.asset_age || !known {
                return Ok(None);
            }
            let used = last_use(&self.queue, &asset).await?;
            let unused = used.is_none_or(|at| older(at, self.asset_age));
            return Ok(unused.then_some("no job has used it for long"));
        }
        let Ok(artifact) = key.parse::<ArtifactKey>() else {
            return Ok(None); // not ours
        };
        let job = artifact.job();
        // Never part of a result, so nobody shows it once its attempt is over, and no attempt takes as long as the grace.
        let early = artifact.name().as_str() == EARLY_POSTER;
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.clear();
        }
        let verdict = match verdicts.entry(job) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(self.verdict(job).await?),
        };
        Ok(match verdict {
            Verdict::Running => None,
            Verdict::Canceled => early.then_some("a still of a film that was canceled"),
            Verdict::Ended(shown) => {
                (!shown.contains(&key)).then_some("an attempt that was not the one to succeed")
            }
            Verdict::Gone if age < self.job_age && !early => None,
            Verdict::Gone if !known => {
                report.unknown += 1;
                None
            }
            Verdict::Gone => Some("its job is gone"),
        })
    }

    async fn verdict(&self, job: JobId) -> Result<Verdict, SweepError> {
        Ok(match self.queue.read(job).await? {
            None => Verdict::Gone,
            Some(record) if !record.status.is_terminal() => Verdict::Running,
            Some(record) => {
                let shown = record
                    .result
                    .iter()
                    .filter(|_| record.status == Status::Succeeded)
                    .flat_map(|result| &result.artifacts)
                    .map(|artifact| artifact.key.clone());
                if record.status == Status::Canceled {
                    Verdict::Canceled
                } else {
                    Verdict::Ended(shown.collect())
                }
            }
        })
    }

    async fn remove(
        &self,
        meta: &ObjectMeta,
        reason: &'static str,
        report: &mut SweepReport,
    ) -> Result<(), SweepError> {
        let key = self.key(&meta.location);
        if !report.dry_run {
            let removed = match key.parse::<AssetKey>() {
                Ok(asset) => self.remove_asset(&asset, &meta.location).await?,
                Err(_) => self.store.delete(&meta.location).await?,
            };
            if !removed {
                return Ok(());
            }
        }
        report.removed += 1;
        report.removed_bytes += meta.size;
        if report.files.len() < NAMED_MAX {
            report.files.push(SweptFile {
                key,
                bytes: meta.size,
                reason,
            });
        }
        Ok(())
    }

    /// Removes a file that came with jobs, unless somebody has just asked for it again.
    async fn remove_asset(
        &self,
        asset: &AssetKey,
        location: &ObjectPath,
    ) -> Result<bool, SweepError> {
        let lock = self.queue.keys().asset_lock(asset);
        let mut command = redis::cmd("SET");
        command
            .arg(&lock)
            .arg(Uuid::now_v7().to_string())
            .arg("NX")
            .arg("PX")
            .arg(u64::try_from(LOCK.as_millis()).unwrap_or(u64::MAX));
        let locked: Option<String> = self.queue.query(&command).await?;
        if locked.is_none() {
            return Ok(false);
        }
        let removed = async {
            let used = last_use(&self.queue, asset).await?;
            if used.is_some_and(|at| !older(at, self.asset_age)) {
                return Ok(false);
            }
            // Another sweep may have been faster; a bucket does not say whether it removed something.
            let Some(bytes) = self.store.asset_bytes(asset).await? else {
                return Ok(false);
            };
            let gone = self.store.delete(location).await?;
            let mut command = redis::cmd("ZREM");
            command
                .arg(self.queue.keys().assets(asset.tenant()))
                .arg(asset.sha256());
            let _: i64 = self.queue.query(&command).await?;
            if gone {
                // Not left to `note_bytes`: a store of more files than a sweep looks at never comes to it.
                let mut command = redis::cmd("HINCRBY");
                command
                    .arg(self.queue.keys().asset_bytes())
                    .arg(asset.tenant().as_str())
                    .arg(-i64::try_from(room_of(bytes)).unwrap_or(i64::MAX));
                let _: i64 = self.queue.query(&command).await?;
            }
            Ok(gone)
        }
        .await;
        let mut command = redis::cmd("DEL");
        command.arg(&lock);
        let _: i64 = self.queue.query(&command).await?;
        removed
    }

    fn key(&self, location: &ObjectPath) -> String {
        let text = location.as_ref();
        text.strip_prefix(&self.store.base)
            .unwrap_or(text)
            .to_owned()
    }

    /// Whether it is this process' turn: one of all API processes sweeps within `period`.
    ///
    /// # Errors
    /// As Redis has it.
    pub async fn is_my_turn(&self, period: Duration) -> Result<bool, QueueError> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.queue.keys().sweep())
            .arg("1")
            .arg("NX")
            .arg("PX")
            .arg(u64::try_from(period.as_millis()).unwrap_or(u64::MAX));
        let mine: Option<String> = self.queue.query(&command).await?;
        Ok(mine.is_some())
    }
}

/// Notes that a job is about to use these files, so that they are kept; waits for one that is
/// being removed at this moment. Afterwards look whether they are there.
///
/// # Errors
/// As Redis has it, or if a file stays locked (a sweep died with it): try again in minutes.
pub(crate) async fn use_assets<'a>(
    queue: &Queue,
    tenant: &TenantId,
    keys: impl Iterator<Item = &'a AssetKey> + Clone,
    keep: Duration,
) -> Result<bool, QueueError> {
    let now = Timestamp::now().as_millisecond();
    let zset = queue.keys().assets(tenant);
    let mut command = redis::cmd("ZADD");
    command.arg(&zset);
    let mut any = false;
    for key in keys.clone() {
        command.arg(now).arg(key.sha256());
        any = true;
    }
    if !any {
        return Ok(true);
    }
    let _: i64 = queue.query(&command).await?;
    let mut expire = redis::cmd("EXPIRE");
    expire
        .arg(&zset)
        .arg(keep.as_secs().saturating_mul(2).max(60));
    let _: i64 = queue.query(&expire).await?;
    let end = tokio::time::Instant::now() + LOCK_WAIT;
    loop {
        let mut command = redis::cmd("EXISTS");
        for key in keys.clone() {
            command.arg(queue.keys().asset_lock(key));
        }
        let locked: i64 = queue.query(&command).await?;
        if locked == 0 {
            return Ok(true);
        }
        if tokio::time::Instant::now() >= end {
            return Ok(false);
        }
        tokio::time::sleep(LOCK_LOOK).await;
    }
}

async fn last_use(queue: &Queue, asset: &AssetKey) -> Result<Option<Timestamp>, QueueError> {
    let mut command = redis::cmd("ZSCORE");
    command
        .arg(queue.keys().assets(asset.tenant()))
        .arg(asset.sha256());
    let score: Option<f64> = queue.query(&command).await?;
    #[allow(clippy::cast_possible_truncation)]
    Ok(score.and_then(|ms| Timestamp::from_millisecond(ms as i64).ok()))
}

fn older(at: Timestamp, age: Duration) -> bool {
    Timestamp::now()
        .duration_since(at)
        .try_into()
        .is_ok_and(|passed: Duration| passed > age)
}

fn age(meta: &ObjectMeta) -> Duration {
    let ms = Timestamp::now().as_millisecond() - meta.last_modified.timestamp_millis();
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}
