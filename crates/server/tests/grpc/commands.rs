//! The client commands of the binary, as a user types them.

use std::{
    io::Write,
    process::{Child, Command, Stdio},
};

use busgate_wire::proto::event::v1::AckStatus;

use crate::gateway::{
    Gateway, KEYS, SHOP, ack_of, all_of, next, publish, register, settle, soon, subscribe, text, until,
    worker,
};

/// What a command said, and how it ended.
#[derive(Debug)]
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    /// What it wrote, one line an entry; it must have gone well.
    fn lines(&self) -> Vec<&str> {
        assert_eq!(self.code, 0, "{self:?}");
        self.out.lines().collect()
    }
}

async fn busgate(gateway: &Gateway, arguments: &[&str]) -> Said {
    told(gateway, arguments, "").await
}

/// With this on stdin.
async fn told(gateway: &Gateway, arguments: &[&str], input: &str) -> Said {
    run(&format!("http://{}", gateway.address()), arguments, input).await
}

async fn run(server: &str, arguments: &[&str], input: &str) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
    command.args(arguments).env("BUSGATE_SERVER", server);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().expect("busgate starts");
        child.stdin.take().expect("stdin").write_all(input.as_bytes()).ok();
        child.wait_with_output().expect("it ends")
    });
    let output = soon(ended).await.expect("no panic");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn what_is_published_arrives_with_all_that_was_said() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let said = busgate(
        &gateway,
        &[
            "pub",
            "orders",
            "{}",
            "--id",
            "m-1",
            "--key",
            "k",
            "--meta",
            "shop=7",
            "--content-type",
            "application/json",
        ],
    )
    .await;
    assert!(said.lines()[0].contains("\"id\":\"m-1\""), "{said:?}");
    let message = next(&mut subscribe(&mut client, all_of("orders")).await).await;
    assert_eq!((message.id.as_str(), message.key.as_str()), ("m-1", "k"));
    assert_eq!((message.metadata["shop"].as_str(), message.content_type.as_str()), ("7", "application/json"));
    assert_eq!(text(&message), "{}");
}

#[tokio::test]
async fn a_payload_comes_from_an_argument_a_file_or_stdin() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file").unwrap();
    busgate(&gateway, &["pub", "orders", "--data", "as data"]).await.lines();
    busgate(&gateway, &["pub", "orders", "--file", file.path().to_str().unwrap()]).await.lines();
    told(&gateway, &["pub", "orders"], "from stdin").await.lines();
    told(&gateway, &["pub", "orders", "-"], "a dash").await.lines();
    let mut stream = subscribe(&mut client, all_of("orders")).await;
    for expected in ["as data", "from a file", "from stdin", "a dash"] {
        assert_eq!(text(&next(&mut stream).await), expected);
    }
}

#[tokio::test]
async fn a_subscription_writes_as_many_as_asked_for_and_acks_them() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    for n in 0..3 {
        publish(&mut client, "orders", &format!("m{n}")).await;
    }
    let share = ["sub", "orders", "--from", "beginning", "--group", "workers"];
    let said = busgate(&gateway, &[&share[..], &["--count", "2", "--raw"]].concat()).await;
    assert_eq!(said.lines(), ["m0", "m1"]);
    let said = busgate(&gateway, &[&share[..], &["--count", "1", "--json"]].concat()).await;
    let line: serde_json::Value = serde_json::from_str(said.lines()[0]).unwrap();
    assert_eq!(
        (&line["payload"], &line["event"], &line["retry_count"]),
        (&"m2".into(), &"orders".into(), &0.into())
    );
    let said = busgate(&gateway, &["sub", "orders", "--from", "beginning", "--count", "1"]).await;
    let [line] = said.lines()[..] else { panic!("{said:?}") };
    assert!(line.contains(" orders ") && line.ends_with(" m0"), "{line}");
}

