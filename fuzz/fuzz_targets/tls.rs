//! Connections that speak TLS, and whatever may happen to their records: see `mio_sse_fuzz::tls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mio_sse_fuzz::tls::check(data));
