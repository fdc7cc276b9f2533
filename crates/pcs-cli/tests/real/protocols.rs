//! Clients that speak what the port does not take.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::clients::dial;
use crate::pcs::{Pcs, config};

#[tokio::test]
async fn the_log_says_what_a_client_spoke_and_what_the_port_takes() {
    let both = "HTTP proxy requests and SOCKS5";
    let cases: [(&str, &[u8], &str, &str); 4] = [
        ("[http, socks5]", &[0x16, 3, 1], "write http://", both),
        ("[http, socks5]", &[4, 1], "SOCKS4", both),
        (
            "[http]",
            &[5, 1, 0],
            "SOCKS5, which is switched off",
            "server.protocols: [http]",
        ),
        (
            "[socks5]",
            b"get",
            "HTTP, which is switched off",
            "server.protocols: [socks5]",
        ),
    ];
    for (protocols, sent, spoken, taken) in cases {
        let config =
            config(None, &[], "").replace("server: {", &format!("server: {{protocols: {protocols}, "));
        let pcs = Pcs::start(&config).await;
        let mut client = dial(pcs.address()).await;
        client.write_all(sent).await.unwrap();
        assert_eq!(
            client.read(&mut [0]).await.unwrap_or(0),
            0,
            "{sent:?} gets no answer"
        );
        let event = pcs.event("turned_away").await;
        let hint = event["hint"].as_str().unwrap();
        assert!(
            hint.contains(spoken) && hint.contains(taken),
            "{sent:?} to {protocols}: {hint}"
        );
        assert_eq!(
            (&event["level"], &event["reason"]),
            (&"WARN".into(), &"unknown_protocol".into())
        );
    }
}
