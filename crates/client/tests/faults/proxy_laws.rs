//! The proxy itself: it harms exactly what it was told to, and nothing before it.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    frame::{Kind, PREFACE, frame},
    proxy::{Action, Fault, Part, Place, Proxy, Side},
};

const SHORT: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(10);

/// A client and a server with a proxy between them that harms the client's third frame.
struct Pair {
    proxy: Proxy,
    client: TcpStream,
    server: TcpStream,
}

/// What the client sends: its preface, then these.
fn frames() -> [Vec<u8>; 4] {
    [frame(4, 0, &[]), frame(0, 1, b"one"), frame(0, 3, b"two"), frame(0, 1, b"three")]
}

impl Pair {
    async fn harmed(kind: Option<Kind>, nth: usize, part: Part, action: Action) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place { side: Side::Client, kind, nth, part };
        let proxy =
            Proxy::planned(listener.local_addr().unwrap(), move |_| vec![Fault { place, action }]).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let sent = [PREFACE, &frames().concat()].concat();
        client.write_all(&sent).await.unwrap();
        Self { proxy, client, server }
    }

    /// What arrives before the end or a pause, and the end if there was one.
    async fn arrived(stream: &mut TcpStream) -> (Vec<u8>, Option<Result<(), ErrorKind>>) {
        let mut bytes = Vec::new();
        loop {
            match timeout(SHORT, stream.read_buf(&mut bytes)).await {
                Ok(Ok(0)) => return (bytes, Some(Ok(()))),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return (bytes, Some(Err(error.kind()))),
                Err(_) => return (bytes, None),
            }
        }
    }

    async fn at_server(&mut self) -> (Vec<u8>, Option<Result<(), ErrorKind>>) {
        Self::arrived(&mut self.server).await
    }

    async fn at_client(&mut self) -> (Vec<u8>, Option<Result<(), ErrorKind>>) {
        Self::arrived(&mut self.client).await
    }
}

fn first(frames_of_it: usize) -> Vec<u8> {
    [PREFACE, &frames()[..frames_of_it].concat()].concat()
}

#[tokio::test]
async fn cut_ends_both_sides_in_order() {
    let mut pair = Pair::harmed(None, 2, Part::Before, Action::Cut).await;
    assert_eq!(pair.at_server().await, (first(1), Some(Ok(()))));
    assert_eq!(pair.at_client().await.1, Some(Ok(())));
    assert_eq!((pair.proxy.struck(), pair.proxy.connections()), (1, 1));
}

#[tokio::test]
async fn reset_is_one_and_may_come_within_a_frame() {
    let mut pair = Pair::harmed(None, 2, Part::Within, Action::Reset).await;
    let half = frame(0, 1, b"one").len() / 2;
    let (bytes, end) = pair.at_server().await;
    // A reset may overtake what was on its way.
    assert!([&first(1)[..], &frames()[1][..half]].concat().starts_with(&bytes));
    assert_eq!(end, Some(Err(ErrorKind::ConnectionReset)));
    assert_eq!(pair.at_client().await.1, Some(Err(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn half_closed_carries_the_other_way_on() {
    let mut pair = Pair::harmed(None, 2, Part::Before, Action::HalfClose).await;
    assert_eq!(pair.at_server().await, (first(1), Some(Ok(()))));
    let answer = frame(4, 0, &[]);
    pair.server.write_all(&answer).await.unwrap();
    assert_eq!(pair.at_client().await, (answer, None));
}

#[tokio::test]
async fn stalled_goes_on_later() {
    let start = Instant::now();
    let mut pair = Pair::harmed(None, 2, Part::Before, Action::Stall(3 * SHORT)).await;
    let mut all = vec![0; first(4).len()];
    timeout(PATIENCE, pair.server.read_exact(&mut all)).await.unwrap().unwrap();
    assert_eq!(all, first(4));
    assert!(start.elapsed() >= 3 * SHORT);
}

#[tokio::test]
async fn frozen_tells_nobody() {
    let mut pair = Pair::harmed(None, 2, Part::Before, Action::Freeze).await;
    assert_eq!(pair.at_server().await, (first(1), None));
    assert_eq!(pair.at_client().await, (vec![], None));
}

#[tokio::test]
async fn a_ghost_lives_on_for_the_server() {
    let mut pair = Pair::harmed(None, 2, Part::Before, Action::Ghost).await;
    assert!(pair.at_client().await.1.is_some());
    assert_eq!(pair.at_server().await, (first(1), None));
}

#[tokio::test]
async fn duplicated_arrives_twice() {
    let mut pair = Pair::harmed(Some(Kind::Data), 0, Part::Before, Action::Duplicate).await;
    let [settings, one, two, three] = frames();
    let wanted = [PREFACE, &settings, &one, &one, &two, &three].concat();
    assert_eq!(pair.at_server().await.0, wanted);
}

#[tokio::test]
async fn a_muted_stream_carries_no_more_data() {
    let mut pair = Pair::harmed(Some(Kind::Data), 0, Part::Before, Action::Mute).await;
    let [settings, _, two, _] = frames();
    assert_eq!(pair.at_server().await.0, [PREFACE, &settings, &two].concat());
    let seen = [Kind::Preface, Kind::Settings, Kind::Data, Kind::Data, Kind::Data];
    assert_eq!(pair.proxy.seen(0, Side::Client), seen);
}

#[tokio::test]
async fn now_is_at_once_and_refused_is_reset() {
    let mut pair = Pair::harmed(None, usize::MAX, Part::Before, Action::Cut).await;
    assert_eq!(pair.at_server().await.0, first(4));
    pair.proxy.strike(Action::Reset);
    assert_eq!(pair.at_server().await.1, Some(Err(ErrorKind::ConnectionReset)));
    assert_eq!(pair.at_client().await.1, Some(Err(ErrorKind::ConnectionReset)));
    pair.proxy.refuse(true);
    let mut refused = TcpStream::connect(pair.proxy.address()).await.unwrap();
    assert_eq!(Pair::arrived(&mut refused).await.1, Some(Err(ErrorKind::ConnectionReset)));
}
