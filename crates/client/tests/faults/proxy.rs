//! A relay that fails on purpose: at the n-th frame of a connection, before it or in the middle of it, or now.

use std::{
    fmt,
    io::Result,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use busgate_core::Tasks;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
};

use crate::frame::{Frame, Kind, Splitter};

/// How long a connection that was cut in good order may take to end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whose frames are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Client,
    Server,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// It ends for both sides, in TCP's good order.
    Cut,
    /// It is reset for both sides.
    Reset,
    /// The other side sees the end of what this one sends, which is lost from here; the way back stays open.
    HalfClose,
    /// Nothing more comes through in this direction for so long, then everything does.
    Stall(Duration),
    /// Nothing comes through any more, either way, and nobody is told.
    Freeze,
    /// The client sees the end, the server does not: to it the client is still there.
    Ghost,
    /// The frame is sent twice.
    Duplicate,
    /// The stream of this frame carries no more data in this direction.
    Mute,
}

/// Which frame of one side, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) side: Side,
    /// Of all frames, or of those of one kind.
    pub(crate) kind: Option<Kind>,
    pub(crate) nth: usize,
    pub(crate) part: Part,
}

/// Where about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Before,
    Within,
    After,
}

/// What happens where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Place,
    pub(crate) action: Action,
}

/// A proxy in front of a server; what it relays ends with it.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    relays: Arc<Tasks>,
    _accepting: Tasks,
}

type Plan = dyn Fn(usize) -> Vec<Fault> + Send + Sync;

struct Shared {
    target: Mutex<SocketAddr>,
    /// The faults of each connection, by its number.
    plan: Box<Plan>,
    /// What each side of each connection has sent.
    seen: Mutex<Vec<[Vec<Kind>; 2]>>,
    refusing: AtomicBool,
    /// The newest stream of a client, and the newest of which nothing that a client sends comes through.
    newest: AtomicU32,
    mute: AtomicU32,
    struck: AtomicUsize,
    /// What happens to all connections now.
    now: watch::Sender<Option<Action>>,
}

impl Proxy {
    /// A proxy that relays to `target` and harms the n-th connection as `plan` says.
    pub(crate) async fn planned(
        target: SocketAddr,
        plan: impl Fn(usize) -> Vec<Fault> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            plan: Box::new(plan),
            seen: Mutex::default(),
            refusing: AtomicBool::default(),
            newest: AtomicU32::default(),
            mute: AtomicU32::default(),
            struck: AtomicUsize::default(),
            now: watch::Sender::default(),
        });
        let (accepting, relays) = (Tasks::new(), Arc::new(Tasks::new()));
        let (accepted, relaying) = (Arc::clone(&shared), Arc::clone(&relays));
        accepting.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                accepted.accept(client, &relaying);
            }
        });
        Self { address, shared, relays, _accepting: accepting }
    }

    /// A proxy that relays to `target` until it is told otherwise.
    pub(crate) async fn start(target: SocketAddr) -> Self {
        Self::planned(target, |_| Vec::new()).await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where connections go from now on.
    pub(crate) fn point_at(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// Whether new connections are reset at once.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, Ordering::SeqCst);
    }

    /// Lets no more data of the client through on the streams there are.
    pub(crate) fn mute(&self) {
        self.shared.mute.store(self.shared.newest.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Does this to every connection there is.
    pub(crate) fn strike(&self, action: Action) {
        self.shared.now.send_replace(Some(action));
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// How many are being relayed.
    pub(crate) fn open(&self) -> usize {
        self.relays.len()
    }

    /// How many planned faults have happened.
    pub(crate) fn struck(&self) -> usize {
        self.shared.struck.load(Ordering::SeqCst)
    }

    /// What one side of a connection has sent so far.
    pub(crate) fn seen(&self, connection: usize, side: Side) -> Vec<Kind> {
        self.shared.seen.lock().get(connection).map(|seen| seen[side as usize].clone()).unwrap_or_default()
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, client: TcpStream, relays: &Tasks) {
        let number = {
            let mut seen = self.seen.lock();
            seen.push(<[Vec<Kind>; 2]>::default());
            seen.len() - 1
        };
        if self.refusing.load(Ordering::SeqCst) {
            return reset(&client);
        }
        let (shared, target, now) = (Arc::clone(self), *self.target.lock(), self.now.subscribe());
        relays.spawn(async move {
            match TcpStream::connect(target).await {
                Ok(server) => Box::pin(Connection { shared, number }.relay(client, server, now)).await,
                Err(_) => reset(&client),
            }
        });
    }
}

/// One connection through the proxy.
struct Connection {
    shared: Arc<Shared>,
    number: usize,
}

/// How relaying ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// One side said that it is done, or is gone.
    Eof,
    Struck(Action),
}

impl Connection {
    async fn relay(
        &self,
        mut client: TcpStream,
        mut server: TcpStream,
        mut now: watch::Receiver<Option<Action>>,
    ) {
        client.set_nodelay(true).unwrap();
        server.set_nodelay(true).unwrap();
        let faults = (self.shared.plan)(self.number);
        now.mark_unchanged();
        let end = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let mut up = Direction::new(self, Side::Client, &faults);
            let mut down = Direction::new(self, Side::Server, &faults);
            let both = either(up.pump(from_client, to_server), down.pump(from_server, to_client));
            tokio::select! {
                end = both => end,
                Ok(()) = now.changed() => End::Struck(now.borrow_and_update().unwrap_or(Action::Cut)),
            }
        };
        finish(end, client, server).await;
    }

    /// Writes down a frame, and tells how many of this side and of this kind came before it.
    fn note(&self, side: Side, kind: Kind) -> (usize, usize) {
        let mut seen = self.shared.seen.lock();
        let kinds = &mut seen[self.number][side as usize];
        let before = (kinds.len(), kinds.iter().filter(|seen| **seen == kind).count());
        kinds.push(kind);
        before
    }
}

/// Both ways end when each has ended, or when one ends otherwise than by itself.
async fn either(up: impl Future<Output = End>, down: impl Future<Output = End>) -> End {
    tokio::pin!(up, down);
    tokio::select! {
        end = &mut up => if end == End::Eof { down.await } else { end },
        end = &mut down => if end == End::Eof { up.await } else { end },
    }
}

async fn finish(end: End, mut client: TcpStream, mut server: TcpStream) {
    match end {
        End::Eof => {}
        End::Struck(Action::Reset) => {
            reset(&client);
            reset(&server);
        }
        End::Struck(Action::Ghost) => {
            drop(client);
            let _still_there = server;
            std::future::pending::<()>().await;
        }
        End::Struck(Action::Freeze) => std::future::pending::<()>().await,
        End::Struck(_) => {
            // Read to the end: a socket that is dropped with something unread is reset.
            _ = tokio::join!(client.shutdown(), server.shutdown());
            let rest = async { tokio::join!(exhaust(&mut client), exhaust(&mut server)) };
            _ = tokio::time::timeout(FAREWELL, rest).await;
        }
    }
}

async fn exhaust(stream: &mut TcpStream) {
    let mut void = [0; 4096];
    while stream.read(&mut void).await.is_ok_and(|read| read > 0) {}
}

fn reset(stream: &TcpStream) {
    _ = stream.set_zero_linger();
}

/// What one side sends to the other.
struct Direction<'a> {
    connection: &'a Connection,
    side: Side,
    faults: Vec<Fault>,
    muted: Vec<u32>,
}

