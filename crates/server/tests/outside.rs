//! The gate as strangers see it: the real binary on one side, clients without a line of ours on the other.
//!
//! Every scenario gets a gateway of its own, on the embedded log in a new folder. `cargo xtask tools` installs the
//! clients; a missing one fails the test.

#[cfg(test)]
#[path = "outside/gateway.rs"]
mod gateway;

/// One test a scenario: `module: Client "script", gateway => scenario, …`.
macro_rules! scenarios {
    ($($module:ident: $client:ident $script:literal, $gateway:expr => $($scenario:ident),+;)+) => {$(
        #[cfg(test)]
        mod $module {
            use super::gateway::{Client, Gateway};

            $(#[test]
            fn $scenario() {
                $gateway.judged_by(Client::$client, $script, stringify!($scenario));
            })+
        }
    )+};
}

scenarios! {
    grpc: Python "grpc_client.py", Gateway::start() =>
        round_trip, source_is_the_callers, nacked_comes_back, expired_comes_back, extended_stays,
        dropped_stream_hands_back, rejected_is_a_dead_letter, pool_shares_and_broadcast_repeats,
        batch_answers_per_entry, publish_stream_answers_each, consume_settles_on_the_stream, resumes_after_a_cursor,
        unregistering_ends_with_ok, errors_come_from_one_table, health_is_served, reflection_tells_all,
        grpc_web_answers, many_streams_on_one_connection, drain_ends_with_unavailable;
    rest: Python "rest_client.py", Gateway::start() =>
        the_seeds_curl_lines, every_way_to_publish, batches_answer_per_entry, bad_input_is_answered_from_the_table,
        broken_http_hurts_nobody, what_runs_beside;
    keys: Python "keys_client.py", Gateway::configured("keys.toml") =>
        nobody_comes_in, rules_hold_on_every_door, a_lease_has_one_owner, idle_streams_show_signs_of_life;
    ws: Node "ws_client.mjs", Gateway::start() =>
        one_event, resumes, gone_holder_hands_back, many_on_one_socket, bad_queries_are_refused,
        bad_frames_are_answered, unregistering_closes, foreign_origins_are_refused;
    websockets: Python "ws_client.py", Gateway::start() =>
        one_event, encodings, many_on_one_socket, protobuf_frames, deflated_both_ways;
    eventsource: Node "sse_eventsource.mjs", Gateway::start() =>
        hostile_payloads, hostile_names, resumes_by_last_event_id;
    chromium: Node "browser.mjs", Gateway::start() =>
        event_source_reads_hostile_payloads, event_source_resumes_by_itself, web_socket_settles;
    page: Node "browser.mjs", Gateway::example("dashboard") => dashboard;
    sse: Python "sse_client.py", Gateway::start() => read_by_httpx_sse, read_by_sseclient_py;
}

/// The names after a script's `@scenario` (Python) or in its `run({ … })` (Node).
#[cfg(test)]
fn scenarios_of(script: &str) -> Vec<&str> {
    let marked = script.split("@scenario\ndef ").skip(1).filter_map(|rest| rest.split('(').next());
    let listed =
        script.split("await run({").nth(1).unwrap_or_default().split("})").next().unwrap_or_default();
    marked.chain(listed.split(',').map(str::trim).filter(|name| !name.is_empty())).collect()
}

#[test]
fn every_scenario_is_run() {
    let mut seen = 0;
    for script in gateway::scripts().read_dir().expect("the scripts").flatten() {
        let text = std::fs::read_to_string(script.path()).expect("a readable script");
        for name in scenarios_of(&text) {
            let listed = include_str!("outside.rs")
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|word| word == name);
            assert!(listed, "{name} of {:?} is not run", script.file_name());
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} scenarios found");
}
