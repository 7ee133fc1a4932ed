//! What the program must do, packet by packet: each scenario runs on the model and on the kernel, there also without CAP_PERFMON.
//!
//! A scenario makes what it needs, sends frames through, and panics where the program does otherwise.
#![allow(clippy::unwrap_used, missing_docs)]

mod surroundings;
mod tables;

use xdplb_prog::abi::protocol;
use xdplb_prog::counters::{Reason, Verdict};
use xdplb_prog::model::{Model, Tables};
use xdplb_prog::model_tables::TestService;
use xdplb_prog::world::Settings;

use crate::packets::{
    BALANCER_MAC, CLIENT_MAC, Cast, PORT, Segment, TAGS, Tags, casts, frame, from_client, ip, macs,
    packet, read, settings, tcp,
};
use crate::pool::Pooled;
pub use surroundings::{Balancer, Surroundings};
pub use tables::{check_tables, sound};

/// Makes balancers for a scenario.
#[derive(Clone, Copy)]
pub struct Make {
    new: fn(&Settings, &Tables) -> Balancer,
    perfmon: u32,
}

impl Make {
    /// On the host.
    pub fn on_model() -> Self {
        Self {
            new: |settings, tables| Box::new(Model::new(*settings, tables.clone())),
            perfmon: 1,
        }
    }
    /// In the kernel, with or without CAP_PERFMON: 1 or 0.
    pub fn on_kernel(perfmon: u32) -> Self {
        Self {
            new: |settings, tables| {
                let program = Pooled::new(settings, tables);
                Box::new(program.unwrap_or_else(|error| panic!("{error:#}")))
            },
            perfmon,
        }
    }

    /// One with the usual settings.
    pub fn of(&self, services: &[TestService]) -> Balancer {
        self.with(settings(), services)
    }
    /// One with room for that many flows.
    pub fn sized(&self, slots: u32, services: &[TestService]) -> Balancer {
        let buckets = (slots / 2).next_power_of_two();
        self.with(
            Settings {
                slots,
                buckets,
                ..settings()
            },
            services,
        )
    }
    /// One with these settings.
    pub fn with(&self, settings: Settings, services: &[TestService]) -> Balancer {
        self.over(settings, &Tables::of(services))
    }
    /// One with these settings and tables.
    pub fn over(&self, settings: Settings, tables: &Tables) -> Balancer {
        let perfmon = self.perfmon;
        (self.new)(
            &Settings {
                perfmon,
                ..settings
            },
            tables,
        )
    }

    /// Whether headers are looked at wherever they are.
    pub fn anywhere(&self) -> bool {
        self.perfmon != 0
    }
    /// The tags that are looked behind.
    pub fn tags(&self) -> &'static [Tags] {
        if self.anywhere() {
            &TAGS
        } else {
            &[Tags::None]
        }
    }
    /// These tags, where they are looked behind.
    pub fn tagged(&self, tags: Tags) -> Tags {
        if self.anywhere() { tags } else { Tags::None }
    }
}

/// A scenario.
pub type Scenario = fn(&Make);

macro_rules! scenarios {
    ($dollar:tt $($theme:ident { $($name:ident)* })*) => {
        $(pub mod $theme;)*

        /// A test for each scenario, which is given to the function of that name in the calling module.
        #[macro_export]
        macro_rules! each_scenario {
            ($dollar run:ident) => {
                $(mod $theme {
                    $(#[test]
                    fn $name() {
                        super::$dollar run($crate::scenarios::$theme::$name);
                    })*
                })*
            };
        }
    };
}

