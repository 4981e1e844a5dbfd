//! What the clients of the event-server rely on, claim by claim: a client in Go over a stub of that server's own names
//! and numbers judges the real binary.
//!
//! `cargo xtask tools` builds the client; a missing one fails the test.

#[cfg(test)]
#[path = "seed_clients/run.rs"]
mod run;

/// One test a claim: `name => "its test in Go"`.
macro_rules! claims {
    ($($claim:ident => $test:literal),+ $(,)?) => {
        $(#[test]
        fn $claim() {
            run::judged($test, &[]);
        })+

        #[test]
        fn every_claim_is_judged() {
            let mut listed = vec![$($test.to_owned(),)+ run::LOST.to_owned()];
            listed.sort_unstable();
            assert_eq!(listed, run::tests());
        }
    };
}

claims! {
    all_subscriptions_share_one_connection_beside_the_publishes =>
        "TestAllSubscriptionsShareOneConnectionBesideThePublishes",
    ten_thousand_streams_are_open_at_once => "TestTenThousandStreamsAreOpenAtOnce",
    pings_without_a_stream_do_not_get_it_sent_away => "TestItsPingsDoNotGetItSentAway",
    an_unregistered_event_ends_a_stream_with_ok_for_good => "TestAnUnregisteredEventEndsAStreamWithOKForGood",
    a_drain_ends_a_stream_with_unavailable => "TestADrainEndsAStreamWithUnavailable",
    a_slow_consumer_ends_a_stream_with_unavailable => "TestASlowConsumerEndsAStreamWithUnavailable",
    a_slow_consumer_that_wants_all_is_waited_for => "TestASlowConsumerThatWantsAllIsWaitedFor",
    after_an_error_it_comes_back_each_second_with_the_same_request =>
        "TestAfterAnErrorItComesBackEachSecondWithTheSameRequest",
    nobody_that_is_refused_is_left_waiting => "TestNobodyThatIsRefusedIsLeftWaiting",
    a_message_arrives_as_its_clients_know_it => "TestAMessageArrivesAsItsClientsKnowIt",
    start_from_beginning_is_all_that_is_retained => "TestStartFromBeginningIsAllThatIsRetainedAndThenTheRest",
    registering_twice_is_fine => "TestRegisteringTwiceIsFine",
    registering_what_an_operator_configured_is_fine => "TestRegisteringWhatAnOperatorConfiguredIsFine",
    metadata_is_kept_exactly_case_included => "TestMetadataIsKeptExactlyCaseIncluded",
    an_id_published_twice_is_a_duplicate => "TestAnIDPublishedTwiceIsADuplicate",
    a_window_of_zero_turns_deduplication_off => "TestAWindowOfZeroTurnsDeduplicationOff",
    an_empty_error_is_an_ack => "TestAnEmptyErrorIsAnAck",
    each_ack_carries_one_entry => "TestEachAckCarriesOneEntry",
    retry_count_is_how_often_a_message_came_before => "TestRetryCountIsHowOftenAMessageCameBefore",
    a_message_nobody_settles_comes_back_after_the_ack_timeout =>
        "TestAMessageNobodySettlesComesBackAfterTheAckTimeout",
    workers_of_two_clients_share_their_group => "TestWorkersOfTwoClientsShareTheirGroup",
    the_codes_it_maps_are_answered_and_only_the_final_ones_are_not_retried =>
        "TestTheCodesItMapsAreAnsweredAndOnlyTheFinalOnesAreNotRetried",
    a_publish_that_timed_out_is_retried_under_its_id_and_accepted_once =>
        "TestAPublishThatTimedOutIsRetriedUnderItsIDAndAcceptedOnce",
    publishes_retried_through_a_kill_are_accepted_once => "TestPublishesRetriedThroughAKillAreAcceptedOnce",
    it_comes_back_after_a_drain_and_goes_on => "TestItComesBackAfterADrainAndGoesOn",
    it_comes_back_after_a_kill_and_goes_on => "TestItComesBackAfterAKillAndGoesOn",
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_lost_back_end_ends_a_stream_with_unavailable() {
    run::judged_on_a_back_end_to_lose().await;
}
