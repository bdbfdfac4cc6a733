//! Bodies of both framings: see `mio_sse_fuzz::body`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mio_sse_fuzz::body::check(data));
