//! Tenants and keys in Redis, on every topology.

use std::sync::LazyLock;
use std::time::Duration;

use manimq_shared::ids::{TenantId, WorkerId};
use manimq_shared::queue::{
    ApiKey, KeyMade, KeyRotated, KeyState, NewKey, PauseScope, Queue, Scopes,
};
use manimq_shared::testing::Redis;

static SERVER: LazyLock<Redis> = LazyLock::new(Redis::start);
const START: u64 = 1_767_571_200_000;

struct Bench {
    queue: Queue,
    now: u64,
}

impl Bench {
    async fn new() -> Self {
        let prefix = format!("t{}", WorkerId::generate());
        let queue = Queue::connect_with_test_clock(&SERVER.config(&prefix))
            .await
            .unwrap();
        queue.set_test_clock(START).await.unwrap();
        Self { queue, now: START }
    }

    async fn pass(&mut self, time: Duration) {
        self.now += u64::try_from(time.as_millis()).unwrap();
        self.queue.set_test_clock(self.now).await.unwrap();
    }

    async fn made(&self, tenant: &TenantId, life: Option<Duration>) -> ApiKey {
        let new = NewKey {
            tenant: tenant.clone(),
            name: "ci".into(),
            scopes: Scopes::USUAL,
            life,
        };
        match self.queue.create_key(&new).await.unwrap() {
            KeyMade::Made(key) => key,
            other => panic!("{other:?}"),
        }
    }

    async fn state(&self, key: &ApiKey) -> Option<KeyState> {
        let shown = self.queue.look_up_key(key.id()).await.unwrap()?;
        assert!(shown.is(key));
        Some(shown.state)
    }
}

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_key_is_found_by_its_id_and_known_by_its_secret_alone() {
    let bench = Bench::new().await;
    let acme = tenant("acme");
    assert_eq!(bench.queue.doors().await.unwrap().made, 0);
    let new = NewKey {
        tenant: acme.clone(),
        name: String::new(),
        scopes: Scopes::ALL,
        life: None,
    };
    let early = bench.queue.create_key(&new).await.unwrap();
    assert!(matches!(early, KeyMade::NoTenant), "{early:?}");
    assert!(
        bench
            .queue
            .create_account(&acme, "Acme Inc.")
            .await
            .unwrap()
    );
    assert!(!bench.queue.create_account(&acme, "Other").await.unwrap());

    let key = bench.made(&acme, None).await;
    let shown = bench.queue.look_up_key(key.id()).await.unwrap().unwrap();
    assert!(shown.is(&key) && !shown.is(&ApiKey::generate()));
    assert_eq!(
        (shown.tenant, shown.scopes, shown.state, shown.disabled),
        (acme.clone(), Scopes::USUAL, KeyState::Live, false)
    );
    assert!(
        bench
            .queue
            .look_up_key(ApiKey::generate().id())
            .await
            .unwrap()
            .is_none()
    );
    let doors = bench.queue.doors().await.unwrap();
    assert_eq!((doors.made, doors.live), (1, 1));
    let account = bench.queue.account(&acme).await.unwrap().unwrap();
    assert_eq!((account.name.as_str(), account.keys_live), ("Acme Inc.", 1));
}

#[tokio::test]
async fn nothing_in_redis_holds_the_secret() {
    let bench = Bench::new().await;
    let acme = tenant("acme");
    bench.queue.create_account(&acme, "").await.unwrap();
    let key = bench.made(&acme, None).await;
    let mut command = redis::cmd("HGETALL");
    let base = bench.queue.keys().accounts();
    command.arg(format!("{base}:k:{}", key.id()));
    let fields: Vec<String> = bench.queue.query(&command).await.unwrap();
    assert!(fields.contains(&"hash".to_owned()));
    let secret = key.expose()[21..].to_owned();
    assert!(
        fields.iter().all(|field| !field.contains(&secret)),
        "{fields:?}"
    );
}

#[tokio::test]
async fn a_key_ends_when_it_expires_or_is_revoked_and_is_shown_for_thirty_days() {
    let mut bench = Bench::new().await;
    let acme = tenant("acme");
    bench.queue.create_account(&acme, "").await.unwrap();
    let brief = bench.made(&acme, Some(HOUR)).await;
    let kept = bench.made(&acme, None).await;
    bench.pass(HOUR - Duration::from_millis(1)).await;
    assert_eq!(bench.state(&brief).await, Some(KeyState::Live));
    bench.pass(Duration::from_millis(1)).await;
    assert_eq!(bench.state(&brief).await, Some(KeyState::Expired));
    assert_eq!(bench.queue.doors().await.unwrap().live, 1);

    assert_eq!(bench.queue.revoke_key(kept.id()).await.unwrap(), Some(true));
    assert_eq!(
        bench.queue.revoke_key(kept.id()).await.unwrap(),
        Some(false)
    );
    assert_eq!(
        bench
            .queue
            .revoke_key(ApiKey::generate().id())
            .await
            .unwrap(),
        None
    );
    assert_eq!(bench.state(&kept).await, Some(KeyState::Revoked));
    let doors = bench.queue.doors().await.unwrap();
    assert_eq!((doors.made, doors.live), (2, 0), "the doors stay closed");
    let states: Vec<_> = bench
        .queue
        .keys_of_account(&acme)
        .await
        .unwrap()
        .iter()
        .map(|key| (key.id, key.state))
        .collect();
    assert!(states.contains(&(brief.id(), KeyState::Expired)));
    assert!(states.contains(&(kept.id(), KeyState::Revoked)));
}

