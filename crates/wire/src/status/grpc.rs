//! Errors as gRPC statuses: code, message, trailers and `RetryInfo`.

use std::time::Duration;

use busgate_core::{Error, ErrorKind};
use bytes::Bytes;
use prost::{Message, Name};
use tonic::{
    Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use super::{
    EFFECT_HEADER, KIND_HEADER, REQUEST_ID_HEADER, grpc_code, kind_of_grpc, read, retry_hint, shown,
};

/// `google.rpc.Status`, of which gRPC wants only the details here.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

impl Name for RetryInfo {
    const NAME: &'static str = "RetryInfo";
    const PACKAGE: &'static str = "google.rpc";

    fn type_url() -> String {
        "type.googleapis.com/google.rpc.RetryInfo".into()
    }
}

/// The status that tells a gRPC client of `error`.
///
/// `closed` becomes OK with the trailer that names it: the good end of a stream, and of nothing but a stream.
#[must_use]
pub fn to_grpc(error: &Error, request_id: Option<&str>) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(KIND_HEADER, AsciiMetadataValue::from_static(error.kind().as_str()));
    metadata.insert(EFFECT_HEADER, AsciiMetadataValue::from_static(error.effect().as_str()));
    if let Some(id) = request_id.and_then(|id| id.parse().ok()) {
        metadata.insert(REQUEST_ID_HEADER, id);
    }
    let code = grpc_code(error.kind());
    let message = shown(error);
    let details = retry_hint(error).map(|after| details(code, message, after)).unwrap_or_default();
    Status::with_details_and_metadata(code, message, details, metadata)
}

fn details(code: tonic::Code, message: &str, after: Duration) -> Bytes {
    let info = RetryInfo { retry_delay: prost_types::Duration::try_from(after).ok() };
    let status = RpcStatus {
        code: code.into(),
        message: message.into(),
        details: prost_types::Any::from_msg(&info).into_iter().collect(),
    };
    status.encode_to_vec().into()
}

/// The error that a status tells of: the very one when it names its kind, else the nearest.
#[must_use]
pub fn from_grpc(status: &Status) -> Error {
    let trailer = |name: &str| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let kind =
        trailer(KIND_HEADER).and_then(ErrorKind::from_name).unwrap_or_else(|| kind_of_grpc(status.code()));
    let request_id = trailer(REQUEST_ID_HEADER);
    read(kind, trailer(EFFECT_HEADER), status.message(), request_id, retry_delay(status.details()))
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find_map(|any| any.to_msg::<RetryInfo>().ok())?;
    Duration::try_from(info.retry_delay?).ok()
}

#[cfg(test)]
mod tests {
    use busgate_core::Effect;
    use proptest::prelude::*;

    use super::*;

    fn through_the_wire(error: &Error, request_id: Option<&str>) -> Error {
        let mut headers = http::HeaderMap::new();
        to_grpc(error, request_id).add_header(&mut headers).unwrap();
        from_grpc(&Status::from_header_map(&headers).unwrap())
    }

    #[test]
    fn every_error_comes_back_as_it_was() {
        for kind in ErrorKind::ALL.into_iter().filter(|kind| *kind != ErrorKind::Internal) {
            for effect in [Effect::None, Effect::Unknown] {
                let error = Error::new(kind, "50 % of it – gone")
                    .with_effect(effect)
                    .with_retry_after(Duration::from_millis(1500));
                let back = through_the_wire(&error, None);
                assert_eq!((back.kind(), back.effect()), (kind, effect));
                assert_eq!(back.message(), error.message());
                assert_eq!(back.retry_after(), error.retry_after());
            }
        }
    }

    #[test]
    fn what_promises_a_hint_carries_one() {
        let hint = |kind| through_the_wire(&Error::new(kind, ""), None).retry_after();
        assert_eq!(hint(ErrorKind::Exhausted), Some(Duration::from_secs(1)));
        assert_eq!(hint(ErrorKind::Unavailable), Some(Duration::from_secs(1)));
        assert_eq!(hint(ErrorKind::Invalid), None);
    }

    #[test]
    fn internals_never_leave() {
        let back = through_the_wire(&Error::internal("password is hunter2"), Some("r-1"));
        assert_eq!(back.message(), "internal error (request r-1)");
    }

    #[test]
    fn a_foreign_status_reads_by_its_code() {
        assert_eq!(from_grpc(&Status::not_found("x")).kind(), ErrorKind::NotFound);
        let gone = from_grpc(&Status::unavailable("connection reset"));
        assert_eq!((gone.kind(), gone.effect()), (ErrorKind::Unavailable, Effect::Unknown));
    }

    proptest! {
        #[test]
        fn no_details_make_it_panic(code in 0i32..20, details: Vec<u8>, kind: String) {
            let mut metadata = MetadataMap::new();
            if let Ok(value) = kind.parse() {
                metadata.insert(KIND_HEADER, value);
            }
            let code = tonic::Code::from_i32(code);
            let _ = from_grpc(&Status::with_details_and_metadata(code, "", details.into(), metadata));
        }
    }
}
