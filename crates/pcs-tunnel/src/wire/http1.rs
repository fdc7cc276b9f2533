//! HTTP/1.1 messages as bytes: heads read strictly, bodies framed, no IO and no clock (RFC 9112).
//!
//! A head is found by [`HeadScan`] (which never looks at a byte twice, however the bytes were split), read by
//! [`read_request`] or [`read_response`] into borrowed [`Fields`], and says how its body ends through
//! [`request_body`] or [`response_body`]. [`Body`] then follows the body through any buffer, in place.
//!
//! Requests are read as strictly as RFC 9112 allows (no bare LF, no obs-fold, no space before the colon, no
//! `Content-Length` beside `Transfer-Encoding`): what two readers could understand differently is refused.
//! Responses may end their lines with a bare LF, because heads are always written anew.

mod body;
mod chunked;
mod fields;
mod framing;
mod head;

pub use body::{Body, BodyError, Filtered};
pub use chunked::{Chunked, Trailers};
pub use fields::{Fields, tokens};
pub use framing::{BodyLength, FramingError, request_body, response_body};
pub use head::{
    HeadError, HeadScan, MAX_FIELDS, RequestHead, ResponseHead, Slots, Strictness, Version, in_known_version,
    read_request, read_response, slots,
};

#[cfg(test)]
mod tests;
