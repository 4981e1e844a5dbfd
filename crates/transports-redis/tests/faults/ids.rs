//! Ids that are remembered: whatever order they were made in, and through the turns of what remembers them.

use busgate_brokers::Redis;
use busgate_core::{Cursor, Transport};

use crate::support::{connect, message, registered};

/// How many ids are remembered at most; half of them at least.
const REMEMBERED: usize = 40;

/// An id that tells when it was made (a UUID of version 7), or one that does not.
fn id(random: &mut fastrand::Rng, nth: usize) -> String {
    let made = 1_795_000_000_000_u64 + random.u64(..4);
    let (high, low) = (made >> 16, made & 0xffff);
    match random.u8(..4) {
        0 => format!("orders-{nth}"),
        1 => format!("{high:08x}-{low:04x}-4{:03x}-8000-{nth:012x}", random.u16(..2)),
        _ => format!("{high:08x}-{low:04x}-7{:03x}-8000-{nth:012x}", random.u16(..2)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_known_whenever_it_was_made() {
    let server = Redis::v8_2().start().unwrap();
    let transport = connect(&format!("{}?max_ids={REMEMBERED}", server.url())).await;
    let event = registered(&transport, "ids.known").await;
    let mut random = fastrand::Rng::with_seed(7);
    let mut known: Vec<(String, Option<Cursor>)> = Vec::new();
    for _ in 0..400 {
        let fresh: Vec<_> = (0..random.usize(1..5)).map(|nth| id(&mut random, known.len() + nth)).collect();
        let recent = known.len().saturating_sub(REMEMBERED / 2);
        let again: Vec<_> =
            (recent..known.len()).filter(|nth| *nth == recent || random.u8(..8) == 0).collect();
        let mut batch: Vec<_> = fresh.iter().map(|id| (id.clone(), None)).collect();
        batch.extend(again.iter().map(|nth| (known[*nth].0.clone(), Some(known[*nth].1.clone()))));
        random.shuffle(&mut batch);
        let sent = batch.iter().map(|(id, _)| message(id)).collect();
        for ((id, first), receipt) in batch.into_iter().zip(transport.publish(&event, sent).await) {
            let receipt = receipt.unwrap();
            assert_eq!(receipt.duplicate, first.is_some(), "{id}");
            match first {
                Some(first) => assert_eq!(receipt.cursor, first, "{id}"),
                None => known.push((id, receipt.cursor)),
            }
        }
    }
    transport.close().await.unwrap();
}
