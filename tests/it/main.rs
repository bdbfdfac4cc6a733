//! The library from outside: over real sockets, and the same loop over a network in memory.

mod accept;
mod adopt;
mod asked;
mod churn;
mod connections;
mod corners;
mod cors;
mod delivery;
mod destructors;
mod drain;
mod example_apps;
mod example_commands;
mod example_libraries;
mod example_mcp;
mod example_pages;
#[cfg(all(unix, feature = "tls"))]
mod example_tls;
mod examples;
mod failures;
#[cfg(feature = "gzip")]
mod gzip;
mod history;
mod hosts;
mod interplay;
mod keys;
mod late;
mod late_storm;
mod layers;
mod lifecycle;
mod limits;
mod listeners;
mod load_harness;
mod log_model;
mod memory;
mod memory_net;
mod metrics;
mod missed_and_finished;
mod observers;
mod ordered_log;
mod pace;
mod panics;
mod peer;
mod promises;
mod publisher;
mod refusals;
mod rejections;
mod router;
mod shards;
mod shards_attack;
mod shards_sim;
mod short_turns;
mod sources;
mod storm;
mod support;
mod tags;
mod timers;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "tls")]
mod tls_client;
#[cfg(feature = "tls")]
mod tls_in_memory;
mod two_lives;
mod where_a_stream_stands;
mod whose_ids;
mod width;

/// Unix sockets, and descriptors for loops of others.
#[cfg(unix)]
mod both_kinds;
#[cfg(unix)]
mod embedded;
#[cfg(unix)]
mod short_reads;
#[cfg(unix)]
mod unix;

/// What only Linux does with connections before they are accepted.
#[cfg(target_os = "linux")]
mod deferred;
#[cfg(target_os = "linux")]
mod several;
