//! What travels arrives as it was.

use busgate_core::{DEFAULT_MAX_PAYLOAD_BYTES, Message, Timestamp};
use bytes::Bytes;

use crate::{Claim, Stage, Verdict, ask, stage::only};

/// Publishes it, and takes it from a live subscription, and once more from history where there is one.
async fn round_trip(stage: &Stage, sent: Message) -> Verdict<Message> {
    let event = stage.event().await?;
    let mut live = stage.subscribe(&event, ask::live()).await?;
    stage.publish_one(&event, sent).await?;
    let delivered = live.delivery().await?.message;
    if stage.claimed(Claim::Replay) {
        let (_, held) = only(stage.read(&event, busgate_core::Start::Beginning).await?)?;
        ensure_eq!(held.payload.len(), delivered.payload.len(), "bytes read again, against bytes delivered");
        ensure!(held == delivered, "what is read again is not what was delivered");
    }
    Ok(delivered.as_ref().clone())
}

async fn carries(stage: &Stage, payload: impl Into<Bytes>) -> Verdict {
    let sent = Message { payload: payload.into(), ..stage.message("m")? };
    let payload = sent.payload.clone();
    let found = round_trip(stage, sent).await?;
    ensure_eq!(found.payload.len(), payload.len(), "the bytes of the payload");
    ensure!(found.payload == payload, "the payload is another one");
    Ok(())
}

/// catches: an empty payload that becomes none, or a message that is dropped for it.
pub async fn an_empty_payload_is_kept(stage: Stage) -> Verdict {
    carries(&stage, Bytes::new()).await
}

/// catches: an off-by-one in a length field.
pub async fn one_byte_is_kept(stage: Stage) -> Verdict {
    carries(&stage, vec![0]).await?;
    carries(&stage, vec![255]).await
}

/// catches: payloads taken for text, and line ends or NULs that are touched.
pub async fn every_byte_value_is_kept(stage: Stage) -> Verdict {
    let forward: Vec<u8> = (0..=255).collect();
    let both: Vec<u8> = forward.iter().chain(forward.iter().rev()).copied().collect();
    carries(&stage, both).await
}

/// catches: text that is decoded and encoded again on its way.
pub async fn text_is_kept_to_the_byte(stage: Stage) -> Verdict {
    carries(&stage, "\u{feff}line\r\nline\n\r\0 ünï \"quoted\" \\u0041 </script> 🦀".as_bytes().to_vec())
        .await
}

/// catches: a limit below the one promised.
pub async fn a_payload_at_the_limit_is_kept(stage: Stage) -> Verdict {
    let payload: Vec<u8> =
        (0..DEFAULT_MAX_PAYLOAD_BYTES).map(|at| u8::try_from(at * 31 % 251).unwrap_or_default()).collect();
    carries(&stage, payload).await
}

/// catches: metadata that is lower-cased, trimmed, merged, or that meets headers of the back end's own.
pub async fn metadata_is_kept_exactly(stage: Stage) -> Verdict {
    let mut sent = stage.message("m")?;
    sent.metadata = [
        ("Trace-Id", "upper"),
        ("trace-id", "lower"),
        ("Content-Type", "application/x-codec"),
        ("busgate-id", "not the id"),
        ("Nats-Msg-Id", "not it either"),
        ("payload", "not the payload"),
        ("key", "not the key"),
        ("empty", ""),
        ("spaces", "  around  "),
        ("lines", "one\r\ntwo\n\tthree"),
        ("schlüssel", "wert ✓ 🦀"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let wanted = sent.metadata.clone();
    ensure_eq!(round_trip(&stage, sent).await?.metadata, wanted, "the metadata");
    Ok(())
}

/// catches: a bound on metadata below the one promised.
pub async fn metadata_at_the_limit_is_kept(stage: Stage) -> Verdict {
    let mut sent = stage.message("m")?;
    sent.metadata = (0..64).map(|n| (format!("key-{n:04}"), "v".repeat(248))).collect();
    let wanted = sent.metadata.clone();
    ensure!(round_trip(&stage, sent).await?.metadata == wanted, "64 entries of 16 KiB in all are not kept");
    Ok(())
}

/// catches: a key, a source or a content type that is lost or mixed up.
pub async fn key_source_and_content_type_are_kept(stage: Stage) -> Verdict {
    let mut sent = stage.message("m")?;
    sent.key = Some("kunde/42 ✓".into());
    sent.content_type = Some("application/json; charset=utf-8".into());
    sent.source = "shop@eu-1".into();
    let found = round_trip(&stage, sent.clone()).await?;
    ensure_eq!(found.key, sent.key, "the key");
    ensure_eq!(found.content_type, sent.content_type, "the content type");
    ensure_eq!(found.source, sent.source, "the source");
    Ok(())
}

/// catches: what was left out that comes back as an empty text.
pub async fn what_is_absent_stays_absent(stage: Stage) -> Verdict {
    let found = round_trip(&stage, stage.message("m")?).await?;
    ensure_eq!((found.key, found.content_type), (None, None), "the key and the content type");
    ensure!(found.metadata.is_empty(), "metadata that nobody wrote: {:?}", found.metadata);
    Ok(())
}

/// catches: a message's time that becomes the time of its delivery.
pub async fn the_time_of_publishing_is_kept(stage: Stage) -> Verdict {
    let mut sent = stage.message("m")?;
    let before = stage.now();
    if !stage.harness().stamps_time() {
        sent.timestamp = Timestamp::from_millis(1_234_567_890_123);
    }
    let wanted = sent.timestamp;
    let found = round_trip(&stage, sent).await?.timestamp;
    if stage.harness().stamps_time() {
        let apart = found.since(before).max(before.since(found));
        ensure!(apart <= stage.pace().patience, "the time is {apart:?} away from now");
        return Ok(());
    }
    ensure_eq!(found.as_millis(), wanted.as_millis(), "the time, in milliseconds");
    Ok(())
}