#[tokio::test]
async fn a_subscription_starts_where_it_is_told() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    let cursor = publish(&mut client, "orders", "first").await.cursor;
    publish(&mut client, "orders", "second").await;
    let after = busgate(&gateway, &["sub", "orders", "--from", &cursor, "--count", "1", "--raw"]).await;
    assert_eq!(after.lines(), ["second"]);
    let since =
        busgate(&gateway, &["sub", "orders", "--from", "2020-01-01T00:00:00Z", "--count", "1", "--raw"])
            .await;
    assert_eq!(since.lines(), ["first"]);
    let wrong = busgate(&gateway, &["sub", "orders", "--from", "some day", "--count", "1"]).await;
    assert_eq!((wrong.code, wrong.err.contains("invalid")), (1, true), "{wrong:?}");
}

#[tokio::test]
async fn what_is_left_unacked_is_settled_by_its_id() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    // Unsettled and let go it comes back, so the id of a stream that lives is settled.
    let mut stream = subscribe(&mut client, worker("orders")).await;
    let message = next(&mut stream).await;
    let said = busgate(&gateway, &["ack", &message.ack_id, "--extend", "1m"]).await;
    assert!(said.lines()[0].starts_with("extended\t"), "{said:?}");
    let said = busgate(&gateway, &["ack", &message.ack_id, "--error", "no", "--retry-after", "10ms"]).await;
    assert!(said.lines()[0].starts_with("nacked\t"), "{said:?}");
    let again = next(&mut stream).await;
    assert_eq!(again.retry_count, 1);
    let said = busgate(&gateway, &["ack", &again.ack_id, &message.ack_id]).await;
    assert_eq!(said.code, 1, "one of them is stale");
    assert!(said.out.starts_with("acked\t") && said.out.contains("\nstale\t"), "{said:?}");
    assert_eq!(settle(&mut client, vec![ack_of(&again)]).await, [AckStatus::Stale]);
    let said =
        busgate(&gateway, &["sub", "orders", "--count", "1", "--ack", "manual", "--from", "beginning"]).await;
    assert!(said.lines()[0].contains(" ack_id="), "{said:?}");
}

#[tokio::test]
async fn events_are_registered_listed_and_forgotten() {
    let gateway = Gateway::start().await;
    busgate(&gateway, &["events", "register", "b.two"]).await.lines();
    busgate(&gateway, &["events", "register", "a.one"]).await.lines();
    busgate(&gateway, &["pub", "a.one", "x"]).await.lines();
    assert_eq!(busgate(&gateway, &["events"]).await.lines(), ["a.one\t1", "b.two\t0"]);
    busgate(&gateway, &["events", "unregister", "a.one"]).await.lines();
    assert_eq!(busgate(&gateway, &["events", "list"]).await.lines(), ["b.two\t0"]);
    assert_eq!(busgate(&gateway, &["health"]).await.lines()[0], "healthy: ok");
}

#[tokio::test]
async fn a_refusal_names_its_kind_and_ends_with_1() {
    let gateway = Gateway::configured(KEYS).await;
    gateway.register("orders").await;
    for (arguments, kind) in [
        (&["pub", "orders", "x"][..], "unauthenticated"),
        (&["pub", "no name", "x"], "invalid"),
        (&["sub", "nobody.knows", "--api-key", SHOP], "not_found"),
        (&["ack", "forged", "--api-key", SHOP], "invalid"),
    ] {
        let said = busgate(&gateway, arguments).await;
        assert_eq!(said.code, 1, "{said:?}");
        assert!(said.err.starts_with(&format!("busgate: {kind}: ")), "{said:?}");
    }
    busgate(&gateway, &["pub", "orders", "x", "--api-key", SHOP]).await.lines();
}

#[tokio::test]
async fn where_no_gateway_is_ends_with_69() {
    let gateway = Gateway::start().await;
    let address = format!("http://{}", gateway.address());
    gateway.shutdown().await;
    for arguments in
        [&["health"][..], &["pub", "orders", "x"], &["sub", "orders"], &["events"], &["ack", "a"]]
    {
        let said = run(&address, arguments, "").await;
        assert_eq!(said.code, 69, "{said:?}");
        assert!(said.err.contains("can't reach a gateway"), "{said:?}");
    }
}

