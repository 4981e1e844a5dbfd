//! What a test can do to a broker, tried on each.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use busgate_brokers::{
    Kafka, Kind, Listener, Nats, NatsCluster, Redis, RedisCluster, RedisSentinel, Services,
};
use busgate_brokers::{Toxiproxy, free_port};

const SOON: Duration = Duration::from_millis(300);

/// What a server answers to one line, or nothing if it does not in time.
fn answer(address: SocketAddr, line: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(format!("{line}\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).ok().filter(|read| *read > 0)?;
    Some(answer.trim_end().to_owned())
}

#[test]
fn what_is_paused_answers_once_it_goes_on() {
    let redis = Redis::v7_0().start().unwrap();
    redis.pause().unwrap();
    assert_eq!(answer(redis.address(), "PING"), None);
    redis.resume().unwrap();
    assert_eq!(answer(redis.address(), "PING").unwrap(), "+PONG");
}

#[test]
fn what_is_killed_and_started_again_has_its_address_and_its_data() {
    let redis = Redis::v7_0().durable().start().unwrap();
    assert_eq!(answer(redis.address(), "SET a 1").unwrap(), "+OK");
    redis.kill().unwrap();
    assert_eq!(answer(redis.address(), "PING"), None);
    redis.start().unwrap();
    assert_eq!(answer(redis.address(), "STRLEN a").unwrap(), ":1");
    redis.stop().unwrap();
    redis.wipe().unwrap();
    redis.start().unwrap();
    assert_eq!(answer(redis.address(), "STRLEN a").unwrap(), ":0");
}

#[test]
fn every_version_is_the_one_it_says() {
    for (redis, version) in [
        (Redis::v7_0(), "7.0."),
        (Redis::v8_2(), "8.2."),
        (Redis::valkey_9().line("extended-redis-compatibility no"), "9.1."),
    ] {
        let redis = redis.start().unwrap();
        assert!(redis.log().contains(&format!("version={version}")), "{}", redis.log());
    }
    for (nats, version) in [(Nats::v2_9(), "2.9."), (Nats::v2_15().durable(), "2.15.")] {
        let nats = nats.start().unwrap();
        let info = answer(nats.address(), "PING").unwrap();
        assert!(info.contains(&format!(r#""version":"{version}"#)) && info.contains(r#""jetstream":true"#));
    }
}

#[test]
fn a_cluster_serves_all_slots_and_replaces_a_master() {
    let cluster = RedisCluster::start(3, 1).unwrap();
    cluster.nodes()[0].kill().unwrap();
    cluster.replaced(0).unwrap();
}

#[test]
fn sentinels_put_the_replica_in_the_masters_place() {
    let set = RedisSentinel::start().unwrap();
    let first = set.master().unwrap().address();
    set.fail_over().unwrap();
    assert_ne!(set.master().unwrap().address(), first);
}

#[test]
fn a_cluster_of_nats_is_whole_again_after_a_kill() {
    let cluster = NatsCluster::start(3).unwrap();
    cluster.nodes()[0].kill().unwrap();
    cluster.nodes()[0].start().unwrap();
    cluster.settled().unwrap();
}

#[test]
fn kafka_comes_back_and_listens_behind_a_link() {
    let toxiproxy = Toxiproxy::start().unwrap();
    let port = free_port().unwrap();
    let link = toxiproxy.link("kafka", (std::net::Ipv4Addr::LOCALHOST, port).into()).unwrap();
    let listener = Listener { protocol: "PLAINTEXT", port, advertised: link.address() };
    let kafka = Kafka::new().listener(listener).scram("SCRAM-SHA-256", "alice", "secret").start().unwrap();
    for address in [kafka.address(), link.address()] {
        TcpStream::connect(address).unwrap();
    }
    kafka.kill().unwrap();
    kafka.start().unwrap();
    kafka.stop().unwrap();
}

#[test]
fn a_link_carries_and_can_be_taken_down() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let toxiproxy = Toxiproxy::start().unwrap();
    let link = toxiproxy.link("echo", server.local_addr().unwrap()).unwrap();
    TcpStream::connect(link.address()).unwrap();
    link.spoil("latency", "downstream", r#""latency":10"#).unwrap();
    link.heal("latency", "downstream").unwrap();
    link.heal("latency", "downstream").unwrap_err();
    link.enable(false).unwrap();
    TcpStream::connect(link.address()).unwrap_err();
}

#[test]
fn services_are_told_by_variables() {
    let services = Services::start(&[Kind::Redis70, Kind::Nats215]).unwrap();
    let told: Vec<_> = services.variables().collect();
    assert_eq!(told[0].0, "BUSGATE_TEST_REDIS_7_0");
    assert!(told[1].1.starts_with("nats://127.0.0.1:"), "{told:?}");
}

/// Set in the process that is killed.
const KILLED: &str = "a_server_ends_with_the_process_that_started_it";

#[test]
fn a_server_ends_with_the_process_that_started_it() {
    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own)
        .args(["--exact", "starts_a_server_and_waits", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let told = BufReader::new(child.stdout.take().unwrap()).lines();
    let server = told
        .map_while(Result::ok)
        .find_map(|line| line.split_once(KILLED).and_then(|(_, id)| id.trim().parse::<u32>().ok()));
    let server = format!("/proc/{}", server.unwrap());
    assert!(Path::new(&server).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..500 {
        let gone =
            std::fs::read_to_string(format!("{server}/stat")).map_or(true, |stat| stat.contains(") Z"));
        if gone {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    unreachable!("the server outlived its starter");
}

#[test]
#[ignore = "the process that is killed in the test above"]
fn starts_a_server_and_waits() {
    // From a thread that ends: that is not the end of the server.
    let redis = std::thread::spawn(|| Redis::v7_0().start().unwrap()).join().unwrap();
    assert_eq!(answer(redis.address(), "PING").unwrap(), "+PONG");
    println!("{KILLED} {}", redis.id().unwrap());
    std::thread::sleep(Duration::from_secs(60));
}
