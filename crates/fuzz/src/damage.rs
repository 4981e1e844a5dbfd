//! The log's files, damaged in every way: what is served is what was published, and the rest is told.

use std::{fs, path::Path, sync::Arc};

use busgate_core::{ErrorKind, Message, ReadRequest, Result, Start, Transport};
use busgate_transports_log::{LogConfig, LogTransport};

use crate::{
    input::Input,
    stage::{block_on, event, fill, folder, needed},
};

/// In the order of a copy: what the mark vouches for is in the copies that follow it.
const FILES: [&str; 3] = ["mark", "busgate.db-wal", "busgate.db"];

type Image = [Vec<u8>; 3];

/// What a log shows of itself: its events with their messages, and how many wait for each group.
type Shown = (Vec<(String, Vec<Arc<Message>>)>, Vec<Option<u64>>);

thread_local! {
    static GENUINE: [(Image, Shown); 2] = block_on(genuine());
}

/// The files of a log with messages before and after a checkpoint and a group on its way: killed, and closed.
async fn genuine() -> [(Image, Shown); 2] {
    let place = folder();
    let open = || LogTransport::open(LogConfig::new(place.path()));
    let log = needed(open().await);
    needed(fill(&log, &event("a"), 500).await);
    needed(log.close().await);
    drop(log);
    let log = needed(open().await);
    needed(fill(&log, &event("b"), 30).await);
    let options = busgate_core::SubscribeOptions::pool(busgate_core::GroupName::default(), Start::Beginning);
    let mut group = needed(Arc::clone(&log).subscribe(&event("a"), options).await);
    for _ in 0..5 {
        if let Some(Ok(busgate_core::Item::Delivery(delivery))) =
            futures_util::StreamExt::next(&mut group).await
        {
            needed(delivery.ack().await);
        }
    }
    let killed = image(place.path());
    drop(group);
    needed(log.close().await);
    [known(killed).await, known(image(place.path())).await]
}

fn image(place: &Path) -> Image {
    FILES.map(|file| fs::read(place.join(file)).unwrap_or_default())
}

async fn known(image: Image) -> (Image, Shown) {
    let copy = folder();
    let shown = needed(show(copy.path(), &image).await);
    assert_eq!(shown.0.iter().map(|(_, messages)| messages.len()).collect::<Vec<_>>(), [500, 30]);
    (image, shown)
}

/// The first byte says which log is damaged, the others how.
pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let was_closed = input.byte() % 2 == 1;
    GENUINE.with(|[killed, closed]| {
        let (genuine, expected) = if was_closed { closed } else { killed };
        let mut image = genuine.clone();
        while !input.is_empty() {
            damage(&mut image, &mut input);
        }
        let place = folder();
        // Without its mark a log can't know that what it finds is not the newest.
        let vouched = image.first() == genuine.first();
        match block_on(show(place.path(), &image)) {
            Ok(shown) if vouched => assert!(shown == *expected, "served something else"),
            Ok((events, _)) => {
                assert!(events.iter().all(|event| is_older(event, expected)), "made up: {events:?}");
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::Internal, "{error}"),
        }
    });
}

/// Whether this is the beginning of what an event has.
fn is_older((name, messages): &(String, Vec<Arc<Message>>), (events, _): &Shown) -> bool {
    events.iter().any(|(known, all)| known == name && all.starts_with(messages))
}

fn damage(image: &mut Image, input: &mut Input<'_>) {
    let (what, file) = (input.byte(), input.byte());
    let Some(file) = image.get_mut(usize::from(file) % FILES.len()) else { return };
    let at = written(file, input.number());
    match what % 6 {
        0 => file.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (what / 6 % 8)),
        1 => file.iter_mut().skip(at).zip(input.piece()).for_each(|(byte, new)| *byte = *new),
        2 => file.truncate(at),
        3 => file.extend_from_slice(input.piece()),
        4 => *file = input.piece().to_vec(),
        // A page as it was before, or one that belongs elsewhere.
        _ => {
            let from = usize::from(input.byte()) * 4096;
            let page: Vec<u8> = file.iter().skip(from).take(4096).copied().collect();
            file.iter_mut().skip(at / 4096 * 4096).zip(page).for_each(|(byte, new)| *byte = new);
        }
    }
}

/// A place where something is written: most of a file is room that nobody looks at.
fn written(file: &[u8], choice: u32) -> usize {
    let places = || file.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
    let count = places().count().max(1);
    places().nth(usize::try_from(choice).unwrap_or_default() % count).unwrap_or_default()
}

async fn show(directory: &Path, image: &Image) -> Result<Shown> {
    for (file, bytes) in FILES.iter().zip(image) {
        needed(fs::write(directory.join(file), bytes));
    }
    let log = LogTransport::open(LogConfig::new(directory)).await?;
    let shown = read_all(&log).await;
    let _ = log.close().await;
    shown
}

async fn read_all(log: &LogTransport) -> Result<Shown> {
    let (mut events, mut lags) = (Vec::new(), Vec::new());
    for info in log.events().await? {
        let request = ReadRequest { start: Start::Beginning, limit: 1000, max_bytes: 1 << 20 };
        let page = log.read(&info.name, request).await?;
        events.push((info.name.to_string(), page.messages.into_iter().map(|(_, message)| message).collect()));
        lags.extend(log.lag(&info.name).await?.into_iter().map(|lag| lag.waiting));
    }
    Ok((events, lags))
}