scenarios! { $
    flows {
        nat_translates_both_ways
        what_was_left_to_hardware_is_right_or_still_owed
        a_datagram_without_a_checksum_stays_without
        direct_return_changes_ethernet_addresses_alone
        what_opens_nothing_passes
        every_port_of_a_service
        a_draining_backend_keeps_its_flows
        datagrams_leave_a_backend_that_is_down
        the_same_packet_reaches_the_same_backend_on_every_balancer
        what_is_behind_extension_headers_is_found
    }
    icmp {
        an_echo_request_to_a_service_is_answered
        an_echo_request_to_anyone_else_passes
        an_error_about_a_packet_to_a_backend_reaches_the_client
        an_error_about_a_packet_to_the_client_reaches_the_backend
        with_direct_return_an_error_goes_on_as_it_is
        through_a_tunnel_an_error_takes_the_flows_way
        what_concerns_no_flow_passes
    }
    lengths {
        every_length_keeps_its_bytes
        what_was_left_to_hardware_is_completed_at_every_length
        what_is_complete_stays_so_in_generic_mode
        what_is_owed_stays_owed_at_every_length
        direct_return_keeps_every_length
        jumbo_frames_are_forwarded
    }
    life {
        every_packet_is_counted_where_it_belongs
        a_retransmitted_syn_keeps_backend_and_port
        clients_with_one_source_port_never_share_a_backends
        the_frames_of_answers_go_where_the_last_request_came_from
        eviction_ends_whole_flows
        a_port_of_a_flow_that_ended_is_anothers
        who_goes_on_after_a_reset_keeps_its_port
        options_and_padding_change_nothing
        weights_are_shares_of_the_table
        who_asks_leaves_no_trace
        whoever_watches_or_asks_the_program_is_accepted
    }
    reasons {
        every_reason_has_a_packet
        what_was_refused_is_counted_by_its_service
    }
    reset {
        a_syn_is_refused_and_its_numbers_acknowledged
        a_connection_ends_where_the_peer_expects_it_to
        an_rst_is_not_answered
        a_refused_datagram_is_dropped
        what_the_next_sender_owes_it_still_owes
        a_complete_checksum_that_looks_deferred_is_told_apart
        a_segment_behind_options_is_dropped
    }
    room {
        direct_return_goes_on_without_a_record
        nobody_shares_a_port_towards_a_backend
        ports_are_taken_from_flows_that_never_opened
        ports_are_taken_from_what_rests
        a_flood_leaves_established_connections_alone
        a_table_full_of_established_connections_refuses_new_ones
        a_closed_connection_may_be_opened_again
    }
    tunnel {
        a_packet_travels_whole_in_another
        a_flow_has_one_source_and_others_have_others
        class_and_fragmenting_are_the_inner_ones
        a_checksum_left_to_hardware_is_completed
        options_go_along
        a_client_is_told_what_fits
        nothing_is_said_about_errors
        in_generic_mode_the_socket_buffer_still_owes_it
    }
}

/// Sends a frame through; the verdict must be the reason's, it counted once more, with all its bytes, and the tables sound.
#[track_caller]
pub fn send(balancer: &Balancer, frame: &[u8], reason: Reason) -> Vec<u8> {
    let before = balancer.count(reason);
    let (verdict, out) = balancer.receive(frame);
    let after = balancer.count(reason);
    assert_eq!(
        (after.packets, after.bytes),
        (before.packets + 1, before.bytes + frame.len() as u64),
        "{reason:?}; {}",
        balancer.summary()
    );
    assert_eq!(verdict, reason.verdict());
    if verdict != Verdict::Tx {
        assert_eq!(out, frame, "{reason:?} changed the frame");
    }
    if balancer.settings().slots <= 64 {
        sound(&**balancer);
    }
    out
}

/// A client's segment to the service.
fn ask(cast: &Cast, port: u16, segment: Segment) -> Vec<u8> {
    from_client(&tcp((cast.client, port), (cast.vip, 80), segment, b""))
}
/// The answer to what reached a backend.
fn answer(forwarded: &[u8], segment: Segment) -> Vec<u8> {
    let asked = read(ip(forwarded));
    let packet = tcp(asked.to(), asked.from(), segment, b"");
    frame(macs(forwarded).1, BALANCER_MAC, Tags::None, &packet)
}
/// Opens a connection and confirms it; the last frame to the backend.
fn establish(balancer: &Balancer, cast: &Cast, port: u16) -> Vec<u8> {
    establish_over(balancer, protocol::TCP, cast, port)
}
/// The same over either transport.
fn establish_over(balancer: &Balancer, number: u8, cast: &Cast, port: u16) -> Vec<u8> {
    let (client, vip) = ((cast.client, port), (cast.vip, 80));
    let asked = |segment| from_client(&packet(number, client, vip, segment, b""));
    let out = send(balancer, &asked(Segment::Syn), Reason::Opened);
    let seen = read(ip(&out));
    let answered = packet(number, seen.to(), seen.from(), Segment::SynAck, b"");
    let answered = frame(macs(&out).1, BALANCER_MAC, Tags::None, &answered);
    send(balancer, &answered, Reason::Replied);
    send(balancer, &asked(Segment::Ack), Reason::Forwarded)
}
