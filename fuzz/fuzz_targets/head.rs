//! One head after the other: see `mio_sse_fuzz::head`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mio_sse_fuzz::head::check(data));
