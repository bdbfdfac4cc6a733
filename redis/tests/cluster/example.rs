//! Parts of the example besides its streams.

use crate::support::{Node, RedisServer};

#[test]
fn pages_of_other_nodes_may_read_and_other_pages_may_not() {
    let redis = RedisServer::start();
    let node = Node::start(&redis.url(), 10);
    let page = node.get("/");
    assert_eq!((page.status, node.get("/style.css").status), (200, 200));
    assert!(page.body.contains("new EventSource(") && !page.body.contains("innerHTML"));
    for (origin, may) in [
        ("http://127.0.0.1:8082", true),
        ("http://localhost:8082", true),
        ("http://[::1]:8082", true),
        ("http://localhost.example:80", false),
        ("https://example.com", false),
        ("null", false),
    ] {
        let headers = node.get_for(origin, "/stats").headers;
        let allowed = headers.contains(&format!("Access-Control-Allow-Origin: {origin}\r\n"));
        assert_eq!(allowed, may, "{origin}: {headers}");
        assert!(may || !headers.contains("Access-Control"), "{headers}");
        assert!(headers.contains("Vary: Origin\r\n"), "{headers}");
    }
}

#[test]
fn an_event_that_cannot_be_published_gets_an_error() {
    let redis = RedisServer::start();
    let node = Node::start(&redis.url(), 10);
    assert_eq!(node.publish("t", "two\rlines").status, 200);
    assert_eq!(node.publish("t", &"x".repeat(70_000)).status, 413);
    let _: redis::Value = redis.ask("DEL events");
    let _: () = redis.ask("SET events x");
    let refused = node.publish("t", "x");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("refused"), "{refused:?}");
}
