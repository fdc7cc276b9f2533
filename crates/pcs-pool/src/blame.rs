//! Who pays for a failed attempt, and whether another follows: pure tables over [`DialError`].

use pcs_models::{Blame, FailureKind, HopIndex, Retry};
use pcs_tunnel::DialError;

/// What a failed attempt says about the member it went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// Proven: the member itself could not be reached, greeted or satisfied.
    Proven,
    /// Proven as far as the corporate proxy can be believed, which tells us so, or may just have died.
    Hearsay,
    /// The member's or the target's: only another member can tell.
    Doubtful,
    /// Not the member's.
    Excused,
}

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another member may do better.
    Another,
    /// It would fail again.
    Stop,
}

/// The reading of one failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) charge: Charge,
    pub(crate) next: Next,
    /// The corporate proxy itself is down or refuses us: nothing goes through it, whichever member is picked.
    pub(crate) outage: bool,
}

impl Judgement {
    const fn of(charge: Charge, next: Next) -> Self {
        Self {
            charge,
            next,
            outage: false,
        }
    }
}

/// Reads a failed attempt through a member, which stands behind the corporate proxy if `corporate`.
///
/// | blamed | what | member | next |
/// |---|---|---|---|
/// | client, ours | anything | excused | stop |
/// | corporate | 502, 503, 504 to `CONNECT member` | hearsay | another |
/// | corporate | any other status but 407: said about this member only | excused | another |
/// | corporate | anything else | excused | stop, outage |
/// | member | behind the corporate proxy, and no refusal of credentials | hearsay | another |
/// | member | anything else | proven | another |
/// | target | status in `retry_on_status`, or no status | doubtful | another |
/// | target | any other status | doubtful | stop |
pub(crate) fn judge(error: &DialError, corporate: bool, retry_on_status: &[u16]) -> Judgement {
    if is_final(error.kind()) {
        return Judgement::of(Charge::Excused, Next::Stop);
    }
    match error.blame() {
        Blame::Client | Blame::Local => Judgement::of(Charge::Excused, Next::Stop),
        Blame::Hop(HopIndex(0)) if corporate => match error.status() {
            Some(502..=504) => Judgement::of(Charge::Hearsay, Next::Another),
            Some(407) | None => Judgement {
                charge: Charge::Excused,
                next: Next::Stop,
                outage: true,
            },
            Some(_) => Judgement::of(Charge::Excused, Next::Another),
        },
        Blame::Hop(_) if corporate && error.kind() != FailureKind::Auth => {
            Judgement::of(Charge::Hearsay, Next::Another)
        }
        Blame::Hop(_) => Judgement::of(Charge::Proven, Next::Another),
        Blame::Target => {
            let another = match error.status() {
                Some(status) => retry_on_status.contains(&status),
                None => error.retry() != Retry::Never,
            };
            Judgement::of(Charge::Doubtful, if another { Next::Another } else { Next::Stop })
        }
    }
}

/// Whether nobody said a word: nothing is known of the hops before the one that is blamed either.
pub(crate) fn is_silence(error: &DialError) -> bool {
    error.kind() == FailureKind::Timeout && error.status().is_none()
}

/// Failures that another attempt cannot mend and that say nothing about a proxy.
fn is_final(kind: FailureKind) -> bool {
    matches!(
        kind,
        FailureKind::Loop
            | FailureKind::Denied
            | FailureKind::UnknownPool
            | FailureKind::BadSession
            | FailureKind::Exhausted
            | FailureKind::ClientGone
            | FailureKind::Local
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_read_as_the_table_says() {
        use Charge::{Doubtful, Excused, Hearsay, Proven};
        use FailureKind as Kind;
        use Next::{Another, Stop};
        let hop = |index| Blame::Hop(HopIndex(index));
        type Case = (
            &'static str,
            bool,
            Kind,
            Blame,
            Option<u16>,
            Retry,
            (Charge, Next, bool),
        );
        #[rustfmt::skip]
        let cases: &[Case] = &[
            ("member refuses", false, Kind::Refused, hop(0), None, Retry::Other, (Proven, Another, false)),
            ("member wants other credentials", false, Kind::Auth, hop(0), Some(407), Retry::Other, (Proven, Another, false)),
            ("corporate refuses", true, Kind::Refused, hop(0), None, Retry::Never, (Excused, Stop, true)),
            ("corporate hangs", true, Kind::Timeout, hop(0), None, Retry::Other, (Excused, Stop, true)),
            ("corporate wants credentials", true, Kind::Auth, hop(0), Some(407), Retry::Never, (Excused, Stop, true)),
            ("corporate forbids the member", true, Kind::Status, hop(0), Some(403), Retry::Never, (Excused, Another, false)),
            ("corporate cannot reach the member", true, Kind::Status, hop(0), Some(502), Retry::Other, (Hearsay, Another, false)),
            ("the same, blamed on the member", true, Kind::Status, hop(1), Some(503), Retry::Other, (Hearsay, Another, false)),
            ("member breaks off behind corporate", true, Kind::Reset, hop(1), None, Retry::Other, (Hearsay, Another, false)),
            ("member behind corporate wants credentials", true, Kind::Auth, hop(1), Some(407), Retry::Other, (Proven, Another, false)),
            ("member says 503", false, Kind::Status, Blame::Target, Some(503), Retry::Other, (Doubtful, Another, false)),
            ("member says 503, told never", false, Kind::Status, Blame::Target, Some(503), Retry::Never, (Doubtful, Another, false)),
            ("member says 403", false, Kind::Status, Blame::Target, Some(403), Retry::Other, (Doubtful, Stop, false)),
            ("silence after CONNECT", false, Kind::Timeout, Blame::Target, None, Retry::Other, (Doubtful, Another, false)),
            ("our own descriptors ran out", false, Kind::Local, Blame::Local, None, Retry::Never, (Excused, Stop, false)),
            ("client gone", true, Kind::ClientGone, Blame::Client, None, Retry::Never, (Excused, Stop, false)),
            ("loop", true, Kind::Loop, hop(1), None, Retry::Never, (Excused, Stop, false)),
        ];
        for (name, corporate, kind, blame, status, retry, (charge, next, outage)) in cases {
            let mut error = DialError::new(*kind, *blame, *retry, "x");
            if let Some(status) = status {
                error = error.with_status(*status);
            }
            let expected = Judgement {
                charge: *charge,
                next: *next,
                outage: *outage,
            };
            assert_eq!(judge(&error, *corporate, &[502, 503, 504]), expected, "{name}");
        }
    }
}
