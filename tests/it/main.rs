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
mod several;
#[cfg(target_os = "linux")]
mod shards;
#[cfg(target_os = "linux")]
mod shards_attack;
mod shards_sim;
mod short_reads;
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
#[cfg(unix)]
mod unix;
mod where_a_stream_stands;
mod whose_ids;
mod width;