/// A `busgate sub` that runs beside the test.
fn subscriber(address: &str, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_busgate"));
    command.arg("sub").args(arguments).env("BUSGATE_SERVER", format!("http://{address}"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("busgate starts")
}

async fn ended(child: Child) -> Said {
    let output = soon(tokio::task::spawn_blocking(|| child.wait_with_output().expect("it ends")));
    let output = output.await.expect("no panic");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { code: output.status.code().expect("a code"), out: text(output.stdout), err: text(output.stderr) }
}

#[tokio::test]
async fn sub_resumes_after_the_gateway_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let log = format!("data_dir = {:?}", folder.path());
    let gateway = Gateway::over_log("127.0.0.1:0", &log).await;
    let address = gateway.address().to_string();
    let mut client = gateway.with_event("orders").await;
    let four = ["orders", "--from", "beginning", "--raw", "--count", "4"];
    let all = subscriber(&address, &four);
    let share = subscriber(&address, &[&four[..], &["--group", "workers"]].concat());
    for n in 0..2 {
        publish(&mut client, "orders", &format!("m{n}")).await;
    }
    until(|| gateway.gateway().stats().acked == 4).await;
    gateway.shutdown().await;
    let next = Gateway::over_log(&address, &log).await;
    // Before they are back.
    let mut client = next.client().await;
    for n in 2..4 {
        publish(&mut client, "orders", &format!("m{n}")).await;
    }
    for child in [all, share] {
        let said = ended(child).await;
        assert_eq!(said.lines(), ["m0", "m1", "m2", "m3"], "{said:?}");
        assert!(said.err.contains("unavailable: "), "nobody was told: {said:?}");
    }
}

#[tokio::test]
async fn a_pattern_and_other_options_of_a_query_are_for_sub_too() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders.created").await;
    register(&mut client, "orders.paid").await;
    publish(&mut client, "orders.created", "one").await;
    publish(&mut client, "orders.paid", "two").await;
    let asked =
        ["sub", "orders.>", "--from", "beginning", "--count", "2", "--json", "--option", "max_age=1h"];
    let said = busgate(&gateway, &asked).await;
    let events = said.lines().into_iter().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["event"].as_str().unwrap().to_owned()
    });
    let events: std::collections::BTreeSet<_> = events.collect();
    assert_eq!(events, ["orders.created".to_owned(), "orders.paid".to_owned()].into());
    let wrong = busgate(&gateway, &["sub", "orders.>", "--option", "max_age=soon"]).await;
    assert_eq!((wrong.code, wrong.err.contains("max_age")), (1, true), "{wrong:?}");
}

#[tokio::test]
async fn a_key_is_never_shown() {
    let gateway = Gateway::configured(KEYS).await;
    gateway.register("orders").await;
    for key in ["hunter2-hunter2-hunter2", "hunter2\u{e9}", "hunter2 hunter2"] {
        for arguments in [&["pub", "orders", "x"][..], &["sub", "orders"], &["events"], &["ack", "a"]] {
            let said = busgate(&gateway, &[arguments, &["--api-key", key]].concat()).await;
            assert_eq!(said.code, 1, "{said:?}");
            assert!(!format!("{}{}", said.out, said.err).contains("hunter2"), "{said:?}");
        }
    }
}

#[tokio::test]
async fn what_is_written_and_not_acked_stays_leased_for_ack() {
    let gateway = Gateway::start().await;
    let mut client = gateway.with_event("orders").await;
    publish(&mut client, "orders", "x").await;
    let share = ["sub", "orders", "--group", "workers", "--count", "1", "--json", "--ack", "manual"];
    let said = busgate(&gateway, &share).await;
    let line: serde_json::Value = serde_json::from_str(said.lines()[0]).unwrap();
    // Another member would have it at once, had it been given back.
    let mut other = subscribe(&mut client, worker("orders")).await;
    let said = busgate(&gateway, &["ack", line["ack_id"].as_str().unwrap()]).await;
    assert!(said.lines()[0].starts_with("acked\t"), "{said:?}");
    publish(&mut client, "orders", "y").await;
    let message = next(&mut other).await;
    assert_eq!((text(&message).as_str(), message.retry_count), ("y", 0));
}
