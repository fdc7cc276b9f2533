//! How a plain request is authorised: HEAD, asked of a hop.

use super::*;

fn head(fields: &str) -> String {
    format!("HEAD http://example.com:80/ HTTP/1.1\r\nHost: example.com:80\r\n{fields}{KEEP}\r\n")
}

/// A 407 to HEAD: the length of a body that is not there.
fn asks_head(challenges: &[&str]) -> String {
    asks(challenges).strip_suffix("<p>no").unwrap().to_owned()
}

#[track_caller]
fn probes(login: Login<'_>, script: &[Leg], value: Option<&str>, scheme: Scheme) {
    let place = target("example.com:80");
    plays(|| HttpProbe::new(&place, login), script);
    let mut probe = HttpProbe::new(&place, login);
    play(&mut probe, script, 20, &[]).unwrap();
    assert_eq!(probe.authorization().as_ref().map(Secret::expose), value);
    assert_eq!(probe.scheme(), scheme);
}

#[test]
fn a_probe_finds_out_how_a_plain_request_is_authorised() {
    let value = basic(&credentials());
    let login = auto(Scheme::Ntlm, Some(&value));
    let opening = negotiate_field();
    let challenge = format!("NTLM {}", challenge_value());
    let proof = format!("NTLM {}", authenticate_value());
    probes(
        login,
        &[leg(head(&opening), asks_head(&[&challenge]))],
        Some(&proof),
        Scheme::Ntlm,
    );
    probes(
        login,
        &[leg(head(&opening), asks_head(&["Basic realm=x"]))],
        Some("Basic dXNlcjpwYXNz"),
        Scheme::Basic,
    );
    let served = "HTTP/1.1 404 Not Found\r\nContent-Length: 77\r\n\r\n";
    probes(login, &[leg(head(&opening), served)], None, Scheme::Unasked);
    let unasked = auto(Scheme::Unasked, None);
    probes(
        unasked,
        &[
            leg(head(""), asks_head(&["NTLM"])),
            leg(head(&opening), asks_head(&[&challenge])),
        ],
        Some(&proof),
        Scheme::Ntlm,
    );
}

#[test]
fn a_probe_on_a_connection_that_ends_is_made_elsewhere() {
    let (place, value) = (target("example.com:80"), basic(&credentials()));
    let make = || HttpProbe::new(&place, auto(Scheme::Ntlm, Some(&value)));
    let opening = head(&negotiate_field());
    let served = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    assert_eq!(
        fails(make, &[leg(&opening, served)]),
        HandshakeError::Redial(Scheme::Unasked)
    );
    let asked = "HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nConnection: close\r\n\r\n";
    assert_eq!(
        fails(make, &[leg(&opening, asked)]),
        HandshakeError::Redial(Scheme::Basic)
    );
}
