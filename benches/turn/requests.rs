//! From the bytes of a request to those of its reply, one turn each, on a kept-alive connection.

use crate::rig::{PAGE, Rig, request, time};
use criterion::{Criterion, Throughput};
use std::time::Duration;

/// Requests of one connection, which may carry more.
const REQUESTS: u64 = 500;

/// Requests that are sent at once in the pipelined case.
const PIPELINED: u64 = 16;

/// Further headers of Firefox.
pub(crate) const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Referer: https://example.org/dashboard\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Site: same-origin\r\nPriority: u=4\r\nPragma: no-cache\r\n\
    Cache-Control: no-cache\r\n";

pub(crate) fn measure(criterion: &mut Criterion) {
    let cookies = format!("Cookie: token={}\r\n", "x".repeat(4096));
    let mut group = criterion.benchmark_group("request");
    for (name, input, pipelined) in [
        ("3 header lines", request("/page", ""), 1),
        ("a browser's 15", request("/page", BROWSER), 1),
        ("a cookie of 4 KiB", request("/page", &cookies), 1),
        ("16 of 3 lines at once", request("/page", "").repeat(16), PIPELINED),
    ] {
        group.throughput(Throughput::Elements(REQUESTS / pipelined * pipelined));
        group.bench_function(name, |bencher| {
            let mut rig = Rig::new();
            bencher.iter_custom(|iterations| {
                (0..iterations).map(|_| one_connection(&mut rig, &input, pipelined)).sum()
            });
        });
    }
    group.finish();
}

/// Time of all requests of one connection.
fn one_connection(rig: &mut Rig, input: &[u8], pipelined: u64) -> Duration {
    let turns = REQUESTS / pipelined;
    let before = rig.server.stats();
    rig.net().input = input.to_vec();
    rig.net().connect(1);
    // The connection is accepted now; its first request is read in the next turn.
    rig.turn();
    let took = time(|| {
        rig.turn();
        for _ in 1..turns {
            rig.net().ask();
            rig.turn();
        }
    });
    let stats = rig.server.stats();
    assert_eq!(stats.requests - before.requests, turns * pipelined);
    assert_eq!(stats.rejected, 0);
    assert!(rig.net().tail().ends_with(PAGE.as_bytes()));
    rig.hang_up();
    took
}
