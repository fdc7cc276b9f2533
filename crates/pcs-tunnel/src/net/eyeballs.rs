//! Happy eyeballs: several addresses of one name, raced (RFC 8305).
//!
//! `getaddrinfo` gives both families at once, so the resolution delay of §3 has nothing to wait for, and its order
//! is that of RFC 6724, which §4 asks for; here it is only interleaved by family.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use pcs_models::FailureKind;
use tokio::time::{Instant, sleep_until};

use super::NetError;

/// Dials the addresses one after the other, each `delay` after the one before or as soon as that failed; the first
/// connection wins and the others are closed.
pub(super) async fn race<S, F>(
    addresses: &[IpAddr],
    port: u16,
    delay: Duration,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<(S, SocketAddr), NetError>
where
    F: Future<Output = Result<S, NetError>>,
{
    let mut waiting = interleave(addresses)
        .into_iter()
        .map(|ip| SocketAddr::new(ip, port));
    let mut running = FuturesUnordered::new();
    let mut failure: Option<NetError> = None;
    let start = |address| {
        let attempt = dial(address);
        async move { (attempt.await, address) }
    };
    running.extend(waiting.next().map(start));
    let mut turn = std::pin::pin!(sleep_until(Instant::now() + delay));
    loop {
        let next = tokio::select! {
            biased;
            ended = running.next() => match ended {
                Some((Ok(stream), address)) => return Ok((stream, address)),
                // A loop is no bad luck of one address: nothing else of this name is wanted either.
                Some((Err(error @ NetError::Loop { .. }), _)) => return Err(error),
                Some((Err(error), _)) => {
                    failure = Some(more_telling(failure, error));
                    waiting.next()
                }
                // The resolver never hands out an empty list, so something has failed by now.
                None => return Err(failure.expect("a race has at least one runner")),
            },
            () = turn.as_mut(), if waiting.len() > 0 => waiting.next(),
        };
        if let Some(address) = next {
            running.push(start(address));
            turn.as_mut().reset(Instant::now() + delay);
        }
    }
}

/// Of two failures the one to report: the first, unless it only says that its family has no way out of here.
fn more_telling(first: Option<NetError>, later: NetError) -> NetError {
    match first {
        Some(first) if first.kind() != FailureKind::Unreachable => first,
        _ => later,
    }
}

/// The addresses with their families taking turns, the family of the first one first (RFC 8305 §4).
fn interleave(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let first_is_v4 = addresses.first().is_some_and(IpAddr::is_ipv4);
    let mut leading = addresses.iter().filter(|ip| ip.is_ipv4() == first_is_v4);
    let mut other = addresses.iter().filter(|ip| ip.is_ipv4() != first_is_v4);
    let mut order = Vec::with_capacity(addresses.len());
    loop {
        let before = order.len();
        order.extend(leading.next());
        order.extend(other.next());
        if order.len() == before {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::*;

    const V6A: &str = "2001:db8::a";
    const V6B: &str = "2001:db8::b";
    const V4A: &str = "192.0.2.1";
    const V4B: &str = "192.0.2.2";

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Races scripted addresses: each connects or fails after so many milliseconds. Says who won, when, and when
    /// each attempt began.
    async fn run(
        script: &[(&str, u64, Result<(), io::ErrorKind>)],
    ) -> (Result<String, NetError>, u128, Vec<u128>) {
        let begun = Instant::now();
        let starts = RefCell::new(Vec::new());
        let addresses = ips(&script.iter().map(|(ip, ..)| *ip).collect::<Vec<_>>());
        let outcome = race(&addresses, 80, Duration::from_millis(250), |address| {
            starts.borrow_mut().push(begun.elapsed().as_millis());
            let entry = script
                .iter()
                .find(|(ip, ..)| *ip == address.ip().to_string())
                .unwrap();
            let (_, wait, result) = *entry;
            async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                result.map_err(|kind| NetError::Connect {
                    address,
                    source: kind.into(),
                })
            }
        })
        .await;
        let winner = outcome.map(|((), address)| address.ip().to_string());
        (winner, begun.elapsed().as_millis(), starts.into_inner())
    }

    #[test]
    fn families_take_turns_in_the_resolvers_order() {
        assert_eq!(
            interleave(&ips(&[V6A, V6B, V4A, V4B])),
            ips(&[V6A, V4A, V6B, V4B])
        );
        assert_eq!(interleave(&ips(&[V4A, V4B, V6A])), ips(&[V4A, V6A, V4B]));
        assert_eq!(interleave(&ips(&[V4A, V4B])), ips(&[V4A, V4B]));
        assert_eq!(interleave(&[]), Vec::<IpAddr>::new());
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_first_address_is_the_only_one_tried() {
        let (winner, took, starts) = run(&[(V6A, 100, Ok(())), (V4A, 1, Ok(()))]).await;
        assert_eq!((winner.unwrap().as_str(), took, starts), (V6A, 100, vec![0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_first_address_is_overtaken_after_the_attempt_delay() {
        let (winner, took, starts) = run(&[(V6A, 60_000, Ok(())), (V4A, 10, Ok(()))]).await;
        assert_eq!((winner.unwrap().as_str(), took, starts), (V4A, 260, vec![0, 250]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_starts_the_next_address_at_once() {
        let refused = Err(io::ErrorKind::ConnectionRefused);
        let (winner, took, starts) =
            run(&[(V6A, 5, refused), (V4A, 60_000, Ok(())), (V6B, 20, Ok(()))]).await;
        assert_eq!(
            (winner.unwrap().as_str(), took, starts),
            (V6B, 275, vec![0, 5, 255])
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_first_address_can_still_win() {
        let (winner, took, _) = run(&[(V6A, 300, Ok(())), (V4A, 200, Ok(()))]).await;
        assert_eq!((winner.unwrap().as_str(), took), (V6A, 300));
    }

    #[tokio::test(start_paused = true)]
    async fn the_most_telling_failure_is_reported() {
        let unreachable = Err(io::ErrorKind::NetworkUnreachable);
        let refused = Err(io::ErrorKind::ConnectionRefused);
        let (error, took, starts) =
            run(&[(V6A, 1, unreachable), (V4A, 1, refused), (V4B, 1, unreachable)]).await;
        assert_eq!(error.unwrap_err().kind(), FailureKind::Refused);
        assert_eq!((took, starts.len()), (3, 3));
    }
}
