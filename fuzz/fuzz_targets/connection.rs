//! Whole connections, streams among them: see `mio_sse_fuzz::connection`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mio_sse_fuzz::connection::check(data));