impl<'a> Direction<'a> {
    fn new(connection: &'a Connection, side: Side, faults: &[Fault]) -> Self {
        let faults = faults.iter().filter(|fault| fault.place.side == side).copied().collect();
        Self { connection, side, faults, muted: Vec::new() }
    }

    async fn pump(&mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut frames = match self.side {
            Side::Client => Splitter::of_client(),
            Side::Server => Splitter::of_server(),
        };
        loop {
            match from.read_buf(frames.buffer()).await {
                Ok(0) => {
                    _ = to.shutdown().await;
                    return End::Eof;
                }
                Ok(_) => {}
                Err(_) => return End::Struck(Action::Reset),
            }
            while let Some(frame) = frames.next() {
                match self.forward(&frame, &mut to).await {
                    Ok(None) => {}
                    Ok(Some(Action::HalfClose)) => return void(from, to).await,
                    Ok(Some(action)) => return End::Struck(action),
                    Err(_) => return End::Struck(Action::Reset),
                }
            }
        }
    }

    fn is_mute(&self, stream: u32) -> bool {
        let now = self.connection.shared.mute.load(Ordering::SeqCst);
        self.muted.contains(&stream) || (self.side == Side::Client && stream <= now)
    }

    /// Sends a frame on, unless something happens to it that ends this.
    async fn forward(&mut self, frame: &Frame, to: &mut WriteHalf<'_>) -> Result<Option<Action>> {
        let (nth, nth_of_kind) = self.connection.note(self.side, frame.kind);
        self.connection.shared.newest.fetch_max(frame.stream, Ordering::SeqCst);
        if frame.kind == Kind::Data && self.is_mute(frame.stream) {
            return Ok(None);
        }
        let mut rest = &frame.bytes[..];
        let hit = self.faults.iter().find(|fault| {
            fault
                .place
                .kind
                .map_or(fault.place.nth == nth, |kind| kind == frame.kind && fault.place.nth == nth_of_kind)
        });
        if let Some(Fault { place, action }) = hit.copied() {
            self.connection.shared.struck.fetch_add(1, Ordering::SeqCst);
            let passing = match place.part {
                Part::Before => 0,
                Part::Within => rest.len() / 2,
                Part::After => rest.len(),
            };
            let (passed, held) = rest.split_at(passing);
            to.write_all(passed).await?;
            rest = held;
            match action {
                Action::Stall(time) => tokio::time::sleep(time).await,
                Action::Duplicate => to.write_all(&frame.bytes).await?,
                Action::Mute => {
                    self.muted.push(frame.stream);
                    return Ok(None);
                }
                action => return Ok(Some(action)),
            }
        }
        to.write_all(rest).await?;
        Ok(None)
    }
}

/// The other side sees the end; what else is sent is lost.
async fn void(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
    _ = to.shutdown().await;
    let mut lost = [0; 4096];
    while from.read(&mut lost).await.is_ok_and(|read| read > 0) {}
    End::Eof
}
