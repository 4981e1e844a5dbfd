//! The URLs of the brokers, whatever stands in them: nothing panics, and no credential is ever shown, not by what a URL
//! became and not by why it was refused.

#![cfg(all(feature = "kafka", feature = "nats", feature = "redis"))]

use busgate::TransportUrl;
use proptest::{prelude::*, sample::select};

const SCHEMES: [&str; 12] = [
    "redis",
    "rediss",
    "redis+cluster",
    "redis+sentinel",
    "rediss+sentinel",
    "nats",
    "tls",
    "nats+core",
    "tls+core",
    "kafka",
    "kafka+tls",
    "amqp",
];

/// Options that hold a credential, and some that are mistyped.
const SECRET: [&str; 12] = [
    "password",
    "pasword",
    "passwd",
    "sentinel_password",
    "token",
    "nkey",
    "creds",
    "client.sasl.password",
    "client.ssl.key.password",
    "client.sasl.oauthbearer.client.secret",
    "client.nonsense",
    "map.",
];

const OPEN: [&str; 18] = [
    "prefix=p.",
    "map.orders=legacy",
    "map.orders",
    "user=me",
    "username=me",
    "sasl=scram-sha-256",
    "security=tls",
    "tls_ca=/nowhere/ca.pem",
    "tls_cert=/nowhere/cert.pem",
    "connect_timeout=1s",
    "timeout=never",
    "replicas=0",
    "partitions=3",
    "master=main",
    "storage=memory",
    "acks=all",
    "client.linger.ms=5",
    "",
];

const HALVES: (&str, &str) = ("hun", "ter2");

/// A password, with a letter between its halves that it should not have unencoded, or none.
fn password() -> impl Strategy<Value = String> {
    let between =
        select(vec!["", "/", "?", "@", ":", "#", "%", "%40", "&", "=", "?=", "&@", ",", "[", " ", "é"]);
    between.prop_map(|between| format!("{}{between}{}", HALVES.0, HALVES.1))
}

fn login() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        password().prop_map(|password| format!("me:{password}@")),
        password().prop_map(|password| format!(":{password}@")),
        password().prop_map(|password| format!("7:1{password}@")),
    ]
}

fn option() -> impl Strategy<Value = String> {
    // What a secret is in the value of an option ends at an &, and may not be taken for a name.
    let value = select(vec!["hunter2", "hun%40ter2", "hun%ter2", "hun=ter2", "hun%ffter2"]);
    prop_oneof![
        (select(SECRET.to_vec()), value).prop_map(|(name, value)| format!("{name}={value}")),
        select(OPEN.to_vec()).prop_map(str::to_owned),
    ]
}

fn url() -> impl Strategy<Value = String> {
    let place = select(vec!["localhost", "a:7000,b", "[::1]:7002", "", "a,,b", "a:99999", "h/3", "h/"]);
    let options = prop::collection::vec(option(), 0..4);
    (select(SCHEMES.to_vec()), login(), place, options).prop_map(|(scheme, login, place, options)| {
        format!("{scheme}://{login}{place}?{}", options.join("&"))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn no_url_shows_its_credentials(url in url()) {
        let shown = match url.parse::<TransportUrl>() {
            Ok(read) => format!("{read} {read:?}"),
            Err(refused) => refused,
        };
        prop_assert!(!shown.contains(HALVES.0) && !shown.contains(HALVES.1), "{url} shows {shown}");
    }

    #[test]
    fn no_text_makes_one_panic(scheme in select(SCHEMES.to_vec()), text in "\\PC{0,40}", query in "\\PC{0,40}") {
        let _ = format!("{scheme}://{text}?{query}").parse::<TransportUrl>();
        let _ = format!("{scheme}:{text}").parse::<TransportUrl>();
    }
}
