//! ICMP echo over an unprivileged datagram socket (RFC 792, RFC 4443 §4; Linux `net.ipv4.ping_group_range`).

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::time::Duration;

use pcs_models::FailureKind;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::checker::{CheckFailure, Fault};

/// An echo request that was not answered is sent again after this time.
const RESEND: Duration = Duration::from_secs(1);
const PAYLOAD: &[u8] = b"pcs health check";

/// Waits for one echo reply from `address`.
pub(super) async fn ping(address: IpAddr, deadline: Instant) -> Result<(), CheckFailure> {
    let socket = open(address).map_err(|error| ours(&error))?;
    let mut sequence = 0u16;
    loop {
        sequence = sequence.wrapping_add(1);
        match socket.send(&request(address, sequence)).await {
            Ok(_) => {}
            Err(error) => return Err(failure(&error)),
        }
        let until = deadline.min(Instant::now() + RESEND);
        match timeout_at(until, reply(&socket, address)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => return Err(failure(&error)),
            Err(_) if until >= deadline => {
                let message = "the proxy did not answer an ICMP echo request in time";
                return Err(CheckFailure::new(FailureKind::Timeout, Fault::Member, message));
            }
            Err(_) => {}
        }
    }
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match address {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    // Connected: the kernel passes on what comes from there only, and only answers to this socket's requests.
    socket.connect(&SocketAddr::new(address, 0).into())?;
    UdpSocket::from_std(StdUdpSocket::from(socket))
}

/// Identifier and checksum are filled in by the kernel.
fn request(address: IpAddr, sequence: u16) -> Vec<u8> {
    let kind = if address.is_ipv4() { 8 } else { 128 };
    let mut packet = vec![kind, 0, 0, 0, 0, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(PAYLOAD);
    packet
}

async fn reply(socket: &UdpSocket, address: IpAddr) -> io::Result<()> {
    let mut packet = [0; 256];
    loop {
        let length = socket.recv(&mut packet).await?;
        if is_reply(packet.get(..length).unwrap_or_default(), address) {
            return Ok(());
        }
    }
}

/// A late reply to an earlier request is one as well.
fn is_reply(packet: &[u8], address: IpAddr) -> bool {
    let kind = if address.is_ipv4() { 0 } else { 129 };
    packet.first() == Some(&kind) && packet.get(8..) == Some(PAYLOAD)
}

fn ours(error: &io::Error) -> CheckFailure {
    let message = format!("no ICMP socket (see net.ipv4.ping_group_range): {error}");
    CheckFailure::new(FailureKind::Local, Fault::Ours, message)
}

fn failure(error: &io::Error) -> CheckFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => CheckFailure::new(
            FailureKind::Unreachable,
            Fault::Member,
            format!("the proxy is not reached: {error}"),
        ),
        _ => ours(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_and_replies_are_told_apart() {
        let (v4, v6) = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        let sent = request(v4, 258);
        assert_eq!(sent[..8], [8, 0, 0, 0, 0, 0, 1, 2]);
        assert!(!is_reply(&sent, v4), "loopback shows our own request, too");
        for (address, kind) in [(v4, 0), (v6, 129)] {
            let mut answer = request(address, 1);
            answer[0] = kind;
            assert!(is_reply(&answer, address));
            answer.pop();
            assert!(!is_reply(&answer, address));
            assert!(!is_reply(&[kind], address));
        }
    }

    #[tokio::test]
    async fn loopback_answers_or_the_system_is_blamed() {
        let deadline = Instant::now() + Duration::from_secs(5);
        if let Err(failure) = ping("127.0.0.1".parse().unwrap(), deadline).await {
            assert_eq!(failure.fault, Fault::Ours, "{failure}");
        }
    }
}
