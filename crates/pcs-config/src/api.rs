//! Members that arrive through the admin API, read by the same table as those of the file.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use crate::build::Builder;
use crate::config::MemberConfig;
use crate::error::{Findings, Place};
use crate::fill::{Filled, Filler, Value};
use crate::keys::MEMBER;
use crate::node::Node;

/// One mistake in the body of an API call. No secret is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// The field's path, as in `tls.server_name`; `body` for the whole.
    pub field: String,
    /// What is wrong and what is allowed.
    pub message: String,
}

/// What `PATCH /proxies/{id}` may change; `None` leaves a thing as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberPatch {
    /// Whether the member may be used.
    pub enabled: Option<bool>,
    /// Its static weight.
    pub weight: Option<NonZeroU16>,
    /// All of its tags, in place of those it has.
    pub tags: Option<BTreeMap<String, String>>,
}

impl MemberPatch {
    /// Applies the change.
    pub fn apply(self, member: &mut MemberConfig) {
        if let Some(enabled) = self.enabled {
            member.enabled = enabled;
        }
        if let Some(weight) = self.weight {
            member.weight = weight;
        }
        if let Some(tags) = self.tags {
            member.tags = tags;
        }
    }
}

/// Reads a member as `POST /proxies` and the state file have it: the keys of an entry of `rotation.proxies`.
///
/// Nothing is expanded, and no file can be named: a caller of the API may not make the process read one. The
/// caller takes keys of its own (`pool`) out before.
///
/// # Errors
///
/// Every mistake at once.
#[expect(clippy::missing_panics_doc, reason = "the invariant holds for every body")]
pub fn member_from_json(body: serde_json::Value) -> Result<MemberConfig, Vec<FieldError>> {
    let mut findings = Findings::default();
    let filled = fill(body, &mut findings);
    let member = Builder {
        findings: &mut findings,
    }
    .member(&filled, "");
    finish(findings)?;
    Ok(member.expect("where nothing is wrong there is a member"))
}

/// Reads the body of `PATCH /proxies/{id}`.
///
/// # Errors
///
/// Every mistake at once; `null` and keys other than `enabled`, `weight` and `tags` are mistakes.
#[expect(clippy::missing_panics_doc, reason = "the invariant holds for every body")]
pub fn patch_from_json(body: serde_json::Value) -> Result<MemberPatch, Vec<FieldError>> {
    const CHANGEABLE: [&str; 3] = ["enabled", "weight", "tags"];
    let mut findings = Findings::default();
    let fields = body.as_object().into_iter().flatten();
    let given: Vec<String> = fields.map(|(name, _)| name.clone()).collect();
    let nothing = body
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| value.is_null());
    for (name, _) in nothing.filter(|(name, _)| CHANGEABLE.contains(&name.as_str())) {
        // In the file it stands for the default, which is not what it was before.
        let message = "expected a value, found null; a key that is left out changes nothing";
        findings.error(&Place::Body, name, crate::ErrorKind::Value, message);
    }
    let filled = fill(body, &mut findings);
    let fixed = given
        .iter()
        .filter(|name| MEMBER.position(name).is_some() && !CHANGEABLE.contains(&name.as_str()));
    for name in fixed {
        let message = "cannot be changed (allowed: `enabled`, `weight`, `tags`)";
        findings.error(&Place::Body, name, crate::ErrorKind::Conflict, message);
    }
    let patch = Builder {
        findings: &mut findings,
    }
    .patch(&filled, &given);
    finish(findings)?;
    Ok(patch.expect("where nothing is wrong there is a patch"))
}

fn fill(body: serde_json::Value, findings: &mut Findings) -> Filled {
    let node = Node::from_json(body);
    if node.is_null() {
        findings.error(
            &Place::Body,
            "body",
            crate::ErrorKind::Value,
            "expected a map, found nothing",
        );
        return Filled {
            place: Place::Body,
            value: Value::Bad,
        };
    }
    Filler::new(&|_| None, findings).section(&MEMBER, Some(&node), "", &Place::Body, true)
}

fn finish(findings: Findings) -> Result<(), Vec<FieldError>> {
    let Err(errors) = findings.verdict() else {
        return Ok(());
    };
    let field = |error: &crate::ConfigError| FieldError {
        field: error.key.clone(),
        message: error.message.clone(),
    };
    Err(errors.as_slice().iter().map(field).collect())
}
