//! What makes a hop: credentials, TLS, the corporate proxy.

use std::path::PathBuf;

use pcs_models::{
    AuthScheme, Credentials, CredentialsError, Endpoint, Hop, HopName, Host, LearntAuth, Protocol, Secret,
    TlsOptions,
};

use super::{Bad, Builder, Read, View};
use crate::error::{ErrorKind, Place};
use crate::files;

impl Builder<'_> {
    /// The corporate proxy, unless it is disabled.
    pub(super) fn corporate(&mut self, root: &View<'_>) -> Read<Option<Hop>> {
        let Some(view) = root.section_opt("corporate_proxy")? else {
            return Ok(None);
        };
        let endpoint = self.endpoint(&view);
        let protocol = protocol(&view);
        let credentials = self.credentials(&view, None);
        let tls = protocol.and_then(|protocol| self.tls(&view, protocol));
        let auth = self.auth_scheme(&view, protocol);
        let enabled = view.flag("enabled")?;
        let (endpoint, protocol, credentials, tls) = (endpoint?, protocol?, credentials?, tls?);
        let (auth, domain) = auth?;
        let hop = Hop {
            name: HopName::corporate(),
            protocol,
            endpoint,
            credentials,
            auth,
            domain: domain.map(Into::into),
            tls,
            learnt: LearntAuth::default(),
        };
        self.warn_of_socks4_password(view.place, &view.path, &hop);
        Ok(enabled.then_some(hop))
    }

    fn auth_scheme<'v>(
        &mut self,
        view: &View<'v>,
        protocol: Read<Protocol>,
    ) -> Read<(AuthScheme, Option<&'v str>)> {
        let auth = view.choice("auth", |name| match name {
            "basic" => Some(AuthScheme::Basic),
            "ntlm" => Some(AuthScheme::Ntlm),
            _ => Some(AuthScheme::Auto),
        })?;
        let domain = view.text_opt("domain")?;
        let mut conflict = |name: &str, message: &str| {
            self.findings.error(
                &view.at(name).place,
                &view.key(name),
                ErrorKind::Conflict,
                message,
            );
        };
        if domain.is_some_and(|domain| {
            domain.is_empty() || domain.len() > 255 || domain.chars().any(char::is_control)
        }) {
            conflict("domain", "expected 1 to 255 bytes without control characters");
        }
        if auth == AuthScheme::Basic && domain.is_some() {
            conflict(
                "domain",
                "is for NTLM and keeps Basic from being sent; it cannot stand beside `auth: basic`",
            );
        }
        if protocol.is_ok_and(|protocol| !protocol.is_http()) {
            if auth != AuthScheme::Auto {
                conflict("auth", "is for `http` and `https` only");
            }
            if domain.is_some() {
                conflict("domain", "is for `http` and `https` only");
            }
        }
        if auth == AuthScheme::Ntlm && !view.is_set("username") {
            conflict("auth", "`ntlm` needs `username`");
        }
        Ok((auth, domain))
    }

    /// Host and port, both required.
    pub(super) fn endpoint(&mut self, view: &View<'_>) -> Read<Endpoint> {
        let host = view.text("host").and_then(|text| self.host(view, "host", text));
        let port: u16 = view.whole("port")?;
        Endpoint::try_new(host?, port).map_err(|_| Bad)
    }

    pub(super) fn host(&mut self, view: &View<'_>, name: &str, text: &str) -> Read<Host> {
        Host::parse(text).map_err(|error| {
            let message = format!("expected a host name or IP address: {error}");
            self.refuse(&view.at(name).place, &view.key(name), ErrorKind::Value, message)
        })
    }

    /// User name and password, the latter from `password`, a file, or the URL that `from_url` came out of.
    pub(super) fn credentials(
        &mut self,
        view: &View<'_>,
        from_url: Option<&Credentials>,
    ) -> Read<Option<Credentials>> {
        let username = view.text_opt("username");
        let password = self.password(view);
        if let (Ok(Some(username)), Err(Bad)) = (username, &password) {
            // The password is lost already; say at once what else would be.
            let _ = self.prove(view, username, Secret::new(String::new()));
        }
        let (username, password) = (username?, password?);
        if let Some(known) = from_url {
            for name in ["username", "password", "password_file"] {
                if view.is_set(name) {
                    let message = "`url` has user information already";
                    return Err(self.refuse(
                        &view.at(name).place,
                        &view.key(name),
                        ErrorKind::Conflict,
                        message,
                    ));
                }
            }
            return Ok(Some(known.clone()));
        }
        let Some(username) = username else {
            if password.is_none() {
                return Ok(None);
            }
            let name = if view.is_set("password") {
                "password"
            } else {
                "password_file"
            };
            let place = &view.at(name).place;
            return Err(self.refuse(
                place,
                &view.key(name),
                ErrorKind::Conflict,
                "needs `username` beside it",
            ));
        };
        let password = password.unwrap_or_else(|| Secret::new(String::new()));
        self.prove(view, username, password).map(Some)
    }

    fn prove(&mut self, view: &View<'_>, username: &str, password: Secret) -> Read<Credentials> {
        Credentials::try_new(username, password).map_err(|error| {
            let name = match error {
                CredentialsError::ControlInPassword if view.is_set("password") => "password",
                CredentialsError::ControlInPassword if view.is_set("password_file") => "password_file",
                _ => "username",
            };
            self.refuse(
                &view.at(name).place,
                &view.key(name),
                ErrorKind::Value,
                error.to_string(),
            )
        })
    }

    fn password(&mut self, view: &View<'_>) -> Read<Option<Secret>> {
        let (password, file) = (view.secret_opt("password")?, view.text_opt("password_file")?);
        let Some(file) = file else {
            return Ok(password.cloned());
        };
        let (place, key) = (&view.at("password_file").place, view.key("password_file"));
        if password.is_some() {
            return Err(self.refuse(place, &key, ErrorKind::Conflict, "cannot stand beside `password`"));
        }
        let path = self.local_file(file, place, &key)?;
        match files::secret(&path) {
            Ok(content) => {
                if content.is_open {
                    let message = format!(
                        "`{}` holds a password and others than its owner may read it",
                        path.display()
                    );
                    self.findings.warn(place, &key, message);
                }
                if content.text.is_empty() {
                    let message = format!("`{}` is empty, and so is the password", path.display());
                    self.findings.warn(place, &key, message);
                }
                self.findings.files.push(path);
                Ok(Some(Secret::new(content.text)))
            }
            Err(message) => Err(self.refuse(place, &key, ErrorKind::Unreadable, message)),
        }
    }

    pub(super) fn tls(&mut self, view: &View<'_>, protocol: Protocol) -> Read<TlsOptions> {
        let Some(tls) = view.section_opt("tls")? else {
            return Ok(TlsOptions::default());
        };
        if protocol != Protocol::Https {
            let message = format!("is for protocol `https` only, this proxy speaks `{protocol}`");
            return Err(self.refuse(
                &view.at("tls").place,
                &view.key("tls"),
                ErrorKind::Conflict,
                message,
            ));
        }
        let ca_file = match tls.text_opt("ca_file") {
            Ok(Some(file)) => self.authorities(&tls, file).map(Some),
            Ok(None) => Ok(None),
            Err(bad) => Err(bad),
        };
        let server_name = match tls.text_opt("server_name")? {
            Some(text) => Some(self.host(&tls, "server_name", text)?),
            None => None,
        };
        // A literal IPv6 address stands in certificates without brackets.
        let server_name =
            server_name.map(|host| host.ip().map_or_else(|| host.to_string(), |ip| ip.to_string()));
        let insecure_skip_verify = tls.flag("insecure_skip_verify")?;
        if insecure_skip_verify {
            let place = &tls.at("insecure_skip_verify").place;
            let message = "accepts any certificate: whoever stands between can read the password";
            self.findings
                .warn(place, &tls.key("insecure_skip_verify"), message);
        }
        Ok(TlsOptions {
            ca_file: ca_file?,
            server_name,
            insecure_skip_verify,
        })
    }

    fn authorities(&mut self, tls: &View<'_>, file: &str) -> Read<PathBuf> {
        let (place, key) = (&tls.at("ca_file").place, tls.key("ca_file"));
        let path = self.local_file(file, place, &key)?;
        match files::authorities(&path) {
            Ok(()) => {
                self.findings.files.push(path.clone());
                Ok(path)
            }
            Err(message) => Err(self.refuse(place, &key, ErrorKind::Unreadable, message)),
        }
    }

    /// A path that this source may name: the body of an API call may make us read nothing.
    fn local_file(&mut self, file: &str, place: &Place, key: &str) -> Read<PathBuf> {
        if *place == Place::Body {
            let message = "files can be named by the configuration only, not through the API";
            return Err(self.refuse(place, key, ErrorKind::Value, message));
        }
        Ok(PathBuf::from(file))
    }

    pub(super) fn warn_of_socks4_password(&mut self, place: &Place, key: &str, hop: &Hop) {
        let has_password = hop
            .credentials
            .as_ref()
            .is_some_and(|known| !known.password().expose().is_empty());
        if hop.protocol == Protocol::Socks4 && has_password {
            self.findings.warn(
                place,
                key,
                "`socks4` has no passwords: only the user name is sent",
            );
        }
    }
}

/// The protocol, `http` where none is given.
pub(super) fn protocol(view: &View<'_>) -> Read<Protocol> {
    Ok(view
        .choice_opt("protocol", |name| name.parse().ok())?
        .unwrap_or(Protocol::Http))
}
