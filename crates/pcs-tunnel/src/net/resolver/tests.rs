use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{advance, sleep};

use super::*;

/// Answers after a second, and counts how often it is asked.
#[derive(Default)]
struct Scripted {
    asked: AtomicUsize,
    fails: bool,
    empty: bool,
}

impl Resolve for Scripted {
    fn resolve(&self, _name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let turn = u8::try_from(self.asked.fetch_add(1, Ordering::Relaxed)).unwrap();
        let (fails, empty) = (self.fails, self.empty);
        Box::pin(async move {
            sleep(Duration::from_secs(1)).await;
            match (fails, empty) {
                (true, _) => Err(io::Error::other("no such host")),
                (_, true) => Ok(Vec::new()),
                _ => Ok(vec![
                    IpAddr::from([192, 0, 2, turn]),
                    IpAddr::from([192, 0, 2, turn]),
                ]),
            }
        })
    }
}

fn cache(resolver: Scripted, settings: &NetworkSettings) -> (Arc<Scripted>, Cache) {
    let resolver = Arc::new(resolver);
    (Arc::clone(&resolver), Cache::new(settings, resolver))
}

fn asked(resolver: &Scripted) -> usize {
    resolver.asked.load(Ordering::Relaxed)
}

async fn look(cache: &Cache, name: &Arc<str>) -> Result<Arc<[IpAddr]>, NetError> {
    cache
        .lookup(name, Instant::now())
        .await
        .map(|(addresses, _)| addresses)
}

fn name(text: &str) -> Arc<str> {
    Arc::from(text)
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_believed_for_its_time_and_no_longer() {
    let (resolver, cache) = cache(Scripted::default(), &NetworkSettings::default());
    let first = look(&cache, &name("a.example")).await.unwrap();
    assert_eq!(&*first, &[IpAddr::from([192, 0, 2, 0])], "each address once");
    advance(Duration::from_secs(59)).await;
    assert_eq!(look(&cache, &name("a.example")).await.unwrap(), first);
    assert_eq!(asked(&resolver), 1);
    advance(Duration::from_secs(1)).await;
    assert_eq!(
        &*look(&cache, &name("a.example")).await.unwrap(),
        &[IpAddr::from([192, 0, 2, 1])]
    );
    assert_eq!(asked(&resolver), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_believed_for_one_second_at_most() {
    let settings = NetworkSettings {
        dns_negative_ttl: Duration::from_secs(600),
        ..NetworkSettings::default()
    };
    let (resolver, cache) = cache(
        Scripted {
            fails: true,
            ..Scripted::default()
        },
        &settings,
    );
    let error = look(&cache, &name("a.example")).await.unwrap_err();
    assert_eq!(error.to_string(), "could not resolve a.example");
    assert_eq!(error.kind(), pcs_models::FailureKind::Dns);
    advance(Duration::from_millis(900)).await;
    look(&cache, &name("a.example")).await.unwrap_err();
    assert_eq!(asked(&resolver), 1);
    advance(Duration::from_millis(100)).await;
    look(&cache, &name("a.example")).await.unwrap_err();
    assert_eq!(asked(&resolver), 2);
}

#[tokio::test(start_paused = true)]
async fn no_address_is_a_failure() {
    let (_, cache) = cache(
        Scripted {
            empty: true,
            ..Scripted::default()
        },
        &NetworkSettings::default(),
    );
    assert_eq!(
        look(&cache, &name("a.example")).await.unwrap_err().kind(),
        pcs_models::FailureKind::Dns
    );
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_name_share_one_lookup() {
    let (resolver, cache) = cache(Scripted::default(), &NetworkSettings::default());
    let begun = Instant::now();
    let (name, other) = (name("a.example"), name("b.example"));
    let (a, b, c) = tokio::join!(look(&cache, &name), look(&cache, &name), look(&cache, &other));
    assert_eq!(a.unwrap(), b.unwrap());
    c.unwrap();
    assert_eq!((asked(&resolver), begun.elapsed()), (2, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_gives_up_takes_nothing_from_its_followers() {
    let (resolver, cache) = cache(Scripted::default(), &NetworkSettings::default());
    let name = name("a.example");
    let begun = Instant::now();
    let leader = tokio::time::timeout(Duration::from_millis(500), look(&cache, &name));
    let (led, followed) = tokio::join!(leader, async {
        tokio::task::yield_now().await;
        look(&cache, &name).await
    });
    led.unwrap_err();
    followed.unwrap();
    assert_eq!((asked(&resolver), begun.elapsed()), (1, Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_everybody_left_is_joined_again_until_it_is_old() {
    let (resolver, cache) = cache(Scripted::default(), &NetworkSettings::default());
    let name = name("a.example");
    tokio::time::timeout(Duration::from_millis(500), look(&cache, &name))
        .await
        .unwrap_err();
    look(&cache, &name).await.unwrap();
    assert_eq!(asked(&resolver), 1);
    cache.clear();
    tokio::time::timeout(Duration::from_millis(500), look(&cache, &name))
        .await
        .unwrap_err();
    advance(ABANDONED).await;
    look(&cache, &name).await.unwrap();
    assert_eq!(
        asked(&resolver),
        3,
        "an answer that lay about unread is not believed"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_time_to_live_nothing_is_kept_but_lookups_are_shared() {
    let settings = NetworkSettings {
        dns_cache_ttl: Duration::ZERO,
        ..NetworkSettings::default()
    };
    let (resolver, cache) = cache(Scripted::default(), &settings);
    let name = name("a.example");
    let (a, b) = tokio::join!(look(&cache, &name), look(&cache, &name));
    assert!(a.is_ok() && b.is_ok());
    assert_eq!((asked(&resolver), cache.names.lock().len()), (1, 0));
    look(&cache, &name).await.unwrap();
    assert_eq!(asked(&resolver), 2);
}

#[tokio::test(start_paused = true)]
async fn the_table_never_outgrows_its_bound() {
    let settings = NetworkSettings {
        max_cached_names: 10,
        ..NetworkSettings::default()
    };
    let (_, cache) = cache(Scripted::default(), &settings);
    for index in 0..50 {
        look(&cache, &name(&format!("n{index}.example"))).await.unwrap();
        assert!(cache.names.lock().len() <= 10);
    }
    assert!(
        cache.names.lock().contains_key("n49.example"),
        "the newest is kept"
    );
}

#[tokio::test(start_paused = true)]
async fn forgetting_asks_anew_and_a_lookup_from_before_is_not_written_down() {
    let (resolver, cache) = cache(Scripted::default(), &NetworkSettings::default());
    let name = name("a.example");
    let (old, ()) = tokio::join!(look(&cache, &name), async {
        sleep(Duration::from_millis(500)).await;
        cache.clear();
    });
    old.unwrap();
    assert_eq!(cache.names.lock().len(), 0);
    look(&cache, &name).await.unwrap();
    assert_eq!(asked(&resolver), 2);
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let addresses = SystemResolver::new(0).resolve("localhost").await.unwrap();
    assert!(addresses.iter().any(IpAddr::is_loopback), "{addresses:?}");
}