#[tokio::test]
async fn a_rotation_gives_two_live_keys_for_a_while_and_never_prolongs_the_old_one() {
    let mut bench = Bench::new().await;
    let acme = tenant("acme");
    bench.queue.create_account(&acme, "").await.unwrap();
    let rotate = async |bench: &Bench, old: &ApiKey, overlap| match bench
        .queue
        .rotate_key(old.id(), overlap, None)
        .await
        .unwrap()
    {
        KeyRotated::Made(key) => key,
        other => panic!("{other:?}"),
    };
    let old = bench.made(&acme, None).await;
    let new = rotate(&bench, &old, HOUR).await;
    assert_eq!(bench.state(&old).await, Some(KeyState::Live));
    assert_eq!(bench.state(&new).await, Some(KeyState::Live));
    bench.pass(HOUR).await;
    assert_eq!(bench.state(&old).await, Some(KeyState::Expired));
    assert_eq!(bench.state(&new).await, Some(KeyState::Live));
    let records = bench.queue.keys_of_account(&acme).await.unwrap();
    assert!(
        records
            .iter()
            .all(|key| key.name == "ci" && key.scopes == Scopes::USUAL)
    );
    let again = bench.queue.rotate_key(old.id(), HOUR, None).await.unwrap();
    assert!(matches!(again, KeyRotated::Dead), "{again:?}");

    let brief = bench.made(&acme, Some(Duration::from_secs(60))).await;
    rotate(&bench, &brief, HOUR).await;
    bench.pass(Duration::from_secs(60)).await;
    assert_eq!(bench.state(&brief).await, Some(KeyState::Expired));
}

#[tokio::test]
async fn a_disabled_tenants_jobs_are_paused_and_go_on_unless_they_were_before() {
    let bench = Bench::new().await;
    let (acme, beta) = (tenant("acme"), tenant("beta"));
    let pause = |name: &TenantId| PauseScope::Tenant(name.clone());
    let queue = &bench.queue;
    assert_eq!(queue.disable_account(&acme).await.unwrap(), None);
    for name in [&acme, &beta] {
        queue.create_account(name, "").await.unwrap();
    }
    let key = bench.made(&acme, None).await;
    queue.pause(&pause(&beta)).await.unwrap();
    for name in [&acme, &beta] {
        assert_eq!(queue.disable_account(name).await.unwrap(), Some(true));
        assert_eq!(queue.disable_account(name).await.unwrap(), Some(false));
        assert!(
            queue
                .account(name)
                .await
                .unwrap()
                .unwrap()
                .disabled_at
                .is_some()
        );
    }
    let shown = queue.look_up_key(key.id()).await.unwrap().unwrap();
    assert!(shown.disabled && shown.state == KeyState::Live);
    assert!(
        !queue.pause(&pause(&acme)).await.unwrap(),
        "its jobs are paused"
    );
    for name in [&acme, &beta] {
        assert_eq!(queue.enable_account(name).await.unwrap(), Some(true));
        assert_eq!(queue.enable_account(name).await.unwrap(), Some(false));
    }
    assert!(
        !queue.resume(&pause(&acme)).await.unwrap(),
        "its jobs go on"
    );
    assert!(
        queue.resume(&pause(&beta)).await.unwrap(),
        "it was paused before"
    );
}

#[tokio::test]
async fn a_tenant_that_is_forgotten_leaves_no_key_behind() {
    let bench = Bench::new().await;
    let acme = tenant("acme");
    bench.queue.create_account(&acme, "").await.unwrap();
    let key = bench.made(&acme, None).await;
    assert_eq!(bench.queue.forget_account(&acme).await.unwrap(), Some(1));
    assert_eq!(bench.queue.forget_account(&acme).await.unwrap(), None);
    assert_eq!(bench.state(&key).await, None);
    assert!(bench.queue.accounts(None).await.unwrap().is_empty());
    assert_eq!(bench.queue.doors().await.unwrap().live, 0);
}

#[tokio::test]
async fn one_tenant_has_at_most_fifty_live_keys_and_two_hundred_records() {
    let bench = Bench::new().await;
    let acme = tenant("acme");
    bench.queue.create_account(&acme, "").await.unwrap();
    for _ in 0..250 {
        let key = bench.made(&acme, None).await;
        bench.queue.revoke_key(key.id()).await.unwrap();
    }
    assert!(bench.queue.keys_of_account(&acme).await.unwrap().len() <= 200);
    for _ in 0..50 {
        bench.made(&acme, None).await;
    }
    let new = NewKey {
        tenant: acme.clone(),
        name: String::new(),
        scopes: Scopes::USUAL,
        life: None,
    };
    let more = bench.queue.create_key(&new).await.unwrap();
    assert!(matches!(more, KeyMade::Full), "{more:?}");
}

#[tokio::test]
async fn tenants_are_listed_by_pages_and_the_use_of_a_key_is_noted() {
    let mut bench = Bench::new().await;
    for n in 0..150 {
        bench
            .queue
            .create_account(&tenant(&format!("t{n:03}")), "")
            .await
            .unwrap();
    }
    let first = bench.queue.accounts(None).await.unwrap();
    let rest = bench.queue.accounts(Some(&first[99].tenant)).await.unwrap();
    assert_eq!((first.len(), rest.len()), (100, 50));
    assert_eq!(rest[49].tenant, tenant("t149"));

    let key = bench.made(&tenant("t000"), None).await;
    let noted = async |bench: &Bench| {
        let shown = bench.queue.look_up_key(key.id()).await.unwrap().unwrap();
        !shown.note_use
    };
    assert!(!noted(&bench).await);
    bench.queue.note_key_use(key.id()).await.unwrap();
    assert!(noted(&bench).await);
    bench.pass(Duration::from_secs(61)).await;
    assert!(!noted(&bench).await);
    let record = bench.queue.key(key.id()).await.unwrap().unwrap();
    assert_eq!(record.last_used_at.unwrap().as_millisecond(), START as i64);
}
