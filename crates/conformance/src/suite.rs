//! The list of all laws, as a macro that makes a test of each.

/// Makes one named test of each law: `suite!(paused, MyHarness::new())` or `suite!(real, …)`, in a module of its own.
///
/// The first word is the clock to run by, see [`crate::Time`]; the second makes a fresh [`crate::Harness`] for each law.
#[macro_export]
macro_rules! suite {
    (paused, $harness:expr) => {
        $crate::suite!(@laws Paused, $harness);
    };
    (real, $harness:expr) => {
        $crate::suite!(@laws Real, $harness);
    };
    (@laws $time:ident, $harness:expr) => {
        $crate::suite! {
            @tests $time, $harness;
            broadcast {
                every_subscriber_gets_every_message
                each_message_comes_once
                a_late_joiner_gets_what_comes
                a_subscription_listens_when_it_is_answered
                unnamed_deliveries_have_no_lease
                a_subscriber_that_leaves_disturbs_nobody
                groups_and_subscribers_are_apart
                a_hundred_subscribers_all_get_it
            }
            cancel {
                a_dropped_wait_loses_nothing
                a_dropped_wait_leases_nothing
                read_ahead_returns_at_once_uncounted
                a_dropped_publish_leaves_all_sound
                a_dropped_settlement_leaves_all_sound
                a_dropped_subscribe_leaves_no_member
                a_dropped_registration_can_be_repeated
                subscriptions_dropped_at_once_leave_nothing
            }
            consumer {
                it_goes_on_where_it_was
                its_start_counts_only_when_it_is_new
                what_it_did_not_ack_comes_back
                a_takeover_ends_the_earlier_one
                consumers_are_apart
                a_group_of_the_same_name_is_another
                a_nack_brings_it_back_to_the_consumer
            }
            dead_letter {
                a_rejected_message_becomes_one
                a_message_with_its_attempts_used_up_becomes_one
                leases_that_run_out_use_up_attempts
                a_single_attempt_is_made_once
                it_keeps_payload_key_and_metadata
                it_is_dead_for_its_group_only
                two_groups_leave_two
                they_can_be_worked_on_like_any_event
                a_dead_letter_that_is_rejected_breeds_no_other
                a_long_reason_is_told_within_bounds
            }
            dedup {
                the_same_id_is_taken_once
                a_duplicate_answers_the_place_of_the_first
                within_one_batch_the_first_wins
                each_event_has_its_own_window
                a_window_of_zero_takes_all
                an_id_is_free_again_after_the_window
                a_duplicate_does_not_prolong_the_window
                the_id_of_a_settled_message_is_still_taken
                of_concurrent_publishes_one_wins
            }
            find {
                a_message_is_found_by_its_place
                what_was_delivered_is_found
                what_is_gone_is_not_found
                what_retention_took_is_not_found
                a_place_of_no_message_finds_none
                a_foreign_place_is_invalid
            }
            flow {
                the_window_bounds_what_is_unsettled
                an_ack_frees_one_place
                a_nack_frees_its_place
                the_end_of_a_lease_frees_its_place
                what_came_back_is_not_starved_by_fresh_messages
                settling_by_token_frees_the_place
                a_full_member_does_not_stop_the_group
                a_slow_subscriber_slows_nobody
                a_backlog_waits_for_its_group
                history_longer_than_the_window_comes_whole
            }
            gap {
                a_cursor_passed_by_retention_gives_one
                a_page_tells_it
                at_the_very_edge_there_is_none
                the_beginning_has_none
                a_cursor_of_an_earlier_life_gives_one
                a_checkpoint_passed_by_retention_gives_one
                a_slow_reader_is_told_what_it_lost
                what_is_too_old_is_let_go
            }
            keys {
                a_keys_next_message_waits_for_the_earlier
                other_keys_go_on
                messages_without_a_key_do_not_wait
                order_is_kept_across_a_nack
                order_is_kept_when_a_lease_ends
                order_is_kept_across_a_release
                a_rejected_message_lets_its_key_go_on
                a_used_up_message_lets_its_key_go_on
                a_key_goes_on_when_its_holder_left
                keys_of_two_groups_are_apart
                random_work_keeps_each_keys_order
            }
            lease {
                an_unsettled_message_comes_back_at_its_end
                each_lease_ends_at_its_own_time
                it_starts_when_the_delivery_is_yielded
                a_dropped_delivery_comes_back
                an_extension_keeps_the_message
                an_extension_runs_from_now
                an_extension_leaves_the_token_and_the_attempt
                an_ack_after_the_end_counts_while_nobody_holds_it
                it_outlives_its_subscription
                another_member_gets_what_ran_out
                each_member_has_its_own_length
            }
            lifecycle {
                registering_again_is_fine
                another_configuration_exists_already
                an_unregistered_event_is_not_found
                unregistering_ends_subscriptions_cleanly
                an_event_registered_anew_starts_empty
                groups_end_with_their_event
                events_are_listed_by_name
                an_event_tells_what_it_holds
                closing_ends_subscriptions_with_unavailable
                calls_after_close_are_unavailable
                settling_after_close_is_unavailable
                closing_twice_is_fine
                closing_beside_other_calls_is_sound
                an_open_transport_is_healthy
                lag_counts_what_waits_and_what_is_held
                lag_forgets_members_that_left
            }
            node {
                another_node_settles
                another_node_gives_back
                another_node_extends
                a_nack_at_another_node_backs_off
                another_node_rejects
                the_last_attempt_may_fail_at_another_node
                the_story_goes_from_node_to_node
                a_group_spans_nodes
                what_one_node_publishes_another_delivers
            }
            order {
                a_thousand_messages_stay_in_order
                a_groups_only_member_gets_them_in_order
                each_publishers_order_is_kept_beside_others
                batches_in_turn_keep_their_order
                history_has_the_order_that_live_had
                what_is_handed_back_keeps_its_order
            }
            page {
                pages_lead_on_to_the_end
                the_end_is_told_when_it_is_reached
                the_byte_limit_leaves_room_for_one
                an_empty_event_is_an_end_with_a_place
                the_latest_reads_nothing_and_tells_the_end
                reading_then_subscribing_has_no_hole
                the_end_is_as_new_as_its_page
                next_is_where_the_page_ended
                reading_leases_nothing
            }
            passed {
                it_agrees_with_the_order_of_reading
                the_ends_have_all_or_nothing
                new_from_here_holds_for_the_rest_of_the_tail
                a_foreign_cursor_is_invalid
            }
            payload {
                an_empty_payload_is_kept
                one_byte_is_kept
                every_byte_value_is_kept
                text_is_kept_to_the_byte
                a_payload_at_the_limit_is_kept
                metadata_is_kept_exactly
                metadata_at_the_limit_is_kept
                key_source_and_content_type_are_kept
                what_is_absent_stays_absent
                the_time_of_publishing_is_kept
            }
            pool {
                each_message_goes_to_one_member
                groups_are_apart
                the_default_group_is_one_like_any
                a_member_that_joins_takes_part
                a_member_that_leaves_hands_on
                work_spreads_over_the_members
                no_member_starves
                a_trickle_reaches_every_member
                a_group_goes_on_where_it_was
                a_new_group_starts_where_it_asks
                a_lease_names_its_holder_and_event
            }
            publish {
                ids_are_kept
                the_longest_ids_are_kept
                generated_ids_are_kept
                receipts_are_in_the_order_of_the_batch
                a_batch_keeps_its_order
                an_empty_batch_is_answered_with_nothing
                a_receipt_tells_the_place
                an_unregistered_event_refuses_each_message
                events_are_apart
                names_are_taken_to_the_letter
                concurrent_publishers_lose_nothing
                an_accepted_message_is_there_at_once
            }
            random {
                work_agrees_with_the_model
                work_with_restarts_agrees_with_the_model
            }
            recovery {
                acks_survive
                acks_beyond_a_hole_survive
                what_was_held_comes_back
                attempts_survive
                delays_survive
                the_story_so_far_survives
                dead_letters_survive
                checkpoints_survive
                tokens_settle_after_a_restart
                epochs_do_not_start_over
                keys_hold_across_a_restart
            }
            refusal {
                replay
                replay_from_time
                worker_pool
                redelivery
                delayed_requeue
                extend
                dedup
                resume
                dead_letters
                retention
                what_is_claimed_does_not_change
                claims_agree_with_each_other
                figures_out_of_bounds
            }
            replay {
                the_beginning_is_the_oldest_held
                a_cursor_is_resumed_strictly_after
                after_the_last_message_the_next_one_comes
                the_cursor_of_a_delivery_is_resumed_from
                a_time_starts_at_the_first_message_of_it
                a_time_out_of_range_is_the_nearest_end
                a_foreign_cursor_is_invalid
                history_goes_over_into_live_without_a_hole
                a_resumed_subscription_has_no_hole
            }
            restart {
                without_durability_it_starts_clean
                messages_survive
                what_a_message_carries_survives
                registrations_survive
                the_ids_remembered_survive
                cursors_survive
            }
            settle {
                an_acked_message_is_done
                a_nacked_message_comes_back_after_its_delay
                a_delay_of_zero_comes_back_at_once
                a_delay_longer_than_the_lease_is_kept
                a_nack_without_a_delay_backs_off
                backoff_follows_its_steps
                attempts_are_counted
                a_release_is_not_counted
                a_counted_release_is_counted
                a_released_message_can_be_acked_until_it_is_taken
                a_batch_settles_each_for_itself
                the_same_token_twice_in_a_batch_settles_once
                an_ack_beside_an_extension_counts
                an_empty_batch_is_answered_with_nothing
                a_large_batch_is_settled_whole
                a_delivery_settles_itself
            }
            token {
                settling_twice_is_stale
                a_token_is_stale_after_its_nack
                a_stale_epoch_changes_nothing
                a_released_token_is_stale_once_another_takes_it
                it_settles_after_its_subscription_is_gone
                it_settles_for_its_own_holder_only
                one_of_an_events_earlier_life_changes_nothing
                an_unknown_one_changes_nothing
                a_garbled_one_is_refused
                a_garbled_one_does_not_spoil_its_batch
                of_concurrent_settlements_one_wins
                an_ack_and_a_nack_at_once_do_not_both_win
            }
            wake {
                every_subscriber_is_woken_by_a_message
                a_member_is_woken_by_a_message
                a_batch_wakes_as_many_members
                a_full_window_is_woken_by_an_ack
                a_full_window_is_woken_by_every_verb
                a_member_is_woken_by_what_came_back
                an_earlier_deadline_is_met
                a_member_is_woken_when_a_key_is_free
                a_member_that_leaves_unpolled_wakes_another
                everyone_is_woken_by_the_end
                the_earlier_one_is_woken_by_a_takeover
            }
        }
    };
    (@tests $time:ident, $harness:expr; $($area:ident { $($law:ident)* })*) => {
        $(
            mod $area {
                #[allow(unused_imports, reason = "the harness may be named by its full path")]
                use super::*;

                $(
                    #[test]
                    fn $law() -> $crate::Verdict {
                        let name = concat!(stringify!($area), "::", stringify!($law));
                        $crate::run($crate::Time::$time, name, $harness, $crate::laws::$area::$law)
                    }
                )*
            }
        )*
    };
}
